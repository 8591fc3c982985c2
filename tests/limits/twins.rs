//! A user with as many sessions as they may have, and a device that logs in again.

use std::sync::Barrier;
use std::time::Duration;

use restante::accounts::Accounts;

use super::{SMALL, connect_from, metric, served, wait_for_metric};
use crate::served::{Owner, Served, Wire};
use crate::support::{eventually, mail};

const SUPERSEDED: &str = "pop3_sessions_ended_total{ending=\"superseded\"}";
const ONE: (&str, &str) = ("Pop3__MaxConnectionsPerUser", "1");
const SOON: (&str, &str) = ("Pop3__EvictIdleAfter", "300ms");

/// Logs in as soon as there is room.
fn login_eventually(served: &Served, owner: &Owner) -> Wire {
    eventually("room for a login", || {
        let mut wire = served.connect();
        wire.try_login(owner).starts_with("+OK").then_some(wire)
    })
}

/// Waits until every session could have been idle for long enough.
fn wait_until_idle(served: &Served) {
    eventually("the sessions to be idle", || {
        let sessions = served.sessions();
        let idle = |at: std::time::SystemTime| at.elapsed().is_ok_and(|it| it > IDLE);
        sessions
            .iter()
            .all(|it| idle(it.last_activity_at))
            .then_some(())
    });
}

/// Longer than [`SOON`].
const IDLE: Duration = Duration::from_millis(400);

#[test]
fn a_device_that_logs_in_again_ends_its_longest_idle_session_which_deletes_nothing() {
    let served = served(&[("Pop3__MaxConnectionsPerUser", "2"), SOON]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut dead = served.login_tls(&owner);
    dead.ok("DELE 1");
    let mut other = served.login(&owner);
    let answer = served.connect().try_login(&owner);
    assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    other.ok("NOOP");
    let mut new = login_eventually(&served, &owner);
    let said = String::from_utf8(dead.read_to_end().unwrap()).unwrap();
    let expected = "-ERR [SYS/TEMP] idle session ended by a new login with the same key; nothing was \
                    deleted\r\n";
    assert_eq!(said, expected);
    wait_for_metric(&served, SUPERSEDED, 1);
    for wire in [&mut other, &mut new] {
        assert_eq!(wire.ok("STAT"), format!("+OK 1 {}", SMALL.len()));
        wire.ok("QUIT");
    }
    assert_eq!(served.stored(&owner).len(), 1);
}

#[test]
fn another_key_and_another_address_end_nobody() {
    let served = served(&[ONE, SOON]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let address = owner.address.clone();
    let key = served.ask(async move |running| {
        let accounts = Accounts::new(running.database.clone());
        let created = accounts
            .create_key(&address, mail::key_options("other"))
            .await;
        created.unwrap().key
    });
    let same_user = Owner {
        key,
        ..owner.clone()
    };
    let mut first = served.login(&owner);
    wait_until_idle(&served);
    let elsewhere = connect_from("127.0.0.2", served.plain).greeted();
    for (mut wire, owner) in [(served.connect(), &same_user), (elsewhere, &owner)] {
        let answer = wire.try_login(owner);
        assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    }
    assert_eq!(metric(&served, SUPERSEDED), 0);
    first.ok("STAT");
}

#[test]
fn a_session_in_the_middle_of_a_message_makes_no_way_nor_does_any_if_that_is_off() {
    for (setting, command) in [(SOON, "RETR 1"), (("Pop3__EvictIdleAfter", "0"), "NOOP")] {
        let served = served(&[ONE, setting]);
        let owner = served.owner(&[vec![b'x'; 20_000_000]]);
        let mut first = served.login(&owner);
        first.send(format!("{command}\r\n").as_bytes());
        assert!(first.line().starts_with("+OK"));
        wait_until_idle(&served);
        let answer = served.connect().try_login(&owner);
        assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
        assert_eq!(metric(&served, SUPERSEDED), 0);
    }
}

#[test]
fn where_no_key_is_needed_nobody_is_told_apart() {
    let served = served(&[ONE, SOON, ("Pop3__RequireAuthentication", "false")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut first = served.login(&owner);
    wait_until_idle(&served);
    let answer = served.connect().try_login(&owner);
    assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    first.ok("STAT");
}

#[test]
fn of_many_logins_at_once_no_more_are_let_in_than_idle_sessions_end() {
    let served = served(&[("Pop3__MaxConnectionsPerUser", "3"), SOON]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let dead: Vec<Wire> = (0..3).map(|_| served.login(&owner)).collect();
    wait_until_idle(&served);
    let barrier = Barrier::new(12);
    let log_in = || {
        let mut wire = served.connect();
        wire.ok(&format!("USER {}", owner.address));
        barrier.wait();
        (wire.command(&format!("PASS {}", owner.key)), wire)
    };
    let logins: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(log_in)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let let_in = logins
        .iter()
        .filter(|(answer, _)| answer.starts_with("+OK"));
    assert_eq!(let_in.count(), 3);
    for mut wire in dead {
        assert!(wire.line().starts_with("-ERR [SYS/TEMP] "));
    }
    wait_for_metric(&served, SUPERSEDED, 3);
    let logged_in = served.sessions().into_iter().filter(|it| it.user.is_some());
    assert_eq!(logged_in.count(), 3);
}
