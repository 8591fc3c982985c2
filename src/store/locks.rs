//! Locks on maildrops. A transaction that changes a maildrop first locks the row of its user.
//!
//! On PostgreSQL that row may be locked for long: by a large QUIT or an import, by a server that is
//! frozen, by an operator's psql. Nobody else is to feel it. So a lock is first tried without
//! waiting. A transaction that must wait needs one of the places for that, of which there are fewer
//! than connections; without one it gives its connection back and tries again a little later.
//!
//! SQLite locks the whole database for each transaction that writes, and none of its rows.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::asking::pause_before;
use super::database::{clock, sql_list, statement};
use super::maildrops::{LONGEST_BATCH, filled, places_for};
use super::postgres::wait_for_locks;
use super::transaction::Transaction;
use super::{Database, MaildropVersion, StoreError, UserId};

/// How long a QUIT, an import or a command waits for a maildrop: longer than a frozen server keeps
/// its locks.
pub(super) const MAILDROP_PATIENCE: Duration = Duration::from_secs(15);

/// The condition that a user was not removed, whose maildrop takes nothing in any more.
const IS_THERE: &str = "removed_at_ms IS NULL";

/// What is known of a maildrop that a transaction has locked, and whose version it has raised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockedMaildrop {
    /// The version, which no session has seen yet.
    pub(crate) version: MaildropVersion,
    pub(super) quota_octets: Option<i64>,
    pub(super) quota_messages: Option<i64>,
    /// What time it was for the database, in milliseconds since 1970.
    pub(super) now_ms: i64,
}

/// Whether a statement waits for rows that others have locked, or leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Waits, as long as the transaction's `lock_timeout` says.
    Wait,
    /// Leaves them out.
    Skip,
}

/// What a lock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To change the maildrop, whose version is raised.
    Maildrop,
    /// To change what else is known of the user.
    Account,
}

impl Database {
    /// Begins a transaction that has locked a maildrop and raised its version; none if there is no
    /// such user.
    ///
    /// # Errors
    /// If another transaction keeps it locked for too long, or the database refuses.
    pub(crate) async fn lock_maildrop(
        &self,
        user: UserId,
    ) -> Result<Option<(Transaction, LockedMaildrop)>, StoreError> {
        self.lock_within(MAILDROP_PATIENCE, user, Purpose::Maildrop)
            .await
    }

    /// Begins a transaction that has locked a user, whose maildrop does not change; none if there
    /// is no such user.
    ///
    /// # Errors
    /// As those of [`Database::lock_maildrop`].
    pub(crate) async fn lock_user(&self, user: UserId) -> Result<Option<Transaction>, StoreError> {
        let locked = self.lock_within(MAILDROP_PATIENCE, user, Purpose::Account);
        Ok(locked.await?.map(|(transaction, _)| transaction))
    }

    /// The same for either purpose; others are waited for so long.
    ///
    /// # Errors
    /// As those of [`Database::lock_maildrop`].
    pub(super) async fn lock_within(
        &self,
        patience: Duration,
        user: UserId,
        purpose: Purpose,
    ) -> Result<Option<(Transaction, LockedMaildrop)>, StoreError> {
        let until = Instant::now() + patience;
        for attempt in 0.. {
            let transaction = self.begin().await?;
            let locked = lock_users(&transaction, &[user], Rows::Skip, purpose).await?;
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
            let waited = lock_users(&transaction, &[user], Rows::Wait, purpose).await;
            let locked = waited.map_err(|error| match StoreError::from(error) {
                error if error.is_lock_timeout() => StoreError::Locked,
                error => error,
            })?;
            return Ok(locked.first().map(|(_, locked)| (transaction, *locked)));
        }
        Err(StoreError::Locked)
    }
}

/// Locks users in the order of their keys, so that no two transactions wait for each other. Those
/// that are not there are left out.
pub(super) async fn lock_users(
    transaction: &DatabaseTransaction,
    users: &[UserId],
    rows: Rows,
    purpose: Purpose,
) -> Result<Vec<(UserId, LockedMaildrop)>, DbErr> {
    let locks_rows = transaction.get_database_backend() == DbBackend::Postgres;
    let mut locked = Vec::with_capacity(users.len());
    for batch in users.chunks(LONGEST_BATCH) {
        let places = places_for(batch.len(), 1);
        let keys = filled(batch.iter().map(|user| user.0).collect());
        let lock = lock_statement(
            &places,
            locks_rows.then_some(rows),
            purpose,
            clock(transaction),
        );
        let lock = statement(transaction, &lock, keys);
        for row in transaction.query_all_raw(lock).await? {
            let maildrop = LockedMaildrop {
                version: MaildropVersion(row.try_get_by_index(1)?),
                quota_octets: row.try_get_by_index(2)?,
                quota_messages: row.try_get_by_index(3)?,
                now_ms: row.try_get_by_index(4)?,
            };
            locked.push((UserId(row.try_get_by_index(0)?), maildrop));
        }
    }
    Ok(locked)
}

/// Locks the users with the keys at these places, where rows are locked.
fn lock_statement(places: &str, rows: Option<Rows>, purpose: Purpose, clock: &str) -> String {
    let columns = format!("u.id, u.maildrop_version, u.quota_octets, u.quota_messages, {clock}");
    let select = format!("SELECT {columns} FROM users AS u WHERE u.id IN ({places})");
    let raise = "UPDATE users AS u SET maildrop_version = maildrop_version + 1";
    let skip = match rows {
        Some(Rows::Skip) => "SKIP LOCKED",
        Some(Rows::Wait) | None => "",
    };
    match (purpose, rows.is_some()) {
        (Purpose::Account, true) => format!("{select} ORDER BY u.id FOR NO KEY UPDATE {skip}"),
        (Purpose::Account, false) => select,
        // The UPDATE alone would lock them in any order, and wait.
        (Purpose::Maildrop, true) => format!(
            "WITH locked AS (SELECT id FROM users \
             WHERE id IN ({places}) AND {IS_THERE} ORDER BY id \
             FOR NO KEY UPDATE {skip}) \
             {raise} FROM locked WHERE u.id = locked.id RETURNING {columns}"
        ),
        (Purpose::Maildrop, false) => {
            // SQLite's RETURNING knows no alias.
            let columns = columns.replace("u.", "");
            format!("{raise} WHERE u.id IN ({places}) AND {IS_THERE} RETURNING {columns}")
        }
    }
}

/// Which of these users exist for a purpose, whether their rows are locked or not.
pub(super) async fn existing(
    transaction: &DatabaseTransaction,
    users: &[UserId],
    purpose: Purpose,
) -> Result<HashSet<UserId>, DbErr> {
    if users.is_empty() {
        return Ok(HashSet::new());
    }
    let list = sql_list(users.iter().map(|user| user.0));
    let mut existing = format!("SELECT id FROM users WHERE id IN ({list})");
    if purpose == Purpose::Maildrop {
        existing.push_str(&format!(" AND {IS_THERE}"));
    }
    let existing = statement(transaction, &existing, []);
    let rows = transaction.query_all_raw(existing).await?;
    let user = |row: &sea_orm::QueryResult| Ok(UserId(row.try_get_by_index(0)?));
    rows.iter().map(user).collect()
}
