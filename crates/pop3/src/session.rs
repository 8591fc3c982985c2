//! The states of a session and what each line does in them (RFC 1939, sections 3 to 6).

mod authorization;
mod challenge;
mod login;
mod transaction;

use crate::command::SyntaxError;
use crate::listing::Listing;
use crate::reply::Reply;
use crate::sasl::{ChannelBinding, MAX_RESPONSE_OCTETS, Mechanism, Mechanisms};
use wire::Line;

pub use authorization::Authorization;
pub use challenge::{Challenge, VerifierLookup};
pub use login::{Access, Credentials, Login, LoginRefusal, MAX_LOGIN_FAILURES};
pub use transaction::{Commit, Part, Retrieve, RetrieveRefusal, Transaction};

/// What the session may offer, as its listener and its connection have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Is STLS possible: is there a certificate, and no TLS yet?
    pub stls_offered: bool,
    /// May a client send its secret: is there TLS, or may it go in clear?
    pub secrets_allowed: bool,
    /// May a client prove its key by SCRAM?
    pub scram_offered: bool,
    /// Can SCRAM be bound to the connection: is there TLS, and what to bind to in it?
    pub channel_bound: bool,
    /// Which mechanisms AUTH may offer and take at all.
    pub mechanisms: Mechanisms,
    /// Whether the bound form of SCRAM is announced, and whether it is accepted.
    pub channel_binding: ChannelBinding,
    /// Has the client shown a certificate that is good, and has an address in it?
    pub certified: bool,
    /// After how many whole days a message may go although no client deleted it; none is never.
    pub expire_days: Option<u64>,
    /// How much a client may do.
    pub limits: Limits,
}

impl Policy {
    /// Whether the operator allows this mechanism, be it possible on the connection or not.
    pub(crate) fn allows(&self, mechanism: Mechanism) -> bool {
        let binds = mechanism == Mechanism::ScramSha256Plus;
        let never = binds && self.channel_binding == ChannelBinding::Never;
        self.mechanisms.contains(mechanism) && !never
    }

    /// Whether a client that has seen no bound form of SCRAM was deceived: it is announced here, or
    /// would be once there is TLS.
    fn announces_binding(&self) -> bool {
        let has_tls = self.stls_offered || self.channel_bound;
        let offers = self.channel_binding == ChannelBinding::Offer;
        has_tls && offers && self.allows(Mechanism::ScramSha256Plus)
    }
}

/// How much a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// After so many lines in a row that are no command, the session ends.
    pub bad_commands: u32,
    /// So many octets a command line may have with its CRLF.
    pub line_octets: usize,
}

/// The state of a session between two lines.
#[derive(Debug)]
pub enum Session {
    /// Who are you? No maildrop is open yet.
    Authorization(Authorization),
    /// AUTH waits for a response: the next line is no command.
    Challenge(Challenge),
    /// One snapshot, and the marks of DELE.
    Transaction(Transaction),
}

/// What is to be done about a line.
#[derive(Debug)]
pub enum Step {
    /// Send this and read on.
    Reply(Reply, Session),
    /// Look up who this is and open the maildrop; then [`Login::granted`] or [`Login::refused`].
    Login(Login),
    /// Look up what proves a key; then [`VerifierLookup::found`] or
    /// [`VerifierLookup::unavailable`].
    Verifier(VerifierLookup),
    /// Send the listing piece by piece; then [`Listing::finish`].
    List(Listing),
    /// Find the message; then [`Retrieve::found`] or [`Retrieve::refused`].
    Retrieve(Retrieve),
    /// Send this, shake hands, and go on with a fresh state.
    StartTls(Reply, Authorization),
    /// UPDATE: delete all or none; then [`Commit::done`] or [`Commit::failed`], and close.
    Commit(Commit),
    /// Send this and close.
    Close(Reply),
}

impl Session {
    /// A session that has just been greeted.
    pub fn new(policy: Policy) -> Self {
        Self::Authorization(Authorization::new(policy))
    }

    /// How many octets the next line may have with its CRLF.
    pub fn max_line_octets(&self) -> usize {
        let limit = self.policy().limits.line_octets;
        match self {
            Self::Authorization(_) | Self::Transaction(_) => limit,
            Self::Challenge(_) => limit.max(MAX_RESPONSE_OCTETS),
        }
    }

    /// Takes the next line.
    pub fn receive(self, line: Line<'_>) -> Step {
        match (self, line) {
            (Self::Authorization(state), Line::Text(text)) => state.receive(text),
            (Self::Challenge(state), Line::Text(text)) => state.receive(text),
            (Self::Transaction(state), Line::Text(text)) => state.receive(text),
            (session, Line::TooLong) => session.too_long(),
        }
    }

    fn too_long(self) -> Step {
        let most = self.max_line_octets();
        let reply = Reply::err(format_args!(
            "a line has at most {most} octets here, this one was skipped"
        ));
        match self {
            Self::Authorization(mut state) => {
                state.user = None;
                state.bad(reply)
            }
            Self::Challenge(state) => state.ended().bad(reply),
            Self::Transaction(state) => Self::Transaction(state).bad(reply),
        }
    }

    fn policy(&self) -> &Policy {
        match self {
            Self::Authorization(state) => &state.policy,
            Self::Challenge(state) => &state.authorization.policy,
            Self::Transaction(state) => &state.policy,
        }
    }

    fn bad(self, reply: Reply) -> Step {
        match self.after_bad(reply) {
            (reply, Some(session)) => Step::Reply(reply, session),
            (reply, None) => Step::Close(reply),
        }
    }

    /// Refuses what is no command here, and ends the session when that keeps happening.
    fn after_bad(mut self, reply: Reply) -> (Reply, Option<Self>) {
        let most = self.policy().limits.bad_commands;
        let bad_commands = match &mut self {
            Self::Authorization(state) => &mut state.bad_commands,
            Self::Challenge(state) => &mut state.authorization.bad_commands,
            Self::Transaction(state) => &mut state.bad_commands,
        };
        *bad_commands += 1;
        if *bad_commands >= most {
            (Reply::err("too many bad commands in a row, goodbye"), None)
        } else {
            (reply, Some(self))
        }
    }

    fn syntax_error(self, error: SyntaxError) -> Step {
        match error {
            SyntaxError::NoSuchMessage => Step::Reply(Reply::err(error), self),
            SyntaxError::UnknownCommand
            | SyntaxError::NoSuchMechanism
            | SyntaxError::NotBase64
            | SyntaxError::TakesNoArgument(_)
            | SyntaxError::Form(_) => self.bad(Reply::err(error)),
        }
    }
}

#[cfg(test)]
mod sasl_tests;
#[cfg(test)]
mod tests;
