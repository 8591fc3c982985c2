//! Empties the maildrops of users who were removed, in steps, so that others are not kept waiting.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::database::statement;
use super::deletions::{DELETED_AT_ONCE, Deletion};
use super::locks::{MAILDROP_PATIENCE, Purpose};
use super::{Database, StoreError, UserId, repeat};

/// How long to wait between two steps, so that a server that shares SQLite's file has its turn: it
/// looks only now and then whether the file is free.
const PAUSE: Duration = Duration::from_millis(50);

impl Database {
    /// The users who were removed, and of whom something is still here.
    pub(super) async fn removed_users(&self) -> Result<Vec<UserId>, StoreError> {
        const REMOVED: &str = "SELECT id FROM users WHERE removed_at_ms IS NOT NULL";
        let read = self.read();
        let rows = read.query_all_raw(statement(read, REMOVED, [])).await?;
        let users = rows.iter().map(|row| Ok(UserId(row.try_get_by_index(0)?)));
        users.collect()
    }

    /// Removes some of what a removed user has left, and their row at last; false if all is gone.
    ///
    /// # Errors
    /// If others have kept the user locked for so long, or the database refuses.
    pub(super) async fn empty_removed(
        &self,
        user: UserId,
        patience: Duration,
    ) -> Result<bool, StoreError> {
        repeat(|| self.try_to_empty_removed(user, patience)).await
    }

    async fn try_to_empty_removed(
        &self,
        user: UserId,
        patience: Duration,
    ) -> Result<bool, StoreError> {
        const GONE: &str = "DELETE FROM users WHERE id = $1 AND removed_at_ms IS NOT NULL";
        let locked = self.lock_within(patience, user, Purpose::Account).await?;
        let Some((transaction, maildrop)) = locked else {
            return Ok(false);
        };
        // Its removal has raised the version, and nothing can since.
        let removal = Deletion::of(user, maildrop.version);
        let messages = some_rows_of(&transaction, "messages", user).await?;
        if !messages.is_empty() {
            removal.depart_all(&transaction, &messages, "").await?;
            transaction.commit().await?;
            return Ok(true);
        }
        let imports = some_rows_of(&transaction, "imported_messages", user).await?;
        if !imports.is_empty() {
            let imports = super::sql_list(imports);
            let forget = format!("DELETE FROM imported_messages WHERE id IN ({imports})");
            transaction.execute_unprepared(&forget).await?;
            transaction.commit().await?;
            return Ok(true);
        }
        let gone = statement(&transaction, GONE, [user.0.into()]);
        transaction.execute_raw(gone).await?;
        transaction.commit().await?;
        Ok(false)
    }

    /// Empties the maildrop of a user who was removed, to the end.
    ///
    /// # Errors
    /// If others keep the user locked for too long, or the database refuses; a server goes on then.
    pub async fn finish_removal(&self, user: UserId) -> Result<(), StoreError> {
        let empty = async || self.empty_removed(user, MAILDROP_PATIENCE).await;
        while self.with_reserve(empty).await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// The keys of some rows that a user has in a table, as many as are removed at once.
async fn some_rows_of(
    transaction: &DatabaseTransaction,
    table: &str,
    user: UserId,
) -> Result<Vec<i64>, StoreError> {
    let some = format!("SELECT id FROM {table} WHERE user_id = $1 LIMIT {DELETED_AT_ONCE}");
    let some = statement(transaction, &some, [user.0.into()]);
    let rows = transaction.query_all_raw(some).await?;
    let keys = rows.iter().map(|row| Ok(row.try_get_by_index(0)?));
    keys.collect()
}
