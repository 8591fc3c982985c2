//! Clients that are silent, deaf, slow or gone.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{
    HUGE, SMALL, assert_same, connect_with_small_buffer, huge, on_each, sqlite, sqlite_with,
    unstuffed,
};
use crate::served::{Served, Wire};
use crate::support::{eventually, pause};

#[test]
fn clients_that_never_read_hold_up_nobody_else() {
    let served = sqlite_with(&[("Pop3__MaxConnectionsPerUser", "20")]);
    let deaf_owner = served.owner(&[huge(HUGE)]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut deaf: Vec<Wire> = (0..8).map(|_| served.login(&deaf_owner)).collect();
    for wire in &mut deaf {
        wire.send(b"RETR 1\r\n");
        // The reply has begun, and the rest of it does not fit anywhere.
        assert!(wire.line().starts_with("+OK"));
    }
    for mut wire in (0..4).flat_map(|_| [served.login(&owner), served.login_tls(&owner)]) {
        assert_same(&wire.body("RETR 1"), SMALL, "another's message");
        wire.ok("QUIT");
    }
    served.wait_for_sessions(deaf.len());
}

#[test]
fn a_session_that_says_nothing_is_closed_without_a_word() {
    let served = sqlite_with(&[("Pop3__SessionTimeout", "700ms")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut logged_in = served.login(&owner);
    logged_in.ok("DELE 1");
    let mut in_tls = served.login_tls(&owner);
    in_tls.ok("DELE 1");
    let not_logged_in = served.connect();
    let mut half_logged_in = served.connect();
    half_logged_in.ok(&format!("USER {}", owner.address));
    for wire in [logged_in, in_tls, not_logged_in, half_logged_in].iter_mut() {
        assert_eq!(wire.read_to_end().unwrap(), b"");
    }
    served.wait_for_sessions(0);
    assert_eq!(served.stored(&owner).len(), 1);
}

#[test]
fn a_line_that_comes_drop_by_drop_is_no_activity() {
    let served = sqlite_with(&[("Pop3__SessionTimeout", "700ms")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let log_in = || {
        let mut wire = served.login(&owner);
        wire.ok("DELE 1");
        wire
    };
    for begin in [&log_in as &dyn Fn() -> Wire, &|| served.connect()] {
        let mut wire = begin();
        // Longer than the longest line too: what is skipped is no activity either.
        let soon = Duration::from_millis(1);
        wire.tcp().set_read_timeout(Some(soon)).unwrap();
        eventually("the server to close", || {
            drop(wire.try_send(b"Q"));
            match wire.some() {
                Ok(said) if said.is_empty() => Some(()),
                Ok(said) => panic!("the server said {said:?}"),
                Err(error) => is_gone(&error).then_some(()),
            }
        });
    }
    served.wait_for_sessions(0);
    assert_eq!(served.stored(&owner).len(), 1);
}

/// Is it more than that nothing has come yet?
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    !matches!(error.kind(), TimedOut | WouldBlock)
}

#[test]
fn a_session_whose_client_does_not_read_is_closed_and_deletes_nothing() {
    let served = sqlite_with(&[("Pop3__WriteTimeout", "700ms")]);
    let owner = served.owner(&[huge(HUGE), SMALL.to_vec()]);
    for log_in in [Served::login, Served::login_tls] {
        let mut wire = log_in(&served, &owner);
        wire.ok("DELE 2");
        wire.send(b"RETR 1\r\nQUIT\r\n");
        served.wait_for_sessions(0);
        let mut tcp = wire.tcp().try_clone().unwrap();
        let mut rest = Vec::new();
        // What had been sent may be lost when the connection breaks.
        drop(tcp.read_to_end(&mut rest));
        assert!(rest.len() < HUGE, "it did not fit");
        assert!(!rest.ends_with(b".\r\n") && !rest.ends_with(b"+OK goodbye\r\n"));
    }
    assert_eq!(served.stored(&owner).len(), 2);
}

#[test]
fn a_client_that_takes_longer_than_the_timeout_and_reads_is_not_cut_off() {
    let served = sqlite_with(&[("Pop3__WriteTimeout", "1s")]);
    let message = huge(HUGE);
    let owner = served.owner(std::slice::from_ref(&message));
    let narrow = Wire::over(connect_with_small_buffer(served.plain));
    let mut wire = narrow.greeted().logged_in(&owner);
    wire.ok("RETR 1");
    let mut stuffed = Vec::new();
    for _ in 0..5 {
        pause(Duration::from_millis(300));
        stuffed.extend(wire.exactly(HUGE / 10).unwrap());
    }
    let stuffed = wire.read_stuffed(stuffed);
    assert_same(&unstuffed(&stuffed), &message, "slowly");
}

#[test]
fn every_command_starts_the_timer_anew() {
    let served = sqlite_with(&[("Pop3__SessionTimeout", "2s")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut wire = served.login(&owner);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        pause(Duration::from_millis(100));
        // A refused command is one too.
        assert!(wire.command("RETR 9").starts_with("-ERR"));
    }
    wire.ok("QUIT");
}

#[test]
fn a_connection_that_breaks_off_deletes_nothing() {
    on_each(|served| {
        let owner = served.owner(&[SMALL.to_vec(), SMALL.to_vec()]);
        for mut wire in [served.login(&owner), served.login_tls(&owner)] {
            wire.ok("DELE 1");
            wire.ok("DELE 2");
            // Inside TLS without the notice that it ends.
            drop(wire);
        }
        served.wait_for_sessions(0);
        assert_eq!(served.stored(&owner).len(), 2);
    });
}

#[test]
fn what_is_no_tls_on_the_tls_port_ends_that_connection_alone() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut wire = Wire::connect(served.tls);
    wire.send(b"USER ada@example.com\r\nPASS key\r\nSTAT\r\n");
    // TLS may say why in an alert; POP3 says nothing.
    let said = wire.read_to_end().unwrap_or_default();
    assert!(!said.starts_with(b"+OK") && !said.starts_with(b"-ERR"));
    let mut in_clear = served.connect();
    in_clear.ok("STLS");
    in_clear.send(b"STAT\r\nQUIT\r\n");
    let said = in_clear.read_to_end().unwrap_or_default();
    assert!(!said.starts_with(b"+OK") && !said.starts_with(b"-ERR"));
    served.login_tls(&owner).ok("STAT");
}
