//! Storage: what the server asks of it, and our own schema on SQLite and PostgreSQL.
//!
//! The traits in `traits` are the boundary. [`SqlStore`] implements them over our own schema; another
//! product's schema is another implementation.

mod asking;
mod clock_guard;
mod clock_record;
mod database;
mod deletions;
mod deliver;
mod delivery;
mod error;
mod expiry;
mod faults;
mod garbage;
pub(crate) mod hot;
mod ids;
mod imports;
mod intake;
mod leases;
mod locks;
mod login;
mod maildrop;
mod maildrops;
mod open_maildrop;
mod opening;
mod pools;
mod postgres;
mod query;
mod raw;
mod reading;
mod recognition;
pub(crate) mod relate;
mod removal;
mod removed_users;
mod restoring;
mod rows;
mod served;
mod servers;
mod sqlite;
mod traits;
mod transaction;
mod unsupported;

use bytes::Bytes;

pub(crate) use asking::{ask, ask_once, repeat};
pub use clock_guard::ClockVerdict;
pub(crate) use clock_guard::{ClockGuard, shown_days};
pub use clock_record::ClockRecord;
pub use database::{Database, OpenError};
pub(crate) use deletions::{Deletion, DeletionRecord, batched_sizes};
pub use deliver::{Delivery, Outcome, Recipient, Room};
pub use delivery::{CHUNK_OCTETS, MessageWriter, StagedMessage};
pub use error::StoreError;
pub use expiry::EXPIRY;
pub use garbage::{GC_INTERVAL, GcReport};
pub use ids::{InvalidId, KeyId, UserId};
pub use imports::{Import, ImportHistory, Match, Present, Rename};
pub use intake::{Delivered, Intake};
pub use leases::VersionLease;
pub(crate) use locks::LockedMaildrop;
pub use login::{Identified, Lease, LoginStatus, Proof, Revision, Verified, WrongCredentials};
pub use maildrop::SqlMaildrop;
pub use maildrops::{Retention, SqlStore};
pub(crate) use postgres::allow_long_statements;
pub(crate) use query::{KEYS_PER_STATEMENT, SizeOfUser, sum};
pub(crate) use raw::{clock, now};
pub use reading::{ExportedMessage, Reading};
pub(crate) use recognition::SchemaKind;
pub use restoring::{DeletedBySession, RestoreSelector};
pub(crate) use sqlite::give_up_some_reserve;
pub use sqlite::{open_to_others, sqlite_file};
pub use traits::{
    Condition, Cursor, Directory, FIRST_READ_OCTETS, IncomingMessage, MailIntake, MailStore,
    Maildrop, Piece, Store, Upkeep,
};
pub(crate) use transaction::Transaction;

pub use crate::accounts::Addressee;

/// The key of one copy of a message, in one maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub i64);

/// The key of what a message says, which its copies share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub i64);

/// The location of the octets of one copy of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The copy.
    pub message: MessageId,
    /// The content, which it may share with other copies.
    pub content: ContentId,
    /// True if this copy has trace headers in front of the content.
    pub has_trace_headers: bool,
}

/// The first octets of a message.
#[derive(Debug, Clone, Default)]
pub struct Beginning {
    /// The trace headers in front of the content in this copy alone; may be empty.
    pub trace_headers: Bytes,
    /// The first octets of the content.
    pub content: Bytes,
}

/// Grows with every change of a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaildropVersion(pub i64);
