//! What the tests of both phases share.

use std::fmt::Debug;
use std::sync::Arc;

use wire::Line;

use crate::{
    Authorization, AuthorizationStep, ChannelBinding, Limits, Login, Mechanisms, Policy, Reply,
    Snapshot, Transaction, TransactionStep,
};

pub(crate) const LIMITS: Limits = Limits {
    bad_commands: 20,
    line_octets: 255,
};

pub(crate) const PLAIN: Policy = Policy {
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

/// A phase to which lines can be said.
pub(crate) trait Phase: Sized {
    type Step: Debug;

    fn receive_line(self, line: Line<'_>) -> Self::Step;

    /// The immediate reply of a step, if it has one.
    fn replied(step: Self::Step) -> Result<(Reply, Self), Self::Step>;

    fn say(self, line: &str) -> Self::Step {
        self.receive_line(Line::Text(line.as_bytes()))
    }
}

impl Phase for Authorization {
    type Step = AuthorizationStep;

    fn receive_line(self, line: Line<'_>) -> AuthorizationStep {
        self.receive(line)
    }

    fn replied(step: AuthorizationStep) -> Result<(Reply, Self), AuthorizationStep> {
        match step {
            AuthorizationStep::Reply(reply, state) => Ok((reply, state)),
            AuthorizationStep::Login(_)
            | AuthorizationStep::Verifier(_)
            | AuthorizationStep::StartTls(_)
            | AuthorizationStep::Quit(_)
            | AuthorizationStep::Close(_) => Err(step),
        }
    }
}

impl Phase for Transaction {
    type Step = TransactionStep;

    fn receive_line(self, line: Line<'_>) -> TransactionStep {
        self.receive(line)
    }

    fn replied(step: TransactionStep) -> Result<(Reply, Self), TransactionStep> {
        match step {
            TransactionStep::Reply(reply, state) => Ok((reply, state)),
            TransactionStep::List(_)
            | TransactionStep::Retrieve(_)
            | TransactionStep::Commit(_)
            | TransactionStep::Quit(_)
            | TransactionStep::Close(_) => Err(step),
        }
    }
}

/// Says a line that must have an immediate reply.
pub(crate) fn talk<P: Phase>(phase: P, line: &str) -> (String, P) {
    replied(phase.say(line))
}

pub(crate) fn replied<P: Phase>(step: P::Step) -> (String, P) {
    let (reply, phase) = P::replied(step).unwrap();
    (text(&reply), phase)
}

pub(crate) fn text(reply: &Reply) -> String {
    String::from_utf8(reply.as_bytes().to_vec()).unwrap()
}

pub(crate) fn maildrop(sizes: &[u64]) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for (at, octets) in sizes.iter().enumerate() {
        snapshot.push(*octets, &format!("id{at}")).unwrap();
    }
    Arc::new(snapshot)
}

/// A login by USER and PASS that waits for its verdict.
pub(crate) fn login(state: Authorization) -> Login {
    let (_, state) = talk(state, "USER ada@example.com");
    match state.say("PASS key") {
        AuthorizationStep::Login(login) => login,
        other @ (AuthorizationStep::Reply(..)
        | AuthorizationStep::Verifier(_)
        | AuthorizationStep::StartTls(_)
        | AuthorizationStep::Quit(_)
        | AuthorizationStep::Close(_)) => panic!("{other:?}"),
    }
}
