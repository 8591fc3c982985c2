//! An LMTP session with any octets from the client: nothing panics, every reply ends its line, and a message
//! that comes by DATA ends at the first CRLF, dot, CRLF and has none inside.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lmtp::{Answer, Envelope, MAX_LINE_OCTETS, Reply, Rules, Session, Step};
use wire::{Canonical, LineBuffer, Unstuffing};

/// What the storage of a server answers, in turn.
const ANSWERS: [Answer; 7] = [
    Answer::Stored,
    Answer::OverQuota,
    Answer::NoSuchUser,
    Answer::TooLarge,
    Answer::NoSpace,
    Answer::Locked,
    Answer::Unavailable,
];

/// What a session waits for.
enum Waiting {
    Line(Session<()>),
    Data(lmtp::Incoming<()>, Unstuffing, Vec<u8>),
    Chunk(lmtp::Chunk<()>, u64),
    Skip(u64, Reply, Session<()>),
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, stream)) = input.split_first() else {
        return;
    };
    let rules = Rules {
        server_name: "localhost".into(),
        max_octets: 1000,
    };
    let mut waiting = Some(Waiting::Line(Session::new(Arc::new(rules))));
    let mut lines = LineBuffer::default();
    // The network cuts the stream, and never at the same places.
    for piece in stream.chunks(1 + usize::from(*choice)) {
        lines.push(piece);
        while let Some(state) = waiting.take() {
            match go_on(state, &mut lines, *choice) {
                Progress::Made(next) => waiting = Some(next),
                Progress::NeedsMore(state) => {
                    waiting = Some(state);
                    break;
                }
                Progress::Closed => return,
            }
        }
    }
});

enum Progress {
    Made(Waiting),
    NeedsMore(Waiting),
    Closed,
}

/// Takes what is there as far as the session waits for it.
fn go_on(waiting: Waiting, lines: &mut LineBuffer, choice: u8) -> Progress {
    match waiting {
        Waiting::Line(session) => {
            if lines.next_ends_with_lf_alone() {
                lines.next_line(MAX_LINE_OCTETS);
                return take(session.refuse_bare_line_feed(), choice);
            }
            match lines.next_line(MAX_LINE_OCTETS) {
                Some(line) => take(session.receive(line), choice),
                None => Progress::NeedsMore(Waiting::Line(session)),
            }
        }
        Waiting::Data(incoming, mut unstuffing, mut message) => {
            let taken = unstuffing.take(lines.octets(), &mut message);
            lines.consume(taken);
            if !unstuffing.has_ended() {
                return Progress::NeedsMore(Waiting::Data(incoming, unstuffing, message));
            }
            check_message(&message);
            let answers = answers(incoming.envelope(), choice);
            let (replies, session) = incoming.answered(&answers);
            assert_eq!(replies.len(), answers.len());
            replies.iter().for_each(check);
            Progress::Made(Waiting::Line(session))
        }
        Waiting::Chunk(chunk, left) => match consume(lines, left) {
            0 => Progress::Made(Waiting::Line(take_chunk(chunk, choice))),
            left => Progress::NeedsMore(Waiting::Chunk(chunk, left)),
        },
        Waiting::Skip(left, reply, session) => match consume(lines, left) {
            0 => {
                check(&reply);
                Progress::Made(Waiting::Line(session))
            }
            left => Progress::NeedsMore(Waiting::Skip(left, reply, session)),
        },
    }
}

/// Does what a step says.
fn take(step: Step<()>, choice: u8) -> Progress {
    let (reply, session) = match step {
        Step::Reply(reply, session) => (reply, session),
        Step::Lookup(lookup) => match choice % 8 {
            0 => lookup.unknown(),
            1 => lookup.full(),
            2 => lookup.too_large(),
            3 => lookup.no_space(),
            4 => lookup.failed(),
            _ => lookup.found(()),
        },
        Step::Receive(reply, incoming) => {
            check(&reply);
            return Progress::Made(Waiting::Data(incoming, Unstuffing::default(), Vec::new()));
        }
        Step::Chunk(chunk) => {
            let octets = chunk.octets();
            return Progress::Made(Waiting::Chunk(chunk, octets));
        }
        Step::Skip(octets, reply, session) => {
            return Progress::Made(Waiting::Skip(octets, reply, session));
        }
        Step::Close(reply) => {
            check(&reply);
            return Progress::Closed;
        }
    };
    check(&reply);
    Progress::Made(Waiting::Line(session))
}

fn take_chunk(chunk: lmtp::Chunk<()>, choice: u8) -> Session<()> {
    let (replies, session) = if choice & 0x10 != 0 {
        chunk.refused(Answer::TooLarge)
    } else if chunk.is_last() {
        let answers = answers(chunk.envelope(), choice);
        chunk.answered(&answers)
    } else {
        let (reply, session) = chunk.taken();
        (vec![reply], session)
    };
    assert!(!replies.is_empty());
    replies.iter().for_each(check);
    session
}

/// Takes at most so many octets; how many are still to come.
fn consume(lines: &mut LineBuffer, octets: u64) -> u64 {
    let here = usize::try_from(octets)
        .unwrap_or(usize::MAX)
        .min(lines.octets().len());
    lines.consume(here);
    octets - here as u64
}

fn answers(envelope: &Envelope<()>, choice: u8) -> Vec<Answer> {
    let answers = ANSWERS.into_iter().cycle().skip(usize::from(choice));
    answers.take(envelope.recipients.len()).collect()
}

/// No message can hold what ends one on the way to the next server.
fn check_message(message: &[u8]) {
    let mut canonical = Canonical::default();
    let mut stored = Vec::new();
    canonical.push(message, &mut stored);
    canonical.finish(&mut stored);
    assert!(stored.is_empty() || stored.ends_with(b"\n"));
}

fn check(reply: &Reply) {
    let text = reply.to_string();
    assert!(text.ends_with("\r\n"));
    for line in text.trim_end_matches("\r\n").split("\r\n") {
        assert!(!line.contains(['\r', '\n']));
        assert!(line.starts_with(char::is_numeric));
    }
}
