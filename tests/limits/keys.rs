//! How failed logins delay their name from their address, and nothing else.

use std::time::Duration;

use data_encoding::BASE64;

use super::{SMALL, connect_from, metric, served, wait_for_metric};
use crate::served::{Owner, Served, Wire};
use crate::support::DEADLINE;

const FAILURES: &str = "pop3_auth_failures_total{reason=\"credentials\"}";
const DELAYED: &str = "pop3_auth_delayed_total";

/// So long that a test would fail if it had to wait for it.
const LONG: [(&str, &str); 2] = [
    ("Pop3__AuthFailureDelay", "1h"),
    ("Pop3__MaxAuthFailureDelay", "1h"),
];

/// Tries a wrong key, whose answer is not waited for.
fn try_wrong_key(served: &Served, mut wire: Wire, owner: &Owner) -> Wire {
    let before = metric(served, FAILURES);
    wire.ok(&format!("USER {}", owner.address));
    wire.send(b"PASS wrong\r\n");
    wait_for_metric(served, FAILURES, before + 1);
    wire
}

fn has_no_answer(wire: &mut Wire) -> bool {
    let soon = Duration::from_millis(1);
    wire.tcp().set_read_timeout(Some(soon)).unwrap();
    let waits = wire.some().is_err();
    wire.tcp().set_read_timeout(Some(DEADLINE)).unwrap();
    waits
}

/// Logs in by a right key, which must not have to wait.
fn log_in_at_once(served: &Served, owner: &Owner) {
    let before = metric(served, DELAYED);
    served.login(owner).ok("QUIT");
    assert_eq!(metric(served, DELAYED), before, "it waited");
}

#[test]
fn a_failed_login_is_answered_late_and_delays_its_name_from_its_address_alone() {
    let served = served(&LONG);
    let ada = served.owner(&[SMALL.to_vec()]);
    let bob = served.owner(&[SMALL.to_vec()]);
    let wrong = try_wrong_key(&served, served.connect(), &ada);
    let mut behind = served.connect();
    behind.ok(&format!("USER {}", ada.address.to_uppercase()));
    behind.send(format!("PASS {}\r\n", ada.key).as_bytes());
    wait_for_metric(&served, DELAYED, 1);
    log_in_at_once(&served, &bob);
    // Another address does not wait, even with the same user.
    let elsewhere = connect_from("127.0.0.2", served.plain);
    elsewhere.greeted().logged_in(&ada).ok("STAT");
    // A client that proves a key waits before the proof, which tells at once whether it is right.
    let mut proving = served.connect();
    assert_eq!(proving.command("AUTH SCRAM-SHA-256"), "+ ");
    let first = format!("n,,n={},r=nonce", ada.address);
    proving.send(format!("{}\r\n", BASE64.encode(first.as_bytes())).as_bytes());
    wait_for_metric(&served, DELAYED, 2);
    let mut waiting = [wrong, behind, proving];
    assert!(waiting.iter_mut().all(has_no_answer));
    assert_eq!(metric(&served, DELAYED), 2);
}

#[test]
fn a_right_key_works_after_the_delay_and_forgives_the_failure() {
    let served = served(&[("Pop3__AuthFailureDelay", "500ms")]);
    let ada = served.owner(&[SMALL.to_vec()]);
    let mut wrong = try_wrong_key(&served, served.connect(), &ada);
    served.login(&ada).ok("STAT");
    assert_eq!(metric(&served, DELAYED), 1);
    let answer = wrong.line();
    assert!(answer.starts_with("-ERR [AUTH] "), "{answer}");
    assert!(wrong.try_login(&ada).starts_with("+OK"));
}

#[test]
fn devices_that_keep_trying_an_old_key_do_not_delay_right_logins_of_their_user() {
    // Three phones behind one address, each with another key that was revoked.
    let served = served(&[("Pop3__AuthFailureDelay", "200ms")]);
    let ada = served.owner(&[SMALL.to_vec()]);
    let mut failures = metric(&served, FAILURES);
    for round in 0..4 {
        for phone in ["one", "two", "three"] {
            let mut wire = served.connect();
            wire.ok(&format!("USER {}", ada.address));
            let answer = wire.command(&format!("PASS old key of phone {phone}"));
            assert!(answer.starts_with("-ERR [AUTH] "), "{answer}");
            failures += 1;
        }
        if round > 0 {
            // Each was counted in the first round, and its answer was waited for.
            log_in_at_once(&served, &ada);
        }
    }
    assert_eq!(metric(&served, FAILURES), failures);
}

#[test]
fn unless_a_delay_is_set_loopback_has_none_since_a_webmail_speaks_for_everybody() {
    let served = served(&[("Pop3__AuthFailureDelay", "")]);
    let ada = served.owner(&[SMALL.to_vec()]);
    for n in 0..50 {
        // A new session for each, since the third failure ends one. With a delay this would take
        // longer than any test may.
        let mut wire = served.connect();
        wire.ok(&format!("USER {}", ada.address));
        let answer = wire.command(&format!("PASS guess {n}"));
        assert!(answer.starts_with("-ERR [AUTH] "), "{answer}");
        log_in_at_once(&served, &ada);
    }
}

#[test]
fn who_hangs_up_gains_nothing_by_it() {
    let served = served(&LONG);
    let ada = served.owner(&[]);
    drop(try_wrong_key(&served, served.connect(), &ada));
    let mut again = served.connect();
    again.ok(&format!("USER {}", ada.address));
    again.send(b"PASS wrong\r\n");
    wait_for_metric(&served, DELAYED, 1);
    assert_eq!(metric(&served, FAILURES), 1, "it waits unverified");
}

#[test]
fn what_is_no_fault_of_the_key_slows_nobody() {
    let mut settings = LONG.to_vec();
    settings.push(("Pop3__MaxConnectionsPerUser", "1"));
    let served = served(&settings);
    let owner = served.owner(&[]);
    let mut first = served.login(&owner);
    let answer = served.connect().try_login(&owner);
    assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    first.ok("QUIT");
    served.login(&owner);
    assert_eq!(metric(&served, DELAYED), 0);
}

#[test]
fn a_session_that_waits_after_a_wrong_key_ends_when_it_is_told_to() {
    let served = served(&LONG);
    let ada = served.owner(&[]);
    let mut killed = try_wrong_key(&served, served.connect(), &ada);
    let session = served.sessions()[0].id.clone();
    assert!(served.end_session(&session));
    assert_eq!(killed.read_to_end().unwrap(), b"");
    served.wait_for_sessions(0);
    let elsewhere = connect_from("127.0.0.2", served.plain).greeted();
    let mut drained = try_wrong_key(&served, elsewhere, &ada);
    let stopped = served.begin_to_stop(Duration::from_secs(600));
    assert_eq!(drained.read_to_end().unwrap(), b"");
    stopped.recv_timeout(DEADLINE).unwrap();
}
