//! The cause of a fault of the database: a full disk, damage, or something else.
//!
//! SQLite does not say why a write failed. So where it could be a quota or a limit on the size of
//! files, the system is asked.

use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::database::OpenError;
use super::{Database, StoreError};
use crate::accounts::AccountError;

/// `SQLITE_FULL`, `SQLITE_IOERR_SHMSIZE`, and PostgreSQL's `disk_full`.
const FULL: [&str; 3] = ["13", "4874", "53100"];

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`; of both there are several, with more bits set.
const SQLITE_DAMAGE: [u32; 2] = [11, 26];

/// The class in PostgreSQL of what is found to be damaged: data, and indexes.
const POSTGRES_DAMAGE: [&str; 2] = ["XX001", "XX002"];

/// `SQLITE_IOERR` and `SQLITE_CANTOPEN`; of both there are several, with more bits set.
const SQLITE_SYSTEM: [u32; 2] = [10, 14];

/// An error that may be one of the database.
pub(crate) trait DatabaseFault {
    /// Returns the error of the database, if it is one.
    fn database_error(&self) -> Option<&DbErr>;
}

impl DatabaseFault for DbErr {
    fn database_error(&self) -> Option<&DbErr> {
        Some(self)
    }
}

impl DatabaseFault for StoreError {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error) | Self::Uncommitted(error) => Some(error),
            Self::Gone
            | Self::DeliveryExpired
            | Self::NoSuchUser
            | Self::Locked
            | Self::TimedOut(_)
            | Self::ImportedMeanwhile
            | Self::Unsupported
            | Self::Other(_)
            | Self::Corrupt(_) => None,
        }
    }
}

impl DatabaseFault for AccountError {
    fn database_error(&self) -> Option<&DbErr> {
        if let Self::Database(error) = self {
            return Some(error);
        }
        None
    }
}

impl DatabaseFault for OpenError {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Connect(error)
            | Self::DiskFull(error)
            | Self::Damaged(error)
            | Self::Migrate(error) => Some(error),
            Self::UnknownKind(_)
            | Self::Malformed(_)
            | Self::NoFile
            | Self::Folder { .. }
            | Self::File { .. }
            | Self::ForeignTables(_)
            | Self::UnknownRelate(_)
            | Self::HistoryDenied(_)
            | Self::NotRelate(_) => None,
        }
    }
}

/// Returns the error of the driver, if it is one.
pub(super) fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    let (DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) = error else {
        return None;
    };
    match error {
        RuntimeErr::SqlxError(error) => Some(error),
        RuntimeErr::Internal(_) => None,
    }
}

/// Has the database said that there is no room on its disk?
pub(super) fn is_disk_full(fault: &impl DatabaseFault) -> bool {
    code(fault).is_some_and(|code| FULL.contains(&code.as_str()))
}

/// Could SQLite not write or open a file, for a reason that only the system knows?
pub(super) fn is_refused_by_system(fault: &impl DatabaseFault) -> bool {
    code(fault).is_some_and(|code| is_of_sqlite(&code, &SQLITE_SYSTEM))
}

/// Is there something in the database's files that it can't have written?
pub(super) fn is_damage(fault: &impl DatabaseFault) -> bool {
    code(fault).is_some_and(|code| {
        is_of_sqlite(&code, &SQLITE_DAMAGE) || POSTGRES_DAMAGE.contains(&code.as_str())
    })
}

/// Returns the code of the fault in SQLite or PostgreSQL.
pub(super) fn code(fault: &impl DatabaseFault) -> Option<String> {
    let error = sqlx_error(fault.database_error()?)?.as_database_error()?;
    error.code().map(|code| code.into_owned())
}

/// Is this code of SQLite one of these, however it says more?
fn is_of_sqlite(code: &str, primary: &[u32]) -> bool {
    let code = code.parse::<u32>().map(|code| code & 0xff);
    // A code of PostgreSQL has five characters.
    code.is_ok_and(|code| primary.contains(&code))
}

impl Database {
    /// Has this failed because the database's files can't grow: the disk is full, a quota is used up,
    /// or a file has reached the limit that the system sets?
    pub(crate) fn is_disk_full(&self, fault: &impl DatabaseFault) -> bool {
        let refuses = || {
            self.files()
                .is_some_and(|files| files.space().refuses_octets())
        };
        is_disk_full(fault) || (is_refused_by_system(fault) && refuses())
    }

    /// Makes a change that must be possible on a full disk, too: there it is made again, with the
    /// room of the reserve.
    ///
    /// # Errors
    /// As those of the change.
    pub(crate) async fn with_reserve<T, E: DatabaseFault>(
        &self,
        change: impl AsyncFn() -> Result<T, E>,
    ) -> Result<T, E> {
        let done = change().await;
        let Some(_using) = self.reserve_for(&done) else {
            return done;
        };
        change().await
    }
}
