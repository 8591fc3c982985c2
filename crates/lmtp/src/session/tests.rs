//! What may be said when.

use super::*;
use proptest::prelude::*;

/// A client that says one thing after the other. Users are those at example.org.
struct Talk {
    session: Option<Session<String>>,
    said: Vec<String>,
    closed: bool,
}

impl Talk {
    fn new() -> Self {
        let rules = Rules {
            server_name: "mail.example.org".into(),
            max_octets: 1000,
        };
        Self {
            session: Some(Session::new(Arc::new(rules))),
            said: Vec::new(),
            closed: false,
        }
    }

    /// The codes of what is answered, with the enhanced ones. A message is taken in as nothing.
    fn say(&mut self, line: &str) -> Vec<String> {
        self.hear(Line::Text(line.as_bytes()))
    }

    fn hear(&mut self, line: Line<'_>) -> Vec<String> {
        let before = self.said.len();
        let session = self.session.take().unwrap();
        let session = match session.receive(line) {
            Step::Reply(reply, session) => self.note([reply], session),
            Step::Lookup(lookup) => {
                let address = lookup.address().to_owned();
                let (reply, session) = if address.starts_with("full@") {
                    lookup.full()
                } else if address.starts_with("half-full@") {
                    lookup.too_large()
                } else if address.ends_with("@example.org") {
                    lookup.found(address)
                } else if address.ends_with("@away") {
                    lookup.failed()
                } else {
                    lookup.unknown()
                };
                self.note([reply], session)
            }
            Step::Receive(reply, incoming) => {
                let stored = vec![Answer::Stored; incoming.envelope().recipients.len()];
                let (replies, session) = incoming.answered(&stored);
                self.note(std::iter::once(reply).chain(replies), session)
            }
            Step::Chunk(chunk) if chunk.octets() == 999 => {
                let (replies, session) = chunk.refused(Answer::TooLarge);
                self.note(replies, session)
            }
            Step::Chunk(chunk) if chunk.is_last() => {
                let (replies, session) = chunk.answered(&[Answer::Stored, Answer::OverQuota]);
                self.note(replies, session)
            }
            Step::Chunk(chunk) => {
                let (reply, session) = chunk.taken();
                self.note([reply], session)
            }
            Step::Skip(octets, reply, session) => {
                self.said.push(format!("skip {octets}"));
                self.note([reply], session)
            }
            Step::Close(reply) => {
                self.said.push(reply.to_string());
                self.closed = true;
                None
            }
        };
        self.session = session;
        let codes = |text: &String| {
            let words: Vec<&str> = text.split_ascii_whitespace().take(2).collect();
            words.join(" ")
        };
        self.said.iter().skip(before).map(codes).collect()
    }

    fn note(
        &mut self,
        replies: impl IntoIterator<Item = Reply>,
        session: Session<String>,
    ) -> Option<Session<String>> {
        self.said
            .extend(replies.into_iter().map(|reply| reply.to_string()));
        Some(session)
    }

    /// Says each line and compares what is answered.
    fn check(&mut self, lines: &[(&str, &[&str])]) {
        for (line, expected) in lines {
            assert_eq!(self.say(line), *expected, "{line}");
        }
    }
}

const LHLO: (&str, &[&str]) = ("LHLO mx.example.com", &["250-mail.example.org PIPELINING"]);

fn greeted() -> Talk {
    let mut talk = Talk::new();
    assert!(talk.say("LHLO mx.example.com")[0].starts_with("250-"));
    talk
}

#[test]
fn lhlo_tells_what_the_server_can_do() {
    let mut talk = Talk::new();
    talk.say(LHLO.0);
    assert_eq!(
        talk.said[0],
        "250-mail.example.org\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n\
         250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
    );
}

#[test]
fn there_is_one_reply_for_each_accepted_recipient_after_the_message() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<>", &["250 2.1.0"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
        ("RCPT TO:<eve@example.com>", &["550 5.1.1"]),
        ("RCPT TO:<bob@away>", &["451 4.3.0"]),
        ("RCPT TO:<postmaster>", &["550 5.1.1"]),
        ("RCPT TO:<Ada@example.org>", &["250 2.1.5"]),
        ("DATA", &["354 send", "250 2.0.0", "250 2.0.0"]),
        ("DATA", &["503 5.5.1"]),
    ]);
    let last: Vec<&String> = talk.said.iter().rev().skip(1).take(2).collect();
    assert!(last[1].contains("<ada@example.org>") && last[0].contains("<Ada@example.org>"));
}

