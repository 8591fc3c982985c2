//! Several sessions of one user at the same time.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;

use super::{HUGE, SMALL, assert_same, huge, on_each, sqlite, sqlite_with, top, unstuffed};
use crate::served::{Owner, Served, Wire};
use crate::support::place::Kind;
use crate::support::{mail, run};

#[test]
fn a_session_reads_to_the_end_what_another_deletes_meanwhile() {
    let message = mail::message(5, 3_000_000);
    on_each(|served| {
        let owner = served.owner(&[message.clone(), SMALL.to_vec()]);
        let mut reads = served.login(&owner);
        let mut looks = served.login(&owner);
        reads.ok("RETR 1");
        let beginning = reads.exactly(1000).unwrap();
        let mut deletes = served.login(&owner);
        deletes.ok("DELE 1");
        deletes.ok("DELE 2");
        deletes.ok("QUIT");
        assert_eq!(served.login(&owner).ok("STAT"), "+OK 0 0");
        let rest = reads.read_stuffed(beginning);
        assert_same(&unstuffed(&rest), &message, "begun before");
        assert_same(&looks.body("RETR 1"), &message, "begun after");
        assert_same(&looks.body("RETR 2"), SMALL, "begun after");
        assert_same(&looks.body("TOP 1 0"), &top(&message, 0), "begun after");
        // It is marked again, and there is nothing left to delete.
        looks.ok("DELE 1");
        looks.ok("QUIT");
    });
}

#[test]
fn a_session_sees_all_of_a_large_maildrop_and_its_newest_messages_if_there_is_a_limit() {
    let message = |n| format!("Subject: {n}\r\n\r\n").into_bytes();
    let messages: Vec<_> = (1..=1200).map(message).collect();
    let served = sqlite_with(&[("Pop3__MaxMessagesPerSession", "1000")]);
    let owner = served.owner(&messages);
    let mut wire = served.login(&owner);
    assert!(wire.ok("STAT").starts_with("+OK 1000 "));
    assert_eq!(wire.body("RETR 1"), message(201));
    assert_eq!(wire.body("RETR 1000"), message(1200));
    assert!(wire.command("RETR 1001").starts_with("-ERR"));
    assert_eq!(wire.body("LIST").split(|o| *o == b'\n').count(), 1001);
    drop(served);
    let served = sqlite();
    let owner = served.owner(&messages);
    let mut wire = served.login(&owner);
    assert!(wire.ok("STAT").starts_with("+OK 1200 "));
    assert_eq!(wire.body("RETR 1"), message(1));
    let listing = String::from_utf8(wire.body("UIDL")).unwrap();
    let ids = served.stored(&owner);
    let expected = (1..).zip(&ids).map(|(n, id)| format!("{n} {id}"));
    assert!(listing.lines().eq(expected));
}

/// Logs in from so many threads at the same moment, every other one inside TLS.
fn log_in_at_once(served: &Served, owner: &Owner, count: usize) -> Vec<(String, Wire)> {
    let barrier = Barrier::new(count);
    let log_in = |n: usize| {
        let mut wire = if n.is_multiple_of(2) {
            served.connect()
        } else {
            served.connect_tls()
        };
        wire.ok(&format!("USER {}", owner.address));
        barrier.wait();
        (wire.command(&format!("PASS {}", owner.key)), wire)
    };
    std::thread::scope(|scope| {
        let log_in = &log_in;
        let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || log_in(n))).collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers.collect()
    })
}

