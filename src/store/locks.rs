//! Locks on maildrops. A transaction that changes a maildrop first locks the row of its user.
//!
//! On PostgreSQL that row may be locked for long: by a large QUIT or an import, by a server that is
//! frozen, by an operator's psql. Other maildrops must not be affected. So a lock is first tried
//! without waiting. A transaction that must wait needs a permit to wait, of which there are fewer
//! than connections; without one it returns its connection and tries again a little later.
//!
//! SQLite locks the whole database for each transaction that writes, and has no row locks.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use entity::user;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult,
    QueryFilter, QuerySelect,
};

use super::asking::pause_before;
use super::hot::{self, LONGEST_LIST, LockedRows};
use super::postgres::wait_for_locks;
use super::transaction::Transaction;
use super::{Database, MaildropVersion, StoreError, UserId};

/// Maximum wait of a QUIT, an import or a command for a maildrop: longer than a frozen server
/// keeps its locks.
pub(super) const MAILDROP_LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// A maildrop that a transaction has locked, and whose version it has raised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockedMaildrop {
    /// The version, which no session has seen yet.
    pub(crate) version: MaildropVersion,
    pub(super) quota_octets: Option<i64>,
    pub(super) quota_messages: Option<i64>,
    /// The time of the database, in milliseconds since 1970.
    pub(super) now_ms: i64,
}

/// The purpose of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To change the maildrop, whose version is raised.
    Maildrop,
    /// To change other data of the user.
    Account,
}

impl Database {
    /// Begins a transaction, locks a maildrop and raises its version; `None` if there is no such
    /// user.
    ///
    /// # Errors
    /// If another transaction keeps it locked for too long, or the database fails.
    pub(crate) async fn lock_maildrop(
        &self,
        user: UserId,
    ) -> Result<Option<(Transaction, LockedMaildrop)>, StoreError> {
        self.lock_within(MAILDROP_LOCK_TIMEOUT, user, Purpose::Maildrop)
            .await
    }

    /// Begins a transaction and locks a user, without changing the maildrop; `None` if there is no
    /// such user.
    ///
    /// # Errors
    /// As for [`Database::lock_maildrop`].
    pub(crate) async fn lock_user(&self, user: UserId) -> Result<Option<Transaction>, StoreError> {
        let locked = self.lock_within(MAILDROP_LOCK_TIMEOUT, user, Purpose::Account);
        Ok(locked.await?.map(|(transaction, _)| transaction))
    }

    /// Does the same for either purpose, and waits for other transactions for up to `lock_timeout`.
    ///
    /// # Errors
    /// As for [`Database::lock_maildrop`].
    pub(super) async fn lock_within(
        &self,
        lock_timeout: Duration,
        user: UserId,
        purpose: Purpose,
    ) -> Result<Option<(Transaction, LockedMaildrop)>, StoreError> {
        let until = Instant::now() + lock_timeout;
        for attempt in 0.. {
            let transaction = self.begin().await?;
            let locked = lock_users(&transaction, &[user], LockedRows::Skip, purpose).await?;
            if let Some((_, locked)) = locked.first() {
                return Ok(Some((transaction, *locked)));
            }
            if !self.locks_rows() || existing(&transaction, &[user], purpose).await?.is_empty() {
                return Ok(None);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let Ok(_place) = self.lock_waits.try_acquire() else {
                transaction.rollback().await?;
                tokio::time::sleep(pause_before(attempt).min(left)).await;
                continue;
            };
            wait_for_locks(&transaction, left).await?;
            let waited = lock_users(&transaction, &[user], LockedRows::Wait, purpose).await;
            let locked = waited.map_err(|error| match StoreError::from(error) {
                error if error.is_lock_timeout() => StoreError::Locked,
                error => error,
            })?;
            return Ok(locked.first().map(|(_, locked)| (transaction, *locked)));
        }
        Err(StoreError::Locked)
    }
}

/// Locks users in the order of their keys, so that no two transactions wait for each other.
/// Users that do not exist are left out.
pub(super) async fn lock_users(
    transaction: &DatabaseTransaction,
    users: &[UserId],
    rows: LockedRows,
    purpose: Purpose,
) -> Result<Vec<(UserId, LockedMaildrop)>, DbErr> {
    let backend = transaction.get_database_backend();
    let bump = purpose == Purpose::Maildrop;
    let mut locked = Vec::with_capacity(users.len());
    for batch in users.chunks(LONGEST_LIST) {
        let keys = batch.iter().map(|user| user.row()).collect();
        let lock = hot::lock(backend, keys, rows, bump);
        for row in transaction.query_all_raw(lock).await? {
            let row = LockedUser::from_query_result(&row, "")?;
            locked.push((UserId::from_row(row.id), LockedMaildrop::from(row)));
        }
    }
    Ok(locked)
}

/// A row of a statement that locks users.
#[derive(FromQueryResult)]
struct LockedUser {
    id: i64,
    maildrop_version: i64,
    quota_octets: Option<i64>,
    quota_messages: Option<i64>,
    now_ms: i64,
}

impl From<LockedUser> for LockedMaildrop {
    fn from(row: LockedUser) -> Self {
        Self {
            version: MaildropVersion(row.maildrop_version),
            quota_octets: row.quota_octets,
            quota_messages: row.quota_messages,
            now_ms: row.now_ms,
        }
    }
}

/// Returns the users that exist for a purpose, also those whose rows are locked.
pub(super) async fn existing(
    transaction: &DatabaseTransaction,
    users: &[UserId],
    purpose: Purpose,
) -> Result<HashSet<UserId>, DbErr> {
    if users.is_empty() {
        return Ok(HashSet::new());
    }
    let mut existing = user::Entity::find()
        .select_only()
        .column(user::Column::Id)
        .filter(user::Column::Id.is_in(users.iter().map(|user| user.row())));
    if purpose == Purpose::Maildrop {
        existing = existing.filter(user::Column::RemovedAtMs.is_null());
    }
    let existing = existing.into_tuple::<i64>().all(transaction).await?;
    Ok(existing.into_iter().map(UserId::from_row).collect())
}
