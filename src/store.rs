//! Where maildrops are kept: what the rest of the program may ask of storage.
//!
//! [`MailStore`] is the boundary; [`SqlStore`] is its form over our own schema, on SQLite and on
//! PostgreSQL. Another product's database is a second form one day.

mod asking;
mod clock_guard;
mod clock_record;
mod database;
mod deletions;
mod deliver;
mod delivery;
mod expiry;
mod faults;
mod garbage;
mod imports;
mod intake;
mod leases;
mod locks;
mod maildrop;
mod maildrops;
mod opening;
mod pools;
mod postgres;
mod reading;
mod removal;
mod restoring;
mod rows;
mod servers;
mod sqlite;
mod transaction;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sea_orm::{DbErr, sqlx};

pub(crate) use asking::{ask, repeat};
pub use clock_guard::ClockVerdict;
pub(crate) use clock_guard::{ClockGuard, shown_days};
pub use clock_record::ClockRecord;
pub use database::{Database, OpenError};
pub(crate) use database::{KEYS_PER_STATEMENT, clock, now, sql_list, statement};
pub(crate) use deletions::{Deletion, DeletionRecord, deleted_sizes, size_of_maildrop};
pub use deliver::{Delivery, Outcome, Recipient, Room};
pub use delivery::{CHUNK_OCTETS, MessageWriter, StagedMessage};
pub use expiry::EXPIRY;
pub use garbage::{GC_INTERVAL, GcReport};
pub use imports::{Import, ImportHistory, Match, Present, Rename};
pub use intake::Intake;
pub use leases::Lease;
pub(crate) use locks::LockedMaildrop;
pub use maildrop::Maildrop;
pub use maildrops::{Retention, SqlStore};
pub(crate) use postgres::allow_long_statements;
pub use reading::{ExportedMessage, Reading};
pub use restoring::{DeletedBySession, RestoreSelector};
pub(crate) use sqlite::give_up_some_reserve;
pub use sqlite::{open_to_others, sqlite_file};
pub(crate) use transaction::Transaction;

/// The key of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub i64);

/// The key of one copy of a message, in one maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub i64);

/// The key of what a message says, which its copies share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub i64);

/// Where the octets of one copy of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The copy.
    pub message: MessageId,
    /// What it shares with other copies.
    pub content: ContentId,
    /// Does anything stand in front of that in this copy alone?
    pub has_head: bool,
}

/// The first octets of a message.
#[derive(Debug, Clone, Default)]
pub struct Beginning {
    /// What stands in front of the content in this copy alone: whole header lines, or nothing.
    pub head: Bytes,
    /// The first octets of the content.
    pub content: Bytes,
}

/// Grows with every change of a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaildropVersion(pub i64);

