//! TRANSACTION, and the UPDATE that follows it (RFC 1939, sections 5 and 6).

mod commit;
mod listing;
mod retrieve;

use std::fmt::{self, Display};
use std::sync::Arc;

use wire::Line;

use crate::authorization::Access;
use crate::capability::capabilities;
use crate::command::{Command, SyntaxError};
use crate::policy::Policy;
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::{Marks, MessageNumber, Snapshot};
use listing::ListingKind;

pub use commit::Commit;
pub use listing::Listing;
pub use retrieve::{Part, Retrieve, RetrieveRefusal};

/// TRANSACTION: a maildrop is open.
#[derive(Debug)]
pub struct Transaction {
    policy: Policy,
    access: Access,
    snapshot: Arc<Snapshot>,
    marks: Marks,
    marked_octets: u64,
    bad_commands: u32,
}

/// The step to take after a line in TRANSACTION.
#[derive(Debug)]
#[must_use = "a step has to be taken, or the client waits without an answer"]
pub enum TransactionStep {
    /// Send this and read on.
    Reply(Reply, Transaction),
    /// Send the listing piece by piece; then [`Listing::finish`].
    List(Listing),
    /// Read the message; then [`Retrieve::found`] or [`Retrieve::refused`].
    Retrieve(Retrieve),
    /// UPDATE: delete all or none; then [`Commit::done`] or [`Commit::failed`], and close.
    Commit(Commit),
    /// QUIT with nothing to delete: send this and close.
    Quit(Reply),
    /// The client is refused: send this and close.
    Close(Reply),
}

impl Transaction {
    pub(crate) fn new(policy: Policy, access: Access, snapshot: Arc<Snapshot>) -> Self {
        Self {
            policy,
            access,
            snapshot,
            marks: Marks::default(),
            marked_octets: 0,
            bad_commands: 0,
        }
    }

    /// The maildrop at the time of the login.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The messages that DELE has marked.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The number of messages that are not marked, and their octets.
    pub fn unmarked(&self) -> (usize, u64) {
        let messages = self.snapshot.len() - self.marks.len();
        (messages, self.snapshot.octets() - self.marked_octets)
    }

    /// The end of a reply if the session does not see the whole maildrop.
    pub(crate) fn hidden(&self) -> Hidden {
        Hidden(self.snapshot.hidden())
    }

    /// The longest next line in octets, with its CRLF.
    pub fn max_line_octets(&self) -> usize {
        self.policy.limits.line_octets
    }

    /// Takes the next line.
    pub fn receive(self, line: Line<'_>) -> TransactionStep {
        let command = match line {
            Line::Text(text) => Command::parse(text),
            Line::TooLong => Err(SyntaxError::TooLong(self.max_line_octets())),
        };
        match command {
            Ok(command) => self.receive_command(command),
            Err(error) => self.syntax_error(error),
        }
    }

    fn receive_command(mut self, command: Command) -> TransactionStep {
        match command {
            Command::Capa => {
                let capabilities = capabilities(&self.policy, false);
                self.reply(capabilities)
            }
            Command::Dele(number) => {
                let reply = match self.mark(number) {
                    Ok(()) => Reply::ok(format_args!("message {number} will be deleted at QUIT")),
                    Err(refusal) => refusal,
                };
                self.reply(reply)
            }
            Command::List(None) => self.list(ListingKind::Octets),
            Command::List(Some(number)) => {
                let reply = match self.message(number) {
                    Ok(octets) => Reply::ok(format_args!("{number} {octets}")),
                    Err(reply) => reply,
                };
                self.reply(reply)
            }
            Command::Noop => self.reply(Reply::ok("nothing done")),
            Command::Quit => self.quit(),
            Command::Retr(number) => self.retrieve(number, Part::Whole),
            Command::Rset => {
                self.marks.clear();
                self.marked_octets = 0;
                let (messages, octets) = self.unmarked();
                self.reply(Reply::ok(format_args!(
                    "{messages} messages ({octets} octets)"
                )))
            }
            Command::Stat => {
                let (messages, octets) = self.unmarked();
                self.reply(Reply::ok(format_args!("{messages} {octets}")))
            }
            Command::Top(number, lines) => self.retrieve(number, Part::Top(lines)),
            Command::Uidl(None) => self.list(ListingKind::UniqueIds),
            Command::Uidl(Some(number)) => {
                let unique_id = self.snapshot.unique_id_of(number).unwrap_or_default();
                let reply = match self.message(number) {
                    Ok(_) => Reply::ok(format_args!("{number} {unique_id}")),
                    Err(reply) => reply,
                };
                self.reply(reply)
            }
            Command::Stls => self.bad("STLS is only possible before login"),
            Command::Auth(..) | Command::Mechanisms | Command::Pass(_) | Command::User(_) => {
                self.bad("already logged in")
            }
        }
    }

    fn mark(&mut self, number: MessageNumber) -> Result<(), Reply> {
        let octets = self.message(number)?;
        if self.access == Access::Read {
            return Err(Reply::coded(
                ResponseCode::SysPerm,
                "this key may not delete messages",
            ));
        }
        self.marks.insert(number);
        self.marked_octets += octets;
        Ok(())
    }

    /// Returns the octets of a message, or the reply that there is no such message.
    fn message(&self, number: MessageNumber) -> Result<u64, Reply> {
        if self.marks.contains(number) {
            return Err(Reply::err(format_args!(
                "message {number} is marked as deleted"
            )));
        }
        self.snapshot
            .octets_of(number)
            .ok_or_else(|| Reply::err(format_args!("no such message {number}")))
    }

    fn list(mut self, kind: ListingKind) -> TransactionStep {
        self.bad_commands = 0;
        TransactionStep::List(Listing::new(kind, self))
    }

    fn retrieve(mut self, number: MessageNumber, part: Part) -> TransactionStep {
        match self.message(number) {
            Ok(octets) => {
                self.bad_commands = 0;
                TransactionStep::Retrieve(Retrieve::new(number, part, octets, self))
            }
            Err(reply) => self.reply(reply),
        }
    }

    fn quit(self) -> TransactionStep {
        if self.marks.is_empty() {
            TransactionStep::Quit(Reply::ok(format_args!("goodbye{}", self.hidden())))
        } else {
            TransactionStep::Commit(Commit::new(self))
        }
    }

    fn reply(mut self, reply: Reply) -> TransactionStep {
        self.bad_commands = 0;
        TransactionStep::Reply(reply, self)
    }

    fn syntax_error(self, error: SyntaxError) -> TransactionStep {
        if error.counts() {
            self.bad(error)
        } else {
            TransactionStep::Reply(Reply::err(error), self)
        }
    }

    /// Refuses a bad command, and ends the session after too many in a row.
    fn bad(mut self, text: impl Display) -> TransactionStep {
        self.bad_commands += 1;
        if self.policy.limits.are_exceeded_by(self.bad_commands) {
            return TransactionStep::Close(Reply::too_many_bad_commands());
        }
        TransactionStep::Reply(Reply::err(text), self)
    }
}

/// The number of messages that a limit hides, as the end of a reply; empty for none.
pub(crate) struct Hidden(u64);

impl Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            hidden => write!(
                f,
                ", {hidden} older messages are hidden by a limit of this server"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
