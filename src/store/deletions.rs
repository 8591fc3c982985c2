//! Deletes messages: by a QUIT, by age, or with their user.
//!
//! Deleted messages move from `messages` to `deleted_messages`, where sessions that see them can
//! still read them. All messages of a deletion share one row in `deletions`, by the first version
//! of the maildrop without them.
//!
//! A large deletion is moved later. The transaction of the QUIT only writes the keys of its
//! messages into batches. From its commit on they are deleted: no login sees them, and no quota
//! counts them. Each batch is then moved in a transaction of its own.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use entity::{deletion_batch, message};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait,
    ExprTrait, FromQueryResult, ModelTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::hot::{self, MovedMessages};
use super::locks::{MAILDROP_LOCK_TIMEOUT, Purpose};
use super::query::{KEYS_PER_STATEMENT, MaildropSize, SizeOfUser, sum, without_index};
use super::{Database, MaildropVersion, MessageId, StoreError, UserId, repeat};

/// The most messages that one transaction moves.
pub(super) const DELETED_AT_ONCE: usize = 5000;

/// The record of a deletion.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeletionRecord<'a> {
    /// The session that deletes the messages, if one does.
    pub(crate) session: Option<&'a str>,
    /// The time for which the messages can be restored.
    pub(crate) kept: Duration,
}

/// Messages that are deleted together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deletion {
    user: UserId,
    version: MaildropVersion,
}

/// Messages of a deletion that are moved later.
#[derive(Debug, Default)]
pub(super) struct Batch {
    messages: Vec<BatchedMessage>,
}

/// A message of a batch.
#[derive(Debug, FromQueryResult)]
struct BatchedMessage {
    id: i64,
    octets: i64,
}

impl Deletion {
    /// Begins to delete messages of a maildrop, whose version the transaction has raised to this one.
    pub(crate) async fn begin(
        transaction: &DatabaseTransaction,
        user: UserId,
        version: MaildropVersion,
        DeletionRecord { session, kept }: DeletionRecord<'_>,
    ) -> Result<Self, DbErr> {
        let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX / 2);
        let backend = transaction.get_database_backend();
        let begin = hot::begin_deletion(backend, (user.row(), version.0), session, kept_ms);
        transaction.execute_raw(begin).await?;
        Ok(Self { user, version })
    }

    /// Returns the deletion that has made this version of a maildrop, to continue it.
    pub(super) fn of(user: UserId, version: MaildropVersion) -> Self {
        Self { user, version }
    }

    /// Moves messages to `deleted_messages`; returns how many were in the maildrop.
    pub(super) async fn move_to_deleted(
        self,
        transaction: &DatabaseTransaction,
        messages: &[i64],
        which: MovedMessages,
    ) -> Result<u64, DbErr> {
        let backend = transaction.get_database_backend();
        let deletion = (self.user.row(), self.version.0);
        let mut moved = 0;
        for keys in messages.chunks(KEYS_PER_STATEMENT) {
            let mut statements = hot::move_messages(backend, deletion, keys, which).into_iter();
            if let Some(first) = statements.next() {
                moved += transaction.execute_raw(first).await?.rows_affected();
            }
            for statement in statements {
                transaction.execute_raw(statement).await?;
            }
        }
        Ok(moved)
    }

    /// Deletes these messages, except those in the batch of another deletion; returns how many.
    pub(super) async fn delete_now(
        self,
        transaction: &DatabaseTransaction,
        messages: &[i64],
    ) -> Result<u64, StoreError> {
        let moved = self.move_to_deleted(transaction, messages, MovedMessages::UnlessBatched);
        let moved = moved.await?;
        if moved == messages.len() as u64 {
            return Ok(moved);
        }
        let batched = batched_messages(transaction, self.user).await?;
        if batched.is_empty() {
            return Ok(moved);
        }
        let left = messages.iter().filter(|message| !batched.contains(message));
        let left: Vec<i64> = left.copied().collect();
        let moved = self.move_to_deleted(transaction, &left, MovedMessages::All);
        Ok(moved.await?)
    }

    /// Stores batches of messages to move later, except messages in the batch of another deletion;
    /// returns how many messages.
    pub(super) async fn store_batches(
        self,
        transaction: &DatabaseTransaction,
        mut batches: Vec<Batch>,
    ) -> Result<u64, StoreError> {
        let batched = batched_messages(transaction, self.user).await?;
        for batch in &mut batches {
            batch
                .messages
                .retain(|message| !batched.contains(&message.id));
        }
        let row = |(number, batch): (i64, &Batch)| deletion_batch::ActiveModel {
            user_id: Set(self.user.row()),
            maildrop_version: Set(self.version.0),
            number: Set(number),
            messages: Set(i64::try_from(batch.messages.len()).unwrap_or(i64::MAX)),
            octets: Set(batch.messages.iter().map(|message| message.octets).sum()),
            message_ids: Set(list_of(&batch.messages)),
        };
        let rows = (0..).zip(&batches).map(row);
        let insert = deletion_batch::Entity::insert_many(rows);
        insert.exec_without_returning(transaction).await?;
        let messages = batches.iter().map(|batch| batch.messages.len() as u64);
        Ok(messages.sum())
    }
}

