//! Where maildrops are kept: what the rest of the program may ask of storage.
//!
//! [`MailStore`] is the boundary; [`SqlStore`] is its form over our own schema, on SQLite and on
//! PostgreSQL. Another product's database is a second form one day.

mod asking;
mod database;
mod delivery;
mod expiry;
mod imports;
mod intake;
mod leases;
mod letters;
mod maildrops;
mod reading;
mod restoring;
mod rows;
mod sqlite;
mod tidy;
mod transaction;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pop3::{MessageNumber, Snapshot, UniqueId};
use sea_orm::{DbErr, RuntimeErr, sqlx};

pub(crate) use asking::ask;
pub use database::{Database, OpenError};
pub(crate) use database::{KEYS_PER_STATEMENT, sql_list, statement};
pub(crate) use delivery::milliseconds;
pub use delivery::{CHUNK_OCTETS, Delivery, Prepared};
pub use imports::{Adoption, Import, Known, Met, There};
pub use intake::Intake;
pub use leases::Lease;
pub use letters::{Letter, Outcome, Recipient, Room};
pub(crate) use maildrops::{Departing, depart, raise_version};
pub use maildrops::{Keeping, SqlStore};
pub use reading::{Read, Reading};
pub use restoring::{Deletions, Which};
pub use sqlite::{open_to_others, sqlite_file};
pub use tidy::{TIDY_INTERVAL, Tidied};

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
        let Self::Database(error) = self else {
            return false;
        };
        let of_class = |code: &str| CLASSES.iter().any(|class| code.starts_with(class));
        match sqlx_error(error) {
            Some(error) => match error.as_database_error() {
                Some(error) => error.code().is_some_and(|code| of_class(&code)),
                None => matches!(*error, sqlx::Error::Io(_)),
            },
            None => false,
        }
    }

    /// Is there no room on the disk of the database?
    pub fn is_disk_full(&self) -> bool {
        /// `SQLITE_FULL`, `SQLITE_IOERR_SHMSIZE`, and PostgreSQL's `disk_full`.
        const CODES: [&str; 3] = ["13", "4874", "53100"];
        self.database_code()
            .is_some_and(|code| CODES.contains(&code.as_str()))
    }

    /// Is there something in the database's files that it can't have written?
    pub fn is_damage(&self) -> bool {
        /// `SQLITE_CORRUPT`, of which there are several, and `SQLITE_NOTADB`.
        const SQLITE: [u32; 2] = [11, 26];
        /// The class in PostgreSQL of what is found to be damaged: data, and indexes.
        const POSTGRES: [&str; 2] = ["XX001", "XX002"];
        self.database_code().is_some_and(|code| {
            let primary = code.parse::<u32>().map(|code| code & 0xff);
            primary.is_ok_and(|code| SQLITE.contains(&code)) || POSTGRES.contains(&code.as_str())
        })
    }

    /// What SQLite or PostgreSQL itself calls the fault.
    fn database_code(&self) -> Option<String> {
        let (Self::Database(error) | Self::Uncommitted(error)) = self else {
            return None;
        };
        let code = sqlx_error(error)?.as_database_error()?.code();
        code.map(Cow::into_owned)
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    let (DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) = error else {
        return None;
    };
    match error {
        RuntimeErr::SqlxError(error) => Some(error),
        RuntimeErr::Internal(_) => None,
    }
}

/// A maildrop as it was when it was opened. Sessions share one while nothing changes.
#[derive(Debug)]
pub struct Maildrop {
    /// Whose it is.
    pub user: UserId,
    /// What the protocol knows of it.
    pub snapshot: Arc<Snapshot>,
    messages: Vec<Stored>,
}

impl Maildrop {
    fn new(user: UserId, oldest_first: Vec<Entry>, hidden: u64) -> Self {
        let mut snapshot = Snapshot::with_capacity(oldest_first.len());
        let mut messages = Vec::with_capacity(oldest_first.len());
        for entry in oldest_first {
            snapshot.push(entry.octets, &entry.unique_id);
            messages.push(entry.stored);
        }
        snapshot.hide(hidden);
        Self {
            user,
            snapshot: Arc::new(snapshot),
            messages,
        }
    }

    /// The row of a message.
    pub fn message(&self, number: MessageNumber) -> Option<MessageId> {
        Some(self.stored(number)?.message)
    }

    /// Where the octets of a message are.
    pub fn stored(&self, number: MessageNumber) -> Option<Stored> {
        self.messages.get(number.index()).copied()
    }
}

/// One message of a maildrop that is being opened.
struct Entry {
    stored: Stored,
    octets: u64,
    unique_id: UniqueId,
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

    /// Removes what nobody can read any more; to be called every [`TIDY_INTERVAL`].
    ///
    /// # Errors
    /// If the database can't say; the next call goes on.
    async fn tidy(&self) -> Result<Tidied, StoreError>;

    /// Tells other servers that this one has ended.
    ///
    /// # Errors
    /// If the database can't say; the others will notice after a while.
    async fn leave(&self) -> Result<(), StoreError>;
}
