//! UPDATE: the deletions of QUIT (RFC 1939, section 6).

use super::Transaction;
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::MessageNumber;

/// UPDATE: a QUIT whose deletions wait to be committed. The session ends either way.
#[derive(Debug)]
#[must_use = "the client waits for the answer to its QUIT"]
pub struct Commit {
    transaction: Transaction,
}

impl Commit {
    pub(super) fn new(transaction: Transaction) -> Self {
        Self { transaction }
    }

    /// The messages to delete, in order.
    pub fn marked(&self) -> impl Iterator<Item = MessageNumber> + '_ {
        self.transaction.marks.iter()
    }

    /// Returns the reply after the commit.
    ///
    /// `deleted` counts the messages that this session has deleted; others may have deleted the rest.
    pub fn done(self, deleted: usize) -> Reply {
        let (left, octets) = self.transaction.unmarked();
        Reply::ok(format_args!(
            "{deleted} messages deleted, {left} left ({octets} octets){}",
            self.transaction.hidden()
        ))
    }

    /// Returns the reply if the connection to the database broke during the commit.
    pub fn unknown(self) -> Reply {
        Reply::coded(
            ResponseCode::SysTemp,
            "the messages may or may not be deleted: log in again to check",
        )
    }

    /// Returns the reply if nothing is deleted.
    pub fn failed(self) -> Reply {
        Reply::coded(
            ResponseCode::SysTemp,
            "nothing was deleted, try again later",
        )
    }
}