#[test]
fn commands_out_of_order_are_refused_and_change_nothing() {
    let mut talk = Talk::new();
    talk.check(&[
        ("MAIL FROM:<a@b>", &["503 5.5.1"]),
        ("RCPT TO:<ada@example.org>", &["503 5.5.1"]),
        ("DATA", &["503 5.5.1"]),
        ("BDAT 7 LAST", &["skip 7", "503 5.5.1"]),
        ("NOOP", &["250 2.0.0"]),
        ("RSET", &["250 2.0.0"]),
        ("MAIL FROM:<a@b>", &["503 5.5.1"]),
    ]);
    let mut talk = greeted();
    talk.check(&[
        ("RCPT TO:<ada@example.org>", &["503 5.5.1"]),
        ("MAIL FROM:<a@b>", &["250 2.1.0"]),
        ("MAIL FROM:<c@d>", &["503 5.5.1"]),
        ("DATA", &["503 5.5.1"]),
        ("BDAT 0 LAST", &["skip 0", "503 5.5.1"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
        ("NOOP", &["250 2.0.0"]),
        ("DATA", &["354 send", "250 2.0.0"]),
    ]);
}

#[test]
fn rset_and_lhlo_forget_the_message() {
    for forget in ["RSET", "LHLO other.example"] {
        let mut talk = greeted();
        for line in [
            "MAIL FROM:<a@b>",
            "RCPT TO:<ada@example.org>",
            "BDAT 5",
            forget,
        ] {
            talk.say(line);
        }
        talk.check(&[
            ("DATA", &["503 5.5.1"]),
            ("RCPT TO:<ada@example.org>", &["503 5.5.1"]),
            ("MAIL FROM:<a@b>", &["250 2.1.0"]),
        ]);
    }
}

#[test]
fn a_message_comes_in_chunks_or_by_data_and_not_by_both() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<a@b>", &["250 2.1.0"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
        ("RCPT TO:<bob@example.org>", &["250 2.1.5"]),
        ("BDAT 5", &["250 2.0.0"]),
        ("DATA", &["503 5.5.1"]),
        ("RCPT TO:<bob@example.org>", &["503 5.5.1"]),
        ("MAIL FROM:<a@b>", &["503 5.5.1"]),
        ("BDAT 0 LAST", &["250 2.0.0", "552 5.2.2"]),
        ("BDAT 0 LAST", &["skip 0", "503 5.5.1"]),
    ]);
}

#[test]
fn what_follows_a_refused_chunk_is_thrown_away() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<a@b>", &["250 2.1.0"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
        ("RCPT TO:<bob@example.org>", &["250 2.1.5"]),
        ("BDAT 999", &["552 5.3.4"]),
        ("BDAT 5 LAST", &["skip 5", "503 5.5.1"]),
        ("MAIL FROM:<a@b>", &["250 2.1.0"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
        ("RCPT TO:<bob@example.org>", &["250 2.1.5"]),
        ("BDAT 999 LAST", &["552 5.3.4", "552 5.3.4"]),
    ]);
}

#[test]
fn a_size_that_is_too_large_is_refused_at_once() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<a@b> SIZE=1001", &["552 5.3.4"]),
        ("MAIL FROM:<a@b> SIZE=1000", &["250 2.1.0"]),
    ]);
}

#[test]
fn addresses_beyond_ascii_are_taken_and_repeated_to_those_who_read_them() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<\u{e4}@b>", &["250 2.1.0"]),
        ("RCPT TO:<\u{e4}@example.org>", &["250 2.1.5"]),
        ("RSET", &["250 2.0.0"]),
        ("MAIL FROM:<\u{e4}@b> SMTPUTF8", &["250 2.1.0"]),
        ("RCPT TO:<\u{e4}@example.org>", &["250 2.1.5"]),
    ]);
    assert_eq!(talk.said[2], "250 2.1.5 <?@example.org> accepted\r\n");
    assert_eq!(talk.said[5], "250 2.1.5 <\u{e4}@example.org> accepted\r\n");
    let reply = talk.hear(Line::Text(b"RCPT TO:<\xe4@example.com>"));
    assert_eq!(reply, ["550 5.1.1"]);
}

#[test]
fn a_recipient_that_can_be_nobody_spoils_no_other() {
    let mut talk = greeted();
    talk.check(&[
        ("RCPT TO:<>", &["503 5.5.1"]),
        ("MAIL FROM:<a@b>", &["250 2.1.0"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
    ]);
    // Not even if a list is full of them.
    for _ in 0..2 * MAX_BAD_COMMANDS {
        talk.check(&[("RCPT TO:<ada\u{1}@example.org>", &["550 5.1.3"])]);
    }
    talk.check(&[("DATA", &["354 send", "250 2.0.0"])]);
}

#[test]
fn a_maildrop_without_room_refuses_its_recipient_alone() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<a@b> SIZE=700", &["250 2.1.0"]),
        ("RCPT TO:<full@example.org>", &["552 5.2.2"]),
        ("RCPT TO:<half-full@example.org>", &["552 5.2.2"]),
        ("RCPT TO:<ada@example.org>", &["250 2.1.5"]),
        ("DATA", &["354 send", "250 2.0.0"]),
    ]);
    assert!(talk.said[2].contains(" is full"), "{}", talk.said[2]);
    assert!(talk.said[3].contains(" 700 octets"), "{}", talk.said[3]);
}

