#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one step that it wants"
)]

use std::sync::Arc;

use super::*;
use crate::snapshot::{MessageNumber, Snapshot};
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    bad_commands: 20,
    line_octets: 255,
};

const PLAIN: Policy = Policy {
    stls_offered: false,
    secrets_allowed: true,
    scram_offered: true,
    channel_bound: false,
    mechanisms: Mechanisms::ALL,
    channel_binding: ChannelBinding::Auto,
    certified: false,
    expire_days: None,
    limits: LIMITS,
};

fn maildrop(sizes: &[u64]) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (at, octets) in sizes.iter().enumerate() {
        snapshot.push(*octets, &format!("id{at}")).unwrap();
    }
    Arc::new(snapshot)
}

fn say(session: Session, line: &str) -> Step {
    session.receive(Line::Text(line.as_bytes()))
}

/// Says a line that must have an immediate reply.
fn talk(session: Session, line: &str) -> (String, Session) {
    match say(session, line) {
        Step::Reply(reply, session) => (text(&reply), session),
        other => panic!("{line}: {other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.as_bytes().to_vec()).unwrap()
}

fn login(session: Session) -> Login {
    let (_, session) = talk(session, "USER ada@example.com");
    match say(session, "PASS key") {
        Step::Login(login) => login,
        other => panic!("{other:?}"),
    }
}

fn transaction(sizes: &[u64]) -> Session {
    let login = login(Session::new(PLAIN));
    login.granted(maildrop(sizes), Access::Full).1
}

fn listing(session: Session, line: &str, limit: usize) -> (String, Session) {
    let Step::List(mut listing) = say(session, line) else {
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
fn pass_counts_only_right_after_user() {
    let (_, session) = talk(Session::new(PLAIN), "USER ada@example.com");
    let (_, session) = talk(session, "CAPA");
    let (reply, _) = talk(session, "PASS key");
    assert_eq!(reply, "-ERR PASS comes right after USER\r\n");
}

#[test]
fn the_third_wrong_key_ends_the_session() {
    let mut session = Session::new(PLAIN);
    for _ in 1..MAX_LOGIN_FAILURES {
        let (reply, next) = login(session).refused(LoginRefusal::Credentials);
        assert!(text(&reply).starts_with("-ERR [AUTH] "));
        session = next.unwrap();
    }
    let (_, next) = login(session).refused(LoginRefusal::Credentials);
    assert!(next.is_none());
}

#[test]
fn faults_that_are_not_the_clients_do_not_count_as_wrong_keys() {
    let mut session = Session::new(PLAIN);
    for why in [LoginRefusal::Unavailable, LoginRefusal::TooManySessions].repeat(5) {
        session = login(session).refused(why).1.unwrap();
    }
}

#[test]
fn the_twentieth_bad_command_in_a_row_ends_the_session() {
    for start in [Session::new(PLAIN), transaction(&[1])] {
        let mut session = start;
        for _ in 1..LIMITS.bad_commands {
            session = talk(session, "XYZZY").1;
        }
        session = talk(session, "CAPA").1;
        for _ in 1..LIMITS.bad_commands {
            session = match session.receive(Line::TooLong) {
                Step::Reply(_, session) => session,
                other => panic!("{other:?}"),
            };
        }
        assert!(matches!(say(session, "XYZZY"), Step::Close(_)));
    }
}

#[test]
fn a_secret_is_refused_where_it_may_not_be_sent() {
    let policy = Policy {
        stls_offered: true,
        secrets_allowed: false,
        ..PLAIN
    };
    let (reply, session) = talk(Session::new(policy), "USER ada@example.com");
    assert!(
        reply.starts_with("-ERR [AUTH] ") && reply.contains("STLS"),
        "{reply}"
    );
    let (capabilities, session) = talk(session, "CAPA");
    assert!(!capabilities.contains("USER") && capabilities.contains("\r\nSTLS\r\n"));
    assert!(matches!(say(session, "STLS"), Step::StartTls(..)));
}

#[test]
fn capa_tells_after_how_many_days_a_message_may_go() {
    for (expire_days, line) in [
        (None, "\r\nEXPIRE NEVER\r\n"),
        (Some(1), "\r\nEXPIRE 1\r\n"),
        (Some(36_500), "\r\nEXPIRE 36500\r\n"),
    ] {
        let policy = Policy {
            expire_days,
            ..PLAIN
        };
        let (capabilities, _) = talk(Session::new(policy), "CAPA");
        assert!(capabilities.contains(line), "{capabilities}");
    }
}

#[test]
fn capabilities_after_login_are_those_before_it_less_stls() {
    let policy = Policy {
        stls_offered: true,
        ..PLAIN
    };
    let (before, session) = talk(Session::new(policy), "CAPA");
    let (_, session) = login(session).granted(maildrop(&[]), Access::Full);
    let (after, session) = talk(session, "CAPA");
    assert_eq!(before.replace("STLS\r\n", ""), after);
    assert!(talk(session, "STLS").0.starts_with("-ERR "));
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
    let opened = || login(Session::new(PLAIN)).granted(Arc::clone(&snapshot), Access::Full);
    let (reply, session) = opened();
    let expected = format!("+OK your maildrop has 2 messages (20 octets){hidden}");
    assert_eq!(text(&reply), expected);
    let Step::Close(reply) = say(session, "QUIT") else {
        panic!("no end")
    };
    assert_eq!(text(&reply), format!("+OK goodbye{hidden}"));
    let (_, session) = talk(opened().1, "DELE 1");
    let Step::Commit(commit) = say(session, "QUIT") else {
        panic!("no commit")
    };
    let expected = format!("+OK 1 messages deleted, 1 left (10 octets){hidden}");
    assert_eq!(text(&commit.done(1)), expected);
}

#[test]
fn a_key_that_only_reads_marks_nothing() {
    let login = login(Session::new(PLAIN));
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
    assert!(matches!(say(session, "QUIT"), Step::Close(_)));
}

#[test]
fn quit_commits_exactly_the_marked_messages() {
    let (_, session) = talk(transaction(&[10, 20, 30]), "DELE 3");
    let (_, session) = talk(session, "DELE 1");
    let Step::Commit(commit) = say(session, "QUIT") else {
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
            let (reply, next) = match say(session, &line) {
                Step::Reply(reply, session) => (text(&reply), session),
                Step::Retrieve(retrieve) => {
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
        let mut session = if logged_in { transaction(&[1, 2]) } else { Session::new(PLAIN) };
        for line in &lines {
            session = match session.receive(Line::Text(line)) {
                Step::Reply(reply, session) => {
                    prop_assert!(reply.as_bytes().ends_with(b"\r\n"));
                    session
                }
                _ => return Ok(()),
            };
        }
    }
}
