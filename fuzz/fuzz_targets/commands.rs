//! Whatever octets a client sends, before login and after it: nothing panics, every reply ends its
//! line, the buffer stays small, and what the snapshot counts stays true.
#![no_main]

use std::num::NonZeroU32;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pop3::{
    Access, Candidates, ChannelBinding, Limits, LoginRefusal, Mechanisms, Policy, Reply, Session,
    Snapshot, Step, Verifier,
};
use wire::{LineBuffer, Secret};

fuzz_target!(|input: &[u8]| {
    let Some((choice, stream)) = input.split_first() else {
        return;
    };
    let has = |bit: u8| choice & (1 << bit) != 0;
    let policy = Policy {
        stls_offered: has(0),
        secrets_allowed: has(1),
        scram_offered: has(2),
        channel_bound: has(3),
        mechanisms: Mechanisms::ALL,
        channel_binding: if has(6) {
            ChannelBinding::Offer
        } else {
            ChannelBinding::Auto
        },
        certified: has(4),
        expire_days: has(7).then_some(7),
        limits: Limits {
            bad_commands: 20,
            line_octets: 255,
        },
    };
    let mut session = Some(Session::new(policy));
    let mut lines = LineBuffer::default();
    // The network cuts the stream, and never at the same places.
    for piece in stream.chunks(1 + usize::from(*choice)) {
        lines.push(piece);
        while let Some(state) = session.take() {
            let Some(line) = lines.next_line(state.max_line_octets()) else {
                session = Some(state);
                break;
            };
            session = take(state.receive(line), has(5), policy);
        }
        if session.is_none() {
            return;
        }
    }
});

/// Does what a step says; the session, unless it has ended.
fn take(step: Step, let_in: bool, policy: Policy) -> Option<Session> {
    let (reply, session) = match step {
        Step::Reply(reply, session) => (reply, Some(session)),
        Step::Login(login) if let_in => {
            let (reply, session) = login.granted(maildrop(), Access::Full);
            (reply, Some(session))
        }
        Step::Login(login) => login.refused(LoginRefusal::Credentials),
        Step::Verifier(lookup) => {
            let iterations = NonZeroU32::MIN;
            let verifier = Verifier::new(&Secret::new("key"), b"salt", iterations);
            let mut candidates = Candidates::new(b"salt", iterations);
            assert!(candidates.add(1, verifier));
            lookup.found(candidates, "nonce", Some(b"channel"))
        }
        Step::List(mut listing) => {
            let mut out = Vec::new();
            while !listing.write(&mut out, 64) {}
            assert!(out.ends_with(b"\r\n.\r\n"));
            return Some(listing.finish());
        }
        Step::Retrieve(retrieve) => {
            let (reply, session) = retrieve.found();
            (reply, Some(session))
        }
        Step::StartTls(reply, _) => (reply, Some(Session::new(policy))),
        Step::Commit(commit) => {
            let marked = commit.marked().count();
            assert!(marked > 0);
            (commit.done(marked), None)
        }
        Step::Close(reply) => (reply, None),
    };
    check(&reply);
    if let Some(Session::Transaction(transaction)) = &session {
        let (messages, octets) = transaction.unmarked();
        let snapshot = transaction.snapshot();
        assert_eq!(messages + transaction.marks().len(), snapshot.len());
        assert!(octets <= snapshot.octets());
    }
    session
}

fn check(reply: &Reply) {
    let text = reply.as_bytes();
    assert!(text.ends_with(b"\r\n"));
    assert!(
        [&b"+OK"[..], b"-ERR ", b"+ "]
            .iter()
            .any(|start| text.starts_with(start))
    );
}

fn maildrop() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for octets in 1..=5 {
        let name = format!("message-{octets}");
        snapshot.push(octets, &name).expect("it is printable");
    }
    Arc::new(snapshot)
}
