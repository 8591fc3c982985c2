//! TRANSACTION, and the UPDATE that follows it (RFC 1939, sections 5 and 6).

use std::fmt;
use std::sync::Arc;

use super::login::Access;
use super::{Policy, Session, Step};
use crate::capability::capabilities;
use crate::command::Command;
use crate::listing::{Listing, ListingKind};
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::{Marks, MessageNumber, Snapshot};

/// TRANSACTION: a maildrop is open.
#[derive(Debug)]
pub struct Transaction {
    pub(super) policy: Policy,
    access: Access,
    snapshot: Arc<Snapshot>,
    marks: Marks,
    marked_octets: u64,
    pub(super) bad_commands: u32,
}

impl Transaction {
    pub(super) fn new(policy: Policy, access: Access, snapshot: Arc<Snapshot>) -> Self {
        Self {
            policy,
            access,
            snapshot,
            marks: Marks::default(),
            marked_octets: 0,
            bad_commands: 0,
        }
    }

    /// The maildrop as it was at login.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What DELE has marked.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The number of messages that are not marked, and their octets.
    pub fn unmarked(&self) -> (usize, u64) {
        let messages = self.snapshot.len() - self.marks.len();
        (messages, self.snapshot.octets() - self.marked_octets)
    }

    /// What a reply adds if the session does not see the whole maildrop.
    pub(super) fn hidden(&self) -> Hidden {
        Hidden(self.snapshot.hidden())
    }

    pub(super) fn receive(mut self, line: &[u8]) -> Step {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return Session::Transaction(self).syntax_error(error),
        };
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
            Command::Stls => self.bad(Reply::err("STLS comes before login")),
            Command::Auth(..) | Command::Mechanisms | Command::Pass(_) | Command::User(_) => {
                self.bad(Reply::err("you are logged in"))
            }
        }
    }

    fn mark(&mut self, number: MessageNumber) -> Result<(), Reply> {
        let octets = self.message(number)?;
        if self.access == Access::Read {
            return Err(Reply::coded(
                ResponseCode::SysPerm,
                "this key may read messages and not delete them",
            ));
        }
        self.marks.insert(number);
        self.marked_octets += octets;
        Ok(())
    }

    /// The one door to a message: its octets, or the reply that there is none.
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

    fn list(mut self, kind: ListingKind) -> Step {
        self.bad_commands = 0;
        Step::List(Listing::new(kind, self))
    }

    fn retrieve(mut self, number: MessageNumber, part: Part) -> Step {
        match self.message(number) {
            Ok(octets) => {
                self.bad_commands = 0;
                Step::Retrieve(Retrieve {
                    number,
                    part,
                    octets,
                    transaction: self,
                })
            }
            Err(reply) => self.reply(reply),
        }
    }

    fn quit(self) -> Step {
        if self.marks.is_empty() {
            Step::Close(Reply::ok(format_args!("goodbye{}", self.hidden())))
        } else {
            Step::Commit(Commit { transaction: self })
        }
    }

    fn reply(mut self, reply: Reply) -> Step {
        self.bad_commands = 0;
        Step::Reply(reply, Session::Transaction(self))
    }

    fn bad(self, reply: Reply) -> Step {
        Session::Transaction(self).bad(reply)
    }
}

/// How many messages a limit hides, as the end of a reply; nothing if it hides none.
pub(super) struct Hidden(u64);

impl fmt::Display for Hidden {
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

/// How much of a message is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// RETR: all of it.
    Whole,
    /// TOP: the header, the blank line and so many lines of the body.
    Top(u32),
}

/// A RETR or TOP that waits for its message.
#[derive(Debug)]
pub struct Retrieve {
    number: MessageNumber,
    part: Part,
    octets: u64,
    transaction: Transaction,
}

/// Why a message can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrieveRefusal {
    /// It is no longer stored.
    Gone,
    /// It could not be read.
    Unavailable,
}

impl Retrieve {
    /// The message that is wanted.
    pub fn number(&self) -> MessageNumber {
        self.number
    }

    /// How much of it.
    pub fn part(&self) -> Part {
        self.part
    }

    /// How many octets the whole message has.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The reply that comes before the message itself, and the session that goes on after it.
    pub fn found(self) -> (Reply, Session) {
        let reply = match self.part {
            Part::Whole => Reply::ok(format_args!("{} octets", self.octets)),
            Part::Top(_) => Reply::ok("top of message follows"),
        };
        (reply, Session::Transaction(self.transaction))
    }

    /// The message can't be sent; the session goes on.
    pub fn refused(self, why: RetrieveRefusal) -> (Reply, Session) {
        let number = self.number;
        let reply = match why {
            RetrieveRefusal::Gone => Reply::coded(
                ResponseCode::SysPerm,
                format_args!("message {number} is no longer stored, log in again to see what is"),
            ),
            RetrieveRefusal::Unavailable => Reply::coded(
                ResponseCode::SysTemp,
                format_args!("message {number} can't be read now, try again later"),
            ),
        };
        (reply, Session::Transaction(self.transaction))
    }
}

/// UPDATE: a QUIT whose deletions wait to be committed. The session ends either way.
#[derive(Debug)]
pub struct Commit {
    transaction: Transaction,
}

impl Commit {
    /// The messages to delete, in order.
    pub fn marked(&self) -> impl Iterator<Item = MessageNumber> + '_ {
        self.transaction.marks.iter()
    }

    /// They are deleted for good: so many by this session, the others by another one before.
    pub fn done(self, deleted: usize) -> Reply {
        let (left, octets) = self.transaction.unmarked();
        Reply::ok(format_args!(
            "{deleted} messages deleted, {left} left ({octets} octets){}",
            self.transaction.hidden()
        ))
    }

    /// Whether they are deleted could not be found out: the database broke off in the commit.
    pub fn unknown(self) -> Reply {
        Reply::coded(
            ResponseCode::SysTemp,
            "it is not known whether the messages were deleted, log in again to see",
        )
    }

    /// None is deleted.
    pub fn failed(self) -> Reply {
        Reply::coded(
            ResponseCode::SysTemp,
            "nothing was deleted, try again later",
        )
    }
}