#[test]
fn an_address_without_a_domain_is_looked_up_as_it_is() {
    let mut talk = greeted();
    talk.check(&[
        ("MAIL FROM:<>", &["250 2.1.0"]),
        ("RCPT TO:<Postmaster>", &["550 5.1.1"]),
    ]);
    let said = talk.said.last().unwrap();
    assert!(
        said.contains("<Postmaster>") && said.contains("without a domain"),
        "{said}"
    );
}

#[test]
fn a_reply_is_short_however_long_the_address_is() {
    let mut talk = greeted();
    let long = format!("ada+{}", "\u{e4}".repeat(3000));
    talk.say("MAIL FROM:<a@b> SMTPUTF8");
    talk.say(&format!("RCPT TO:<{long}@example.org>"));
    talk.say(&format!("RCPT TO:<{long}@example.com>"));
    talk.say(&format!("RCPT TO:<{long}@away>"));
    talk.say("DATA");
    assert_eq!(talk.said.len(), 7);
    for said in talk.said.iter().skip(1) {
        assert!(said.len() <= 512, "{said}");
    }
}

#[test]
fn one_recipient_beyond_the_limit_is_put_off() {
    let mut talk = greeted();
    talk.say("MAIL FROM:<a@b>");
    for _ in 0..MAX_RECIPIENTS {
        assert_eq!(talk.say("RCPT TO:<ada@example.org>"), ["250 2.1.5"]);
    }
    assert_eq!(talk.say("RCPT TO:<ada@example.org>"), ["452 4.5.3"]);
    assert_eq!(talk.say("DATA").len(), MAX_RECIPIENTS + 1);
}

#[test]
fn recipients_longer_than_the_limit_are_put_off() {
    let mut talk = greeted();
    talk.say("MAIL FROM:<a@b>");
    let octets = 4000;
    let long = format!("{}@example.org", "a".repeat(octets - 12));
    for _ in 0..MAX_RECIPIENT_OCTETS / octets {
        assert_eq!(talk.say(&format!("RCPT TO:<{long}>")), ["250 2.1.5"]);
    }
    assert_eq!(talk.say(&format!("RCPT TO:<{long}>")), ["452 4.5.3"]);
    assert_eq!(talk.say("DATA").len(), MAX_RECIPIENT_OCTETS / octets + 1);
}

#[test]
fn twenty_bad_commands_in_a_row_end_the_session_and_a_good_one_forgives_them() {
    let mut talk = greeted();
    for round in 0..2 {
        for _ in 1..MAX_BAD_COMMANDS {
            assert_eq!(talk.hear(Line::TooLong), ["500 5.5.6"]);
        }
        if round == 0 {
            talk.say("NOOP");
        }
    }
    assert_eq!(talk.say("EHLO a.example"), ["421 4.7.0"]);
    assert!(talk.closed);
    let mut talk = greeted();
    for _ in 1..MAX_BAD_COMMANDS {
        assert_eq!(talk.say("BDAT 0"), ["skip 0", "503 5.5.1"]);
    }
    assert_eq!(talk.say("BDAT 0"), ["421 4.7.0"]);
    let session = greeted().session.unwrap();
    let Step::Reply(reply, _) = session.refuse_bare_line_feed() else {
        panic!("it is refused");
    };
    assert_eq!(reply.code(), 500);
    for last in ["QUIT", "BDAT many"] {
        let mut talk = greeted();
        let code = talk.say(last);
        assert!(talk.closed, "{code:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_said_every_reply_has_its_form(
        lines in proptest::collection::vec(prop_oneof![
            Just("LHLO a.example".to_owned()),
            Just("MAIL FROM:<a@b>".to_owned()),
            Just("RCPT TO:<ada@example.org>".to_owned()),
            Just("DATA".to_owned()),
            Just("BDAT 5".to_owned()),
            Just("BDAT 5 LAST".to_owned()),
            Just("RSET".to_owned()),
            ".{0,40}",
            "(MAIL FROM:|RCPT TO:)<.{0,20}>( .{0,10})?",
        ], 0..30),
    ) {
        let mut talk = Talk::new();
        for line in lines {
            if talk.closed {
                break;
            }
            talk.say(&line);
        }
        for said in talk.said.iter().filter(|said| !said.starts_with("skip")) {
            prop_assert!(said.ends_with("\r\n"));
            for line in said.trim_end().split("\r\n") {
                prop_assert!(line.len() > 4 && line.is_char_boundary(3));
                prop_assert!(line[..3].bytes().all(|c| c.is_ascii_digit()), "{line}");
                prop_assert!(!line.contains(['\r', '\n']), "{line:?}");
            }
        }
    }
}
