//! Why a change of users or keys was not made.

use sea_orm::DbErr;

use super::InvalidAddress;
use crate::store::{KeyId, StoreError};

/// Why a change was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Not an address that mail can reach.
    #[error(transparent)]
    NotAnAddress(#[from] InvalidAddress),
    /// Nobody has this address.
    #[error("there is no user {0} (restante user list shows all)")]
    NoSuchUser(String),
    /// Somebody has this address already.
    #[error("the address {0} is taken already")]
    AddressTaken(String),
    /// No key has this number, or it is revoked.
    #[error("there is no key {0} that could be revoked (restante key list shows them)")]
    NoSuchKey(KeyId),
    /// The user has a key of this name.
    #[error("{address} has a key named {name:?} already: revoke it first, or choose another name")]
    KeyNameTaken {
        /// The user.
        address: String,
        /// The name.
        name: String,
    },
    /// Not a name for a key.
    #[error(
        "the name of a key has 1 to 100 characters, no # or control characters, and no blanks \
         around it"
    )]
    BadKeyName,
    /// Not a scope that a key can have.
    #[error("{0:?} is no scope; those that there are, are pop3 and pop3:read")]
    UnknownScope(String),
    /// A key without a scope would open nothing.
    #[error("a key needs a scope: pop3 or pop3:read")]
    NoScope,
    /// A key that ends at once would open nothing.
    #[error(
        "the lifetime of a key must be positive: give one such as 90d, or none for a key without an end"
    )]
    AlreadyExpired,
    /// A short key that would work from everywhere.
    #[error(
        "a short key needs a network from which it is used, such as --network 192.0.2.7: it is typed \
         off paper and kept in clear by devices, so it must open nothing from elsewhere"
    )]
    ShortWithoutNetwork,
    /// More than any database can count.
    #[error("a limit is at most {max}; for no limit, give none", max = i64::MAX)]
    QuotaTooLarge,
    /// This store keeps no users of its own.
    #[error("this store keeps its users elsewhere")]
    Unsupported,
    /// It is done elsewhere; the sentence says where.
    #[error("{0}")]
    Elsewhere(&'static str),
    /// Several users have this address.
    #[error("several users have the address {0}: give the id of one instead of it")]
    Ambiguous(String),
    /// Another transaction keeps the user's row locked.
    #[error("another transaction has kept the user locked for too long; try again later")]
    Locked,
    /// The database could not say.
    #[error("the database did not answer as it should: {0}")]
    Database(#[from] DbErr),
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked => Self::Locked,
            StoreError::Database(error) | StoreError::Uncommitted(error) => Self::Database(error),
            StoreError::Gone
            | StoreError::NoSuchUser
            | StoreError::DeliveryExpired
            | StoreError::TimedOut(_)
            | StoreError::ImportedMeanwhile
            | StoreError::Unsupported
            | StoreError::Other(_)
            | StoreError::Corrupt(_) => Self::Database(DbErr::Custom(error.to_string())),
        }
    }
}
