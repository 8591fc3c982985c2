//! Any octets of a client, before login and after it: nothing panics, every reply ends its line, the
//! buffer stays small, and the counts of the snapshot stay true.
#![no_main]

use std::num::NonZeroU32;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pop3::{
    Access, Authorization, AuthorizationStep, Candidates, ChannelBinding, Limits, LoginRefusal,
    Mechanisms, Policy, Reply, Snapshot, Transaction, TransactionStep, Verifier,
};
use wire::{LineBuffer, Secret};

/// The phase of a session.
enum Session {
    Authorization(Authorization),
    Transaction(Transaction),
}

impl Session {
    fn max_line_octets(&self) -> usize {
        match self {
            Self::Authorization(state) => state.max_line_octets(),
            Self::Transaction(state) => state.max_line_octets(),
        }
    }
}

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
    let mut session = Some(Session::Authorization(Authorization::new(policy)));
    let mut lines = LineBuffer::default();
    // The network cuts the stream, and never at the same places.
    for piece in stream.chunks(1 + usize::from(*choice)) {
        lines.push(piece);
        while let Some(state) = session.take() {
            let Some(line) = lines.next_line(state.max_line_octets()) else {
                session = Some(state);
                break;
            };
            session = match state {
                Session::Authorization(state) => begin(state.receive(line), has(5), policy),
                Session::Transaction(state) => go_on(state.receive(line)),
            };
        }
        if session.is_none() {
            return;
        }
    }
});

/// Takes a step before the login; returns the session unless it has ended.
fn begin(step: AuthorizationStep, let_in: bool, policy: Policy) -> Option<Session> {
    let (reply, state) = match step {
        AuthorizationStep::Reply(reply, state) => (reply, Some(state)),
        AuthorizationStep::Login(login) if let_in => {
            let (reply, state) = login.granted(maildrop(), Access::Full);
            check(&reply);
            return Some(Session::Transaction(state));
        }
        AuthorizationStep::Login(login) => login.refused(LoginRefusal::Credentials),
        AuthorizationStep::Verifier(lookup) => {
            let iterations = NonZeroU32::MIN;
            let verifier = Verifier::new(&Secret::new("key"), b"salt", iterations);
            let mut candidates = Candidates::new(b"salt", iterations);
            assert!(candidates.add(1, verifier));
            lookup.found(candidates, "nonce", Some(b"channel"))
        }
        AuthorizationStep::StartTls(reply) => (reply, Some(Authorization::new(policy))),
        AuthorizationStep::Quit(reply) | AuthorizationStep::Close(reply) => (reply, None),
    };
    check(&reply);
    state.map(Session::Authorization)
}

/// Takes a step after the login; returns the session unless it has ended.
fn go_on(step: TransactionStep) -> Option<Session> {
    let (reply, state) = match step {
        TransactionStep::Reply(reply, state) => (reply, Some(state)),
        TransactionStep::List(mut listing) => {
            let mut out = Vec::new();
            while !listing.write(&mut out, 64) {}
            assert!(out.ends_with(b"\r\n.\r\n"));
            return Some(Session::Transaction(listing.finish()));
        }
        TransactionStep::Retrieve(retrieve) => {
            let (reply, state) = retrieve.found();
            (reply, Some(state))
        }
        TransactionStep::Commit(commit) => {
            let marked = commit.marked().count();
            assert!(marked > 0);
            (commit.done(marked), None)
        }
        TransactionStep::Quit(reply) | TransactionStep::Close(reply) => (reply, None),
    };
    check(&reply);
    if let Some(state) = &state {
        let (messages, octets) = state.unmarked();
        let snapshot = state.snapshot();
        assert_eq!(messages + state.marks().len(), snapshot.len());
        assert!(octets <= snapshot.octets());
    }
    state.map(Session::Transaction)
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
