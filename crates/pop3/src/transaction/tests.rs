#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the steps that it wants"
)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::testing::{LIMITS, PLAIN, Phase, login, maildrop, replied, talk, text};
use crate::{Authorization, AuthorizationStep};

/// Ends after so many bad commands, of which a good one starts the count again.
fn the_twentieth_bad_command_in_a_row_ends<P: Phase>(start: P) -> P::Step {
    let mut phase = start;
    for _ in 1..LIMITS.bad_commands {
        phase = talk(phase, "XYZZY").1;
    }
    phase = talk(phase, "CAPA").1;
    for _ in 1..LIMITS.bad_commands {
        phase = replied(phase.receive_line(Line::TooLong)).1;
    }
    phase.say("XYZZY")
}

#[test]
fn the_twentieth_bad_command_in_a_row_ends_the_session() {
    let step = the_twentieth_bad_command_in_a_row_ends(Authorization::new(PLAIN));
    assert!(matches!(step, AuthorizationStep::Close(_)), "{step:?}");
    let step = the_twentieth_bad_command_in_a_row_ends(transaction(&[1]));
    assert!(matches!(step, TransactionStep::Close(_)), "{step:?}");
}

fn transaction(sizes: &[u64]) -> Transaction {
    let login = login(Authorization::new(PLAIN));
    login.granted(maildrop(sizes), Access::Full).1
}

fn listing(session: Transaction, line: &str, limit: usize) -> (String, Transaction) {
    let TransactionStep::List(mut listing) = session.say(line) else {
        panic!("no listing")
    };
    let mut all = Vec::new();
    loop {
        let mut piece = Vec::new();
        let end = listing.write(&mut piece, limit);
        assert!(piece.len() <= limit.saturating_add(100));
        all.extend(piece);
        if end {
            return (String::from_utf8(all).unwrap(), listing.finish());
        }
    }
}

#[test]
fn a_listing_is_the_same_however_it_is_cut() {
    let sizes: Vec<u64> = (1..=300).collect();
    let (_, session) = talk(transaction(&sizes), "DELE 7");
    let (whole, session) = listing(session, "LIST", usize::MAX);
    for limit in [1, 10, 1000] {
        let session = talk(transaction(&sizes), "DELE 7").1;
        assert_eq!(listing(session, "LIST", limit).0, whole);
    }
    assert_eq!(whole.lines().count(), 301);
    assert!(!whole.contains("\r\n7 "));
    assert!(whole.ends_with("300 300\r\n.\r\n"));
    let (ids, _) = listing(session, "UIDL", usize::MAX);
    assert!(ids.contains("\r\n1 id0\r\n2 id1\r\n"));
}

#[test]
fn what_a_limit_hides_is_told_at_login_and_at_quit() {
    let mut snapshot = Snapshot::default();
    for id in ["id1", "id2"] {
        snapshot.push(10, id).unwrap();
    }
    snapshot.hide(4998);
    let snapshot = Arc::new(snapshot);
    let hidden = ", 4998 older messages are hidden by a limit of this server\r\n";
    let opened = || login(Authorization::new(PLAIN)).granted(Arc::clone(&snapshot), Access::Full);
    let (reply, session) = opened();
    let expected = format!("+OK maildrop has 2 messages (20 octets){hidden}");
    assert_eq!(text(&reply), expected);
    let TransactionStep::Quit(reply) = session.say("QUIT") else {
        panic!("no end")
    };
    assert_eq!(text(&reply), format!("+OK goodbye{hidden}"));
    let (_, session) = talk(opened().1, "DELE 1");
    let TransactionStep::Commit(commit) = session.say("QUIT") else {
        panic!("no commit")
    };
    let expected = format!("+OK 1 messages deleted, 1 left (10 octets){hidden}");
    assert_eq!(text(&commit.done(1)), expected);
}

#[test]
fn a_key_that_only_reads_marks_nothing() {
    let login = login(Authorization::new(PLAIN));
    let (_, session) = login.granted(maildrop(&[1, 2]), Access::Read);
    let (reply, session) = talk(session, "DELE 1");
    assert!(reply.starts_with("-ERR [SYS/PERM] "), "{reply}");
    let (reply, session) = talk(session, "STAT");
    assert_eq!(reply, "+OK 2 3\r\n");
    assert!(
        talk(session, "DELE 3")
            .0
            .starts_with("-ERR no such message")
    );
}