impl Database {
    /// Returns those of these messages that are in `messages`, in batches.
    pub(super) async fn batches_of(
        &self,
        user: UserId,
        messages: &[MessageId],
    ) -> Result<Vec<Batch>, StoreError> {
        let mut batches = Vec::with_capacity(messages.len().div_ceil(DELETED_AT_ONCE));
        for messages in messages.chunks(DELETED_AT_ONCE) {
            let keys = messages.iter().map(|message| message.0);
            let found = message::Entity::find()
                .select_only()
                .columns([message::Column::Id, message::Column::Octets])
                .filter(without_index(message::Column::UserId).eq(user.row()))
                .filter(message::Column::Id.is_in(keys))
                .into_model()
                .all(self.read());
            let messages = found.await?;
            batches.push(Batch { messages });
        }
        Ok(batches)
    }

    /// Returns the users with messages that are deleted and not moved yet.
    pub(super) async fn users_with_batches(&self) -> Result<Vec<UserId>, StoreError> {
        let users = deletion_batch::Entity::find()
            .select_only()
            .column(deletion_batch::Column::UserId)
            .distinct()
            .into_tuple::<i64>()
            .all(self.read());
        Ok(users.await?.into_iter().map(UserId::from_row).collect())
    }

    /// Moves the next batch of a user's deleted messages; false if there is none.
    ///
    /// # Errors
    /// If others have kept the maildrop locked for so long, or the database refuses.
    pub(super) async fn move_batch(
        &self,
        user: UserId,
        lock_timeout: Duration,
    ) -> Result<bool, StoreError> {
        repeat(|| self.try_to_move_batch(user, lock_timeout)).await
    }

    async fn try_to_move_batch(
        &self,
        user: UserId,
        lock_timeout: Duration,
    ) -> Result<bool, StoreError> {
        let locked = self
            .lock_within(lock_timeout, user, Purpose::Account)
            .await?;
        let Some((transaction, _)) = locked else {
            return Ok(false);
        };
        let next = deletion_batch::Entity::find()
            .filter(deletion_batch::Column::UserId.eq(user.row()))
            .order_by_asc(deletion_batch::Column::MaildropVersion)
            .order_by_asc(deletion_batch::Column::Number)
            .one(&transaction);
        let Some(batch) = next.await? else {
            return Ok(false);
        };
        let deletion = Deletion::of(user, MaildropVersion(batch.maildrop_version));
        let messages = keys_of(&batch.message_ids)?;
        let moved = deletion.move_to_deleted(&transaction, &messages, MovedMessages::All);
        moved.await?;
        batch.delete(&transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Moves all that is deleted of this maildrop, so that its table alone tells what is in it.
    ///
    /// # Errors
    /// As those of [`Database::move_batch`].
    pub(super) async fn finish_deletions(&self, user: UserId) -> Result<(), StoreError> {
        // A database that can't be written, such as a standby, can still be read if there is none.
        if self.users_with_batches().await?.contains(&user) {
            self.move_batches(user).await?;
        }
        Ok(())
    }

    /// Moves all batches of a user's deleted messages.
    async fn move_batches(&self, user: UserId) -> Result<(), StoreError> {
        let one = async || self.move_batch(user, MAILDROP_LOCK_TIMEOUT).await;
        while self.with_reserve(one).await? {}
        Ok(())
    }
}

/// Returns the messages of a maildrop that are deleted and not moved yet.
pub(super) async fn batched_messages(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<HashSet<i64>, StoreError> {
    let batches = deletion_batch::Entity::find()
        .select_only()
        .column(deletion_batch::Column::MessageIds)
        .filter(deletion_batch::Column::UserId.eq(user.row()))
        .into_tuple::<String>()
        .all(connection);
    let mut batched = HashSet::new();
    for messages in batches.await? {
        batched.extend(keys_of(&messages)?);
    }
    Ok(batched)
}

/// Returns the size of what is deleted and not moved yet, by user.
pub(crate) async fn batched_sizes(
    connection: &impl ConnectionTrait,
) -> Result<BTreeMap<i64, MaildropSize>, DbErr> {
    let sizes = deletion_batch::Entity::find()
        .select_only()
        .column(deletion_batch::Column::UserId)
        .expr_as(sum(deletion_batch::Column::Messages), "messages")
        .expr_as(sum(deletion_batch::Column::Octets), "octets")
        .group_by(deletion_batch::Column::UserId)
        .into_model::<SizeOfUser>()
        .all(connection);
    let sizes = sizes.await?.into_iter();
    Ok(sizes.map(|it| (it.user_id, it.size)).collect())
}

fn list_of(messages: &[BatchedMessage]) -> String {
    let keys: Vec<String> = messages.iter().map(|it| it.id.to_string()).collect();
    keys.join(",")
}

fn keys_of(list: &str) -> Result<Vec<i64>, StoreError> {
    let keys = list.split(',').filter(|key| !key.is_empty());
    let keys: Result<_, _> = keys.map(str::parse).collect();
    keys.map_err(|_| StoreError::Corrupt("a deletion batch holds what is no key".into()))
}
