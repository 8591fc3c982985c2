//! What happens to sessions when the server stops.

use std::net::TcpStream;
use std::time::Duration;

use super::{HUGE, SMALL, assert_same, huge, sqlite, sqlite_with, unstuffed};
use crate::served::{Wire, stored};
use crate::support::{DEADLINE, pause, run};

/// How long a stop may take that must not take so long.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_session_that_is_not_logged_in_ends_at_once_when_the_server_stops() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    let greeted = served.connect();
    let in_tls = served.connect_tls();
    let mut half_logged_in = served.connect();
    half_logged_in.ok(&format!("USER {}", owner.address));
    let stopped = served.begin_to_stop(LONG);
    for mut wire in [greeted, in_tls, half_logged_in] {
        let said = wire.read_to_end().unwrap();
        assert!(
            !said.starts_with(b"*"),
            "that would be IMAP: {}",
            said.escape_ascii()
        );
    }
    stopped.recv_timeout(DEADLINE).unwrap();
    assert!(TcpStream::connect(served.plain).is_err(), "nobody listens");
}

#[test]
fn a_connection_that_has_not_shaken_hands_ends_at_once_when_the_server_stops() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut silent = Wire::connect(served.tls);
    let mut in_clear = served.connect();
    in_clear.ok("STLS");
    let mut logged_in = served.login(&owner);
    served.wait_for_sessions(3);
    let stopped = served.begin_to_stop(LONG);
    assert_eq!(silent.read_to_end().unwrap(), b"");
    assert_eq!(in_clear.read_to_end().unwrap(), b"");
    // At once: a client that is logged in has not been silent for too long meanwhile.
    logged_in.ok("QUIT");
    stopped.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn a_retrieval_goes_on_and_quit_commits_when_the_server_stops() {
    let message = huge(HUGE);
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec(), message.clone()]);
    let mut reads = served.login(&owner);
    let mut quits = served.login_tls(&owner);
    let mut waits = served.connect();
    reads.ok("RETR 2");
    let stuffed = reads.exactly(1000).unwrap();
    quits.ok("DELE 1");
    let stopped = served.begin_to_stop(LONG);
    // Now it is stopping: sessions before login have ended.
    waits.read_to_end().unwrap();
    quits.ok("QUIT");
    assert_eq!(quits.read_to_end().unwrap(), b"");
    let stuffed = reads.read_stuffed(stuffed);
    assert_same(&unstuffed(&stuffed), &message, "while it stops");
    reads.ok("DELE 2");
    reads.ok("QUIT");
    stopped.recv_timeout(DEADLINE).unwrap();
    let left = run(async || stored(&served.place.open().await, owner.id).await);
    assert!(left.is_empty());
}

/// More than a session was once given when the server stops.
const THINKING: Duration = Duration::from_secs(7);

#[test]
fn a_client_that_thinks_or_reads_slowly_reaches_its_quit_when_the_server_stops() {
    let message = huge(HUGE);
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec(), message.clone()]);
    // One has read a message and looks at it, one marked it, one is sent more than it takes.
    let mut filter = served.login(&owner);
    filter.ok("RETR 1");
    filter.read_stuffed(Vec::new());
    let mut slow = served.login_tls(&owner);
    slow.ok("RETR 2");
    let stuffed = slow.exactly(1000).unwrap();
    let mut waits = served.connect();
    let stopped = served.begin_to_stop(LONG);
    waits.read_to_end().unwrap();
    pause(THINKING);
    filter.ok("DELE 1");
    let stuffed = slow.read_stuffed(stuffed);
    assert_same(&unstuffed(&stuffed), &message, "to a slow reader");
    pause(THINKING);
    filter.ok("QUIT");
    slow.ok("DELE 2");
    slow.ok("QUIT");
    stopped.recv_timeout(DEADLINE).unwrap();
    let left = run(async || stored(&served.place.open().await, owner.id).await);
    assert!(left.is_empty());
}

#[test]
fn a_session_that_does_not_end_in_time_is_ended_and_deletes_nothing() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec(), huge(HUGE)]);
    let mut silent = served.login(&owner);
    silent.ok("DELE 1");
    let mut deaf = served.login(&owner);
    deaf.ok("DELE 1");
    deaf.ok("RETR 2");
    let stopped = served.begin_to_stop(Duration::from_millis(100));
    stopped.recv_timeout(DEADLINE).unwrap();
    assert_eq!(silent.read_to_end().unwrap(), b"");
    let rest = deaf.read_to_end().unwrap_or_default();
    assert!(rest.len() < HUGE);
    let left = run(async || stored(&served.place.open().await, owner.id).await);
    assert_eq!(left.len(), 2);
}

/// What a session is at when the server stops, and the number of the message that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the middle of RETR; then it deletes the message.
    Retrieval(u32),
    /// It has marked a message and will say QUIT.
    Quit(u32),
    /// It has marked a message and says nothing more.
    Silence(u32),
    /// It has done nothing.
    Rest,
}

/// What the ten sessions of each user are at.
const TEN: [At; 10] = [
    At::Retrieval(1),
    At::Retrieval(2),
    At::Quit(3),
    At::Quit(4),
    At::Quit(5),
    At::Silence(6),
    At::Silence(7),
    At::Silence(8),
    At::Rest,
    At::Rest,
];

#[test]
fn of_200_sessions_at_a_stop_none_loses_or_gains_a_deletion() {
    let served = sqlite_with(&[("Pop3__MaxConnectionsPerUser", "10")]);
    let mut messages = vec![huge(HUGE); 2];
    messages.resize_with(10, || SMALL.to_vec());
    let owners: Vec<_> = (0..20).map(|_| served.owner(&messages)).collect();
    let mut sessions = Vec::new();
    for owner in &owners {
        for at in TEN {
            let mut wire = served.login(owner);
            match at {
                At::Retrieval(number) => {
                    wire.ok(&format!("RETR {number}"));
                }
                At::Quit(number) | At::Silence(number) => {
                    wire.ok(&format!("DELE {number}"));
                }
                At::Rest => {}
            }
            sessions.push((at, wire));
        }
    }
    let mut waits = served.connect();
    let stopped = served.begin_to_stop(LONG);
    waits.read_to_end().unwrap();
    // All at once, or those that come last would have been silent for too long.
    std::thread::scope(|scope| {
        for (at, wire) in &mut sessions {
            scope.spawn(move || match *at {
                At::Retrieval(number) => {
                    wire.read_stuffed(Vec::new());
                    wire.ok(&format!("DELE {number}"));
                    wire.ok("QUIT");
                }
                At::Quit(_) => {
                    wire.ok("QUIT");
                }
                At::Silence(_) | At::Rest => {
                    assert_eq!(wire.read_to_end().unwrap(), b"");
                }
            });
        }
    });
    stopped.recv_timeout(DEADLINE).unwrap();
    for owner in &owners {
        let left = run(async || stored(&served.place.open().await, owner.id).await);
        assert_eq!(left.len(), 5, "messages 1 to 5 and no others are gone");
    }
}