#[test]
fn of_50_logins_at_the_same_moment_5_are_let_in_on_both_ports_together() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    for _ in 0..3 {
        let answers = log_in_at_once(&served, &owner, 50);
        let let_in = answers.iter().filter(|(said, _)| said.starts_with("+OK"));
        assert_eq!(let_in.count(), 5);
        let in_use = |said: &str| said.starts_with("-ERR [IN-USE] ");
        assert!(
            answers
                .iter()
                .all(|(said, _)| said.starts_with("+OK") || in_use(said))
        );
        drop(answers);
        served.wait_for_sessions(0);
    }
    let mut five: Vec<Wire> = (0..5).map(|_| served.login(&owner)).collect();
    let mut sixth = served.connect_tls();
    assert!(sixth.try_login(&owner).starts_with("-ERR [IN-USE]"));
    // QUIT has given the slot back before it is answered.
    for wire in &mut five {
        wire.ok("QUIT");
        assert!(sixth.try_login(&owner).starts_with("+OK"));
        sixth.ok("QUIT");
        sixth = served.connect_tls();
    }
}

#[test]
fn clients_that_vanish_while_they_log_in_keep_no_room() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    let (address, key) = (&owner.address, &owner.key);
    let login = format!("USER {address}\r\nPASS {key}\r\nDELE 1\r\n");
    for n in 0..60 {
        let mut tcp = TcpStream::connect(served.plain).unwrap();
        // Some of them in the middle of a word.
        let said = &login.as_bytes()[..login.len() - n % 12];
        tcp.write_all(said).unwrap();
    }
    served.wait_for_sessions(0);
    let let_in = log_in_at_once(&served, &owner, 5);
    assert!(let_in.iter().all(|(said, _)| said.starts_with("+OK")));
    assert_eq!(served.stored(&owner).len(), 1);
}

#[test]
fn a_session_that_an_operator_ends_deletes_nothing_and_makes_room() {
    let served = sqlite_with(&[("Pop3__MaxConnectionsPerUser", "1")]);
    let owner = served.owner(&[huge(HUGE), SMALL.to_vec()]);
    assert!(!served.end_session("no-such-session"));
    // Silent, in the middle of a reply that nobody reads, and inside TLS.
    let mut silent = served.login(&owner);
    silent.ok("DELE 2");
    end_the_only_session(&served, Some(&owner));
    assert_eq!(silent.read_to_end().unwrap(), b"");
    let mut deaf = served.login(&owner);
    deaf.ok("DELE 2");
    deaf.ok("RETR 1");
    end_the_only_session(&served, Some(&owner));
    let rest = deaf.read_to_end().unwrap_or_default();
    assert!(rest.len() < HUGE);
    let mut in_tls = served.login_tls(&owner);
    in_tls.ok("DELE 2");
    end_the_only_session(&served, Some(&owner));
    // It is cut off, so there is no notice that TLS ends.
    assert_eq!(in_tls.read_to_end().unwrap_or_default(), b"");
    let mut not_logged_in = served.connect();
    end_the_only_session(&served, None);
    assert_eq!(not_logged_in.read_to_end().unwrap(), b"");
    assert_eq!(served.stored(&owner).len(), 2);
    served.login(&owner).ok("STAT");
}

fn end_the_only_session(served: &Served, owner: Option<&Owner>) {
    served.wait_for_sessions(1);
    let session = served.sessions().remove(0);
    assert_eq!(session.user, owner.map(|owner| owner.address.clone()));
    assert!(served.end_session(&session.id));
    served.wait_for_sessions(0);
    assert!(!served.end_session(&session.id), "it has ended");
}

#[test]
fn sessions_go_on_when_the_connections_to_postgresql_were_cut() {
    on_each(|served| {
        if served.place.kind == Kind::Sqlite {
            return; // It has no connections that could be cut.
        }
        let owner = served.owner(&[SMALL.to_vec(), SMALL.to_vec()]);
        let mut session = served.login(&owner);
        let cut = || {
            run(async || {
                let sql = served.place.sql().await;
                let all = "pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
                let cut = format!("SELECT pg_terminate_backend(pid) FROM {all}");
                sql.run(&cut).await;
            });
        };
        cut();
        assert_eq!(session.body("RETR 2"), SMALL);
        session.ok("DELE 1");
        cut();
        session.ok("QUIT");
        cut();
        assert_eq!(served.login(&owner).ok("UIDL 1").split(' ').count(), 3);
        assert_eq!(served.stored(&owner).len(), 1);
    });
}
