//! Restores deleted and expired messages that are still retained.

use std::time::Duration;

use entity::{deleted_message, message};
use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait,
    FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};

use super::query::from_select;
use super::raw::{clock, now};
use super::{Database, StoreError, UserId, allow_long_statements, repeat};

/// The deletions to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreSelector<'a> {
    /// Messages that this session's QUIT deleted; [`EXPIRY`](super::EXPIRY) means expired ones.
    Session(&'a str),
    /// The messages that any QUIT deleted, or that expired, within this time.
    Since(Duration),
}

/// The messages that one session deleted and that can still be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedBySession {
    /// The session's name, as in the log.
    pub session: String,
    /// Number of messages.
    pub messages: u64,
    /// Time of the deletion, in milliseconds since 1970.
    pub deleted_at_ms: i64,
    /// Time until which they can be restored, in milliseconds since 1970.
    pub kept_until_ms: i64,
}

impl Database {
    /// Moves deleted messages back into their maildrop unchanged, all or none; returns how many.
    ///
    /// # Errors
    /// If the database fails; then nothing has changed.
    pub async fn restore(
        &self,
        user: UserId,
        which: RestoreSelector<'_>,
    ) -> Result<u64, StoreError> {
        self.finish_deletions(user).await?;
        let restore = async || repeat(|| self.try_to_restore(user, which)).await;
        self.with_reserve(restore).await
    }

    async fn try_to_restore(
        &self,
        user: UserId,
        which: RestoreSelector<'_>,
    ) -> Result<u64, StoreError> {
        let Some((transaction, _)) = self.lock_maildrop(user).await? else {
            return Ok(0);
        };
        if self.locks_rows() {
            allow_long_statements(&transaction).await?;
        }
        // Read once, so that both statements select the same messages.
        let now = now(&transaction).await?;
        let restored = insert_restored(&transaction, user, which, now).await?;
        if restored == 0 {
            // Nothing changed: the rollback keeps the version, so the maildrop is not read again.
            return Ok(0);
        }
        // A message whose unique-id is in use again stays deleted.
        let restored_ids = message::Entity::find()
            .select_only()
            .column(message::Column::Id)
            .filter(message::Column::UserId.eq(user.row()));
        deleted_message::Entity::delete_many()
            .filter(deleted_message::Column::UserId.eq(user.row()))
            .filter(deleted_message::Column::MessageId.in_subquery(restored_ids.into_query()))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(restored)
    }

    /// Returns the restorable deletions of a user, one for each session, the latest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn deletions(&self, user: UserId) -> Result<Vec<DeletedBySession>, StoreError> {
        self.finish_deletions(user).await?;
        let read = self.read();
        let now = clock(read.get_database_backend());
        let kept = deleted_message::Entity::find()
            .select_only()
            .column_as(deleted_message::Column::SessionId, "session")
            .column_as(deleted_message::Column::MessageId.count(), "messages")
            .column_as(deleted_message::Column::DeletedAtMs.min(), "deleted_at_ms")
            .column_as(deleted_message::Column::KeptUntilMs.min(), "kept_until_ms")
            .filter(deleted_message::Column::UserId.eq(user.row()))
            .filter(deleted_message::Column::SessionId.is_not_null())
            .filter(deleted_message::Column::KeptUntilMs.into_expr().gt(now))
            .group_by(deleted_message::Column::SessionId)
            .order_by_desc(deleted_message::Column::DeletedAtMs.min())
            .into_model::<DeletionRow>()
            .all(read);
        Ok(kept.await?.into_iter().map(Into::into).collect())
    }
}

/// A row of [`Database::deletions`].
#[derive(FromQueryResult)]
struct DeletionRow {
    session: String,
    messages: i64,
    deleted_at_ms: i64,
    kept_until_ms: i64,
}

impl From<DeletionRow> for DeletedBySession {
    fn from(row: DeletionRow) -> Self {
        Self {
            session: row.session,
            messages: row.messages.unsigned_abs(),
            deleted_at_ms: row.deleted_at_ms,
            kept_until_ms: row.kept_until_ms,
        }
    }
}

/// Copies deleted messages into their maildrop and returns how many. They count as stored now, so
/// that they do not expire at once.
async fn insert_restored(
    transaction: &DatabaseTransaction,
    user: UserId,
    which: RestoreSelector<'_>,
    now_ms: i64,
) -> Result<u64, DbErr> {
    let deleted = deleted_message::Entity::find()
        .select_only()
        .columns([
            deleted_message::Column::MessageId,
            deleted_message::Column::UserId,
            deleted_message::Column::ContentId,
            deleted_message::Column::Octets,
            deleted_message::Column::TraceOctets,
            deleted_message::Column::UniqueId,
            deleted_message::Column::ReceivedAtMs,
        ])
        .expr(Expr::val(now_ms))
        .filter(deleted_message::Column::UserId.eq(user.row()))
        .filter(deleted_message::Column::KeptUntilMs.gt(now_ms));
    let deleted = match which {
        RestoreSelector::Session(session) => {
            deleted.filter(deleted_message::Column::SessionId.eq(session))
        }
        RestoreSelector::Since(since) => {
            let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
            let since_ms = now_ms.saturating_sub(since_ms);
            deleted
                .filter(deleted_message::Column::SessionId.is_not_null())
                .filter(deleted_message::Column::DeletedAtMs.gte(since_ms))
        }
    };
    let mut insert = Query::insert();
    insert.into_table(message::Entity).columns([
        message::Column::Id,
        message::Column::UserId,
        message::Column::ContentId,
        message::Column::Octets,
        message::Column::TraceOctets,
        message::Column::UniqueId,
        message::Column::ReceivedAtMs,
        message::Column::StoredAtMs,
    ]);
    insert.on_conflict(OnConflict::new().do_nothing().to_owned());
    let insert = from_select(insert, deleted.into_query());
    Ok(transaction.execute(&insert).await?.rows_affected())
}
