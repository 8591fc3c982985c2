//! Empties the maildrops of removed users in steps, so that no other transaction waits long.

use std::time::Duration;

use entity::{imported_message, message, user};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};

use super::deletions::{DELETED_AT_ONCE, Deletion};
use super::hot::MovedMessages;
use super::locks::{MAILDROP_LOCK_TIMEOUT, Purpose};
use super::{Database, StoreError, UserId, repeat};

/// The pause between two steps, in which a server that shares SQLite's file gets its turn: it polls
/// for the lock.
const PAUSE: Duration = Duration::from_millis(50);

impl Database {
    /// Returns the removed users whose rows are still there.
    pub(super) async fn removed_users(&self) -> Result<Vec<UserId>, StoreError> {
        let removed = user::Entity::find()
            .select_only()
            .column(user::Column::Id)
            .filter(user::Column::RemovedAtMs.is_not_null())
            .into_tuple::<i64>()
            .all(self.read());
        Ok(removed.await?.into_iter().map(UserId::from_row).collect())
    }

    /// Removes some rows of a removed user, and the user's own row at last; false if all is gone.
    ///
    /// # Errors
    /// If another transaction has kept the user locked for so long, or the database refuses.
    pub(super) async fn empty_removed(
        &self,
        user: UserId,
        lock_timeout: Duration,
    ) -> Result<bool, StoreError> {
        repeat(|| self.try_to_empty_removed(user, lock_timeout)).await
    }

    async fn try_to_empty_removed(
        &self,
        user: UserId,
        lock_timeout: Duration,
    ) -> Result<bool, StoreError> {
        let locked = self
            .lock_within(lock_timeout, user, Purpose::Account)
            .await?;
        let Some((transaction, maildrop)) = locked else {
            return Ok(false);
        };
        // The removal of the user has raised the version, and nothing has since.
        let removal = Deletion::of(user, maildrop.version);
        let is_done = !move_some_messages(&transaction, user, removal).await?
            && !forget_some_imports(&transaction, user).await?;
        if is_done {
            user::Entity::delete_many()
                .filter(user::Column::Id.eq(user.row()))
                .filter(user::Column::RemovedAtMs.is_not_null())
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(!is_done)
    }

    /// Empties the maildrop of a removed user to the end.
    ///
    /// # Errors
    /// If another transaction keeps the user locked for too long, or the database refuses; then a
    /// server goes on.
    pub async fn finish_removal(&self, user: UserId) -> Result<(), StoreError> {
        let empty = async || self.empty_removed(user, MAILDROP_LOCK_TIMEOUT).await;
        while self.with_reserve(empty).await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Moves some messages of a user; false if there are none.
async fn move_some_messages(
    transaction: &DatabaseTransaction,
    user: UserId,
    removal: Deletion,
) -> Result<bool, StoreError> {
    let messages = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(message::Column::UserId.eq(user.row()))
        .limit(DELETED_AT_ONCE as u64)
        .into_tuple::<i64>()
        .all(transaction);
    let messages = messages.await?;
    let moved = removal.move_to_deleted(transaction, &messages, MovedMessages::All);
    moved.await?;
    Ok(!messages.is_empty())
}

/// Forgets some of what was imported for a user; false if there is nothing.
async fn forget_some_imports(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<bool, StoreError> {
    let imported = imported_message::Entity::find()
        .select_only()
        .column(imported_message::Column::Id)
        .filter(imported_message::Column::UserId.eq(user.row()))
        .limit(DELETED_AT_ONCE as u64)
        .into_tuple::<i64>()
        .all(transaction);
    let imported = imported.await?;
    if imported.is_empty() {
        return Ok(false);
    }
    imported_message::Entity::delete_many()
        .filter(imported_message::Column::Id.is_in(imported))
        .exec(transaction)
        .await?;
    Ok(true)
}
