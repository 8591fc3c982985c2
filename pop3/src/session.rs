//! The states of a session and what each line does in them (RFC 1939, sections 3 to 6).

mod authorization;
mod transaction;

use crate::command::SyntaxError;
use crate::line::{Line, MAX_LINE_OCTETS};
use crate::listing::Listing;
use crate::reply::Reply;

pub use authorization::{Authorization, Login, LoginRefusal, MAX_LOGIN_FAILURES};
pub use transaction::{Commit, Part, Retrieve, RetrieveRefusal, Transaction};

/// After so many lines in a row that are no command here, the session ends.
pub const MAX_BAD_COMMANDS: u32 = 20;

/// What the session may offer, as its listener and its connection have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Is STLS possible: is there a certificate, and no TLS yet?
    pub stls_offered: bool,
    /// May a client send its secret: is there TLS, or may it go in clear?
    pub secrets_allowed: bool,
}

/// The state of a session between two lines.
#[derive(Debug)]
pub enum Session {
    /// Who are you? No maildrop is open yet.
    Authorization(Authorization),
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

    /// Takes the next line.
    pub fn receive(self, line: Line<'_>) -> Step {
        match (self, line) {
            (Self::Authorization(state), Line::Text(text)) => state.receive(text),
            (Self::Transaction(state), Line::Text(text)) => state.receive(text),
            (mut session, Line::TooLong) => {
                if let Self::Authorization(state) = &mut session {
                    state.user = None;
                }
                session.bad(Reply::err(format_args!(
                    "a line has at most {MAX_LINE_OCTETS} octets, this one was skipped"
                )))
            }
        }
    }

    /// Refuses what is no command here, and ends the session when that keeps happening.
    fn bad(mut self, reply: Reply) -> Step {
        let bad_commands = match &mut self {
            Self::Authorization(state) => &mut state.bad_commands,
            Self::Transaction(state) => &mut state.bad_commands,
        };
        *bad_commands += 1;
        if *bad_commands >= MAX_BAD_COMMANDS {
            Step::Close(Reply::err("too many bad commands in a row, goodbye"))
        } else {
            Step::Reply(reply, self)
        }
    }

    fn syntax_error(self, error: SyntaxError) -> Step {
        match error {
            SyntaxError::NoSuchMessage => Step::Reply(Reply::err(error), self),
            SyntaxError::UnknownCommand
            | SyntaxError::TakesNoArgument(_)
            | SyntaxError::Form(_) => self.bad(Reply::err(error)),
        }
    }
}

#[cfg(test)]
mod tests;
