//! RETR and TOP (RFC 1939, sections 5 and 7).

use super::Transaction;
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::MessageNumber;

/// The requested part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// RETR: all of it.
    Whole,
    /// TOP: the header, the blank line and this number of lines of the body.
    Top(u32),
}

/// A RETR or TOP that waits for its message.
#[derive(Debug)]
#[must_use = "the client waits for the message"]
pub struct Retrieve {
    number: MessageNumber,
    part: Part,
    octets: u64,
    transaction: Transaction,
}

/// The reason why a message can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrieveRefusal {
    /// It is no longer stored.
    Gone,
    /// It could not be read.
    Unavailable,
}

impl Retrieve {
    pub(super) fn new(
        number: MessageNumber,
        part: Part,
        octets: u64,
        transaction: Transaction,
    ) -> Self {
        Self {
            number,
            part,
            octets,
            transaction,
        }
    }

    /// Returns the number of the requested message.
    pub fn number(&self) -> MessageNumber {
        self.number
    }

    /// Returns the requested part of it.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Returns the size of the whole message in octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns the reply in front of the message, and the session that goes on after it.
    pub fn found(self) -> (Reply, Transaction) {
        let reply = match self.part {
            Part::Whole => Reply::ok(format_args!("{} octets", self.octets)),
            Part::Top(_) => Reply::ok("top of message follows"),
        };
        (reply, self.transaction)
    }

    /// Returns the reply that the message can't be sent; the session goes on.
    pub fn refused(self, why: RetrieveRefusal) -> (Reply, Transaction) {
        let number = self.number;
        let reply = match why {
            RetrieveRefusal::Gone => Reply::coded(
                ResponseCode::SysPerm,
                format_args!(
                    "message {number} no longer exists: log in again for the current list"
                ),
            ),
            RetrieveRefusal::Unavailable => Reply::coded(
                ResponseCode::SysTemp,
                format_args!("cannot read message {number} now, try again later"),
            ),
        };
        (reply, self.transaction)
    }
}