#[test]
fn quit_without_marks_commits_nothing() {
    let (_, session) = talk(transaction(&[10, 20]), "DELE 2");
    let (_, session) = talk(session, "RSET");
    assert!(matches!(session.say("QUIT"), TransactionStep::Quit(_)));
}

#[test]
fn quit_commits_exactly_the_marked_messages() {
    let (_, session) = talk(transaction(&[10, 20, 30]), "DELE 3");
    let (_, session) = talk(session, "DELE 1");
    let TransactionStep::Commit(commit) = session.say("QUIT") else {
        panic!("no commit")
    };
    let marked: Vec<_> = commit.marked().map(MessageNumber::index).collect();
    assert_eq!(marked, [0, 2]);
    assert_eq!(
        text(&commit.done(2)),
        "+OK 2 messages deleted, 1 left (20 octets)\r\n"
    );
}

/// A maildrop as the simplest thing that RFC 1939 could mean.
struct Reference {
    sizes: Vec<u64>,
    marked: Vec<bool>,
}

impl Reference {
    fn answer(&mut self, verb: &str, n: usize) -> String {
        let live = n >= 1 && n <= self.sizes.len() && !self.marked[n - 1];
        let unmarked = || {
            self.sizes
                .iter()
                .zip(&self.marked)
                .filter(|(_, marked)| !**marked)
        };
        match verb {
            "STAT" => format!(
                "+OK {} {}",
                unmarked().count(),
                unmarked().map(|(s, _)| s).sum::<u64>()
            ),
            "RSET" => {
                self.marked.fill(false);
                "+OK".into()
            }
            _ if !live => "-ERR".into(),
            "DELE" => {
                self.marked[n - 1] = true;
                "+OK".into()
            }
            "LIST" => format!("+OK {n} {}", self.sizes[n - 1]),
            "UIDL" => format!("+OK {n} id{}", n - 1),
            "RETR" => format!("+OK {} octets", self.sizes[n - 1]),
            other => panic!("{other}"),
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_commands_is_answered_as_the_rfc_says(
        sizes in proptest::collection::vec(0u64..1000, 0..8),
        lines in proptest::collection::vec(
            (prop_oneof![Just("STAT"), Just("RSET"), Just("DELE"), Just("LIST"), Just("UIDL"), Just("RETR")], 0usize..10),
            0..40,
        ),
    ) {
        let mut reference = Reference { marked: vec![false; sizes.len()], sizes: sizes.clone() };
        let mut session = transaction(&sizes);
        for (verb, n) in lines {
            let line = if matches!(verb, "STAT" | "RSET") { verb.to_owned() } else { format!("{verb} {n}") };
            let expected = reference.answer(verb, n);
            let (reply, next) = match session.say(&line) {
                TransactionStep::Reply(reply, session) => (text(&reply), session),
                TransactionStep::Retrieve(retrieve) => {
                    let (reply, session) = retrieve.found();
                    (text(&reply), session)
                }
                other => panic!("{line}: {other:?}"),
            };
            prop_assert!(reply.starts_with(&expected), "{}: {} is not {}", line, reply, expected);
            session = next;
        }
    }

    #[test]
    fn no_line_panics_and_every_reply_ends_its_line(
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..260), 0..40),
        logged_in in any::<bool>(),
    ) {
        if logged_in {
            say_until_no_reply(transaction(&[1, 2]), &lines)?;
        } else {
            say_until_no_reply(Authorization::new(PLAIN), &lines)?;
        }
    }
}

fn say_until_no_reply<P: Phase>(mut phase: P, lines: &[Vec<u8>]) -> Result<(), TestCaseError> {
    for line in lines {
        let Ok((reply, next)) = P::replied(phase.receive_line(Line::Text(line))) else {
            return Ok(());
        };
        prop_assert!(reply.as_bytes().ends_with(b"\r\n"));
        phase = next;
    }
    Ok(())
}
