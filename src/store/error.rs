//! Faults of storage.

use std::time::Duration;

use sea_orm::{DbErr, sqlx};

use super::faults;

/// Why storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached or refused.
    #[error("the database did not answer as it should: {0}")]
    Database(#[from] DbErr),
    /// A commit did not answer as it should: it may have been done all the same.
    #[error("the database did not say whether it committed: {0}")]
    Uncommitted(DbErr),
    /// The message is not stored any more, or not all of it.
    #[error("the message is not stored any more")]
    Gone,
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
    /// This store can't do that.
    #[error("this store can't do that")]
    Unsupported,
    /// A store of another kind failed.
    #[error("the store failed: {0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
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

    /// Returns true if it is unknown whether what was asked was done: the commit may have been.
    pub fn is_uncertain(&self) -> bool {
        match self {
            // The store of another kind does not say.
            Self::TimedOut(_) | Self::Other(_) => true,
            Self::Uncommitted(_) => !self.is_conflict(),
            Self::Database(_) => self.is_broken_connection(),
            Self::Gone
            | Self::DeliveryExpired
            | Self::NoSuchUser
            | Self::Locked
            | Self::ImportedMeanwhile
            | Self::Unsupported
            | Self::Corrupt(_) => false,
        }
    }

    /// Returns true if the message is not stored any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
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
pub(super) fn is_conflict(error: &DbErr) -> bool {
    /// `serialization_failure` and `deadlock_detected`.
    const CONFLICTS: [&str; 2] = ["40001", "40P01"];
    faults::code(error).is_some_and(|code| CONFLICTS.contains(&code.as_str()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use sea_orm::RuntimeErr;

    use super::*;

    #[test]
    fn an_error_is_uncertain_if_the_commit_may_have_been_done() {
        let broken = || {
            let error = sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
            DbErr::Exec(RuntimeErr::SqlxError(error.into()))
        };
        let refused = || DbErr::Custom("refused".into());
        for (error, is_uncertain) in [
            (StoreError::TimedOut(Duration::from_secs(30)), true),
            (StoreError::Other("gone away".into()), true),
            (StoreError::Uncommitted(refused()), true),
            (StoreError::Uncommitted(broken()), true),
            (StoreError::Database(broken()), true),
            (StoreError::Database(refused()), false),
            (StoreError::Locked, false),
            (StoreError::Unsupported, false),
            (StoreError::Corrupt("odd".into()), false),
        ] {
            assert_eq!(error.is_uncertain(), is_uncertain, "{error:?}");
        }
    }
}