/// Why storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached or refused.
    #[error("the database did not answer as it should: {0}")]
    Database(#[from] DbErr),
    /// A commit did not answer as it should: it may have been done all the same.
    #[error("the database did not say whether it committed: {0}")]
    Uncommitted(DbErr),
    /// The octets of a message are not there, or not all of them.
    #[error("content {} is not stored", .0.0)]
    NoContent(ContentId),
    /// A delivery took so long that what it had written was taken for a broken one.
    #[error("the delivery was broken off because nothing arrived for too long")]
    DeliveryExpired,
    /// The user has been removed meanwhile.
    #[error("the user has been removed meanwhile")]
    NoSuchUser,
    /// Another transaction has kept the maildrop locked for too long.
    #[error("another transaction has kept the maildrop locked for too long")]
    Locked,
    /// The database has not answered for too long; what was asked may have been done all the same.
    #[error("the database has not answered for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Two imports into one maildrop would double what both bring.
    #[error("another import into this maildrop is going on, or has just ended")]
    ImportedMeanwhile,
    /// A row of the database holds what it can't hold.
    #[error("the database holds what it should not: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Did the connection to the database break? Then nobody has said whether it was done.
    pub fn is_broken_connection(&self) -> bool {
        /// The classes of SQLSTATE that say so: connection exception, operator intervention.
        const CLASSES: [&str; 2] = ["08", "57"];
        /// `query_canceled`, which is of such a class: the statement took too long.
        const CANCELED: &str = "57014";
        /// `idle_in_transaction_session_timeout`: this process was frozen in a transaction.
        const IDLE: &str = "25P03";
        let Self::Database(error) = self else {
            return false;
        };
        let Some(error) = faults::sqlx_error(error) else {
            return false;
        };
        match error.as_database_error() {
            Some(error) => error.code().is_some_and(|code| {
                let is_of_class = CLASSES.iter().any(|class| code.starts_with(class));
                (is_of_class && code != CANCELED) || code == IDLE
            }),
            None => matches!(*error, sqlx::Error::Io(_)),
        }
    }

    /// Is there something in the database's files that it can't have written?
    pub fn is_damage(&self) -> bool {
        faults::is_damage(self)
    }

    /// Did the database break the transaction off for the sake of others? Then nothing was done.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) | Self::Uncommitted(error) if is_conflict(error))
    }

    /// Has a lock been waited for in vain?
    pub(crate) fn is_lock_timeout(&self) -> bool {
        /// `lock_not_available`.
        const NOT_AVAILABLE: &str = "55P03";
        self.is_code(NOT_AVAILABLE)
    }

    /// Has a statement taken longer than it may?
    pub(crate) fn is_statement_timeout(&self) -> bool {
        /// `query_canceled`.
        const CANCELED: &str = "57014";
        self.is_code(CANCELED)
    }

    fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Database(error) if faults::code(error).as_deref() == Some(code))
    }
}

/// Did the database break the transaction off for the sake of others? Then nothing was done.
fn is_conflict(error: &DbErr) -> bool {
    /// `serialization_failure` and `deadlock_detected`.
    const CONFLICTS: [&str; 2] = ["40001", "40P01"];
    faults::code(error).is_some_and(|code| CONFLICTS.contains(&code.as_str()))
}

/// What sessions need of storage. Every method is one transaction.
#[async_trait]
pub trait MailStore: Send + Sync {
    /// Keeps what a maildrop holds at this version readable, until the lease is dropped.
    fn lease(&self, user: UserId, version: MaildropVersion) -> Lease;

    /// The newest messages of a maildrop, at most `limit` of them; 0 means all. Its snapshot tells how
    /// many older ones there are.
    ///
    /// No message body is read.
    ///
    /// # Errors
    /// If the database can't say.
    async fn open(&self, user: UserId, limit: u32) -> Result<Maildrop, StoreError>;

    /// The head and the first chunk of each message, in their order; one that is not there is
    /// left out.
    ///
    /// # Errors
    /// If the database can't say.
    async fn first_chunks(
        &self,
        messages: &[Stored],
    ) -> Result<Vec<(MessageId, Beginning)>, StoreError>;

    /// The head of a message and the first octets of its content, at most so many and at most one
    /// chunk.
    ///
    /// # Errors
    /// If the database can't say.
    async fn beginning(&self, message: Stored, octets: u32) -> Result<Beginning, StoreError>;

    /// The chunks of one content with these numbers, in order. Beyond the last there are none.
    ///
    /// # Errors
    /// If the database can't say.
    async fn chunks(
        &self,
        content: ContentId,
        numbers: Range<u32>,
    ) -> Result<Vec<Bytes>, StoreError>;

    /// Deletes these messages of this user, all or none, durably. The name of the session is kept
    /// with them, as long as they can be brought back.
    ///
    /// Returns how many of them were still there. A message that is already gone is no error, so that
    /// asking twice is the same as once. Open leases keep their octets readable.
    ///
    /// # Errors
    /// If the database can't say; then nothing is deleted.
    async fn delete(
        &self,
        user: UserId,
        messages: &[MessageId],
        session: &str,
    ) -> Result<usize, StoreError>;

    /// Removes what nobody can read any more; to be called every [`GC_INTERVAL`].
    ///
    /// # Errors
    /// If the database can't say; the next call goes on.
    async fn collect_garbage(&self) -> Result<GcReport, StoreError>;

    /// Tells other servers that this one has ended.
    ///
    /// # Errors
    /// If the database can't say; the others will notice after a while.
    async fn leave(&self) -> Result<(), StoreError>;
}
