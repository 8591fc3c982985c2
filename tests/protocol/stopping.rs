//! What happens to sessions when the server stops.

use std::net::TcpStream;
use std::time::Duration;

use super::{HUGE, SMALL, assert_same, huge, sqlite, unstuffed};
use crate::served::{Wire, stored};
use crate::support::{DEADLINE, run};

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
    // Now it is stopping: whoever is not logged in has gone.
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
