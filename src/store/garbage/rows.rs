//! The rows of deletions and their messages: finds those that may be removed, and removes them.

use entity::{
    chunk, content, deleted_message, deletion, deletion_batch, message, remote_lease, trace_header,
    user,
};
use sea_orm::sea_query::{Asterisk, Expr, LockBehavior, LockType, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, FromQueryResult,
    JoinType, QueryFilter, QueryOrder, QuerySelect, QueryTrait, RelationTrait,
};

use super::super::query::same;
use super::super::raw::clock;
use super::super::removal::{DeletionKey, SeenDeletion};
use super::super::{MaildropVersion, SqlStore, StoreError, UserId, repeat};
use super::{DELETIONS_AT_ONCE, Damaged, REMOVED_AT_ONCE};

/// The size of contents after which a transaction ends, in octets.
const OCTETS_AT_ONCE: i64 = 32 * 1024 * 1024;

/// A deleted message.
#[derive(Debug, Clone, Copy, FromQueryResult)]
pub(super) struct DeletedMessage {
    pub(super) message_id: i64,
    pub(super) content_id: i64,
}

/// A deletion that is not kept any longer.
#[derive(FromQueryResult)]
struct DueDeletion {
    user_id: i64,
    maildrop_version: i64,
    kept_until_ms: i64,
    is_moved: bool,
}

impl From<DueDeletion> for SeenDeletion {
    fn from(row: DueDeletion) -> Self {
        Self {
            key: DeletionKey {
                user: UserId::from_row(row.user_id),
                version: MaildropVersion(row.maildrop_version),
            },
            kept_until_ms: row.kept_until_ms,
            is_moved: row.is_moved,
        }
    }
}

impl SqlStore {
    /// Returns the deletions that may be due. A server that does not trust the clock returns those
    /// that are due by it all the same, since the others wait for its leases on them.
    ///
    /// The messages of a removed user are moved as long as the user's row is there.
    pub(super) async fn deletions(&self) -> Result<Vec<SeenDeletion>, StoreError> {
        let batches = deletion_batch::Entity::find()
            .select_only()
            .column(deletion_batch::Column::UserId)
            .filter(same(
                deletion_batch::Column::UserId,
                deletion::Column::UserId,
            ))
            .filter(same(
                deletion_batch::Column::MaildropVersion,
                deletion::Column::MaildropVersion,
            ));
        let removed = user::Entity::find()
            .select_only()
            .column(user::Column::Id)
            .filter(same(user::Column::Id, deletion::Column::UserId))
            .filter(user::Column::RemovedAtMs.is_not_null());
        let now = clock(self.database.read().get_database_backend());
        let is_moved = Expr::not_exists(batches.into_query());
        let is_moved = is_moved.and(Expr::not_exists(removed.into_query()));
        let deletions = deletion::Entity::find()
            .select_only()
            .columns([
                deletion::Column::UserId,
                deletion::Column::MaildropVersion,
                deletion::Column::KeptUntilMs,
            ])
            .expr_as(is_moved, "is_moved")
            .filter(deletion::Column::KeptUntilMs.into_expr().lte(now))
            .order_by_asc(deletion::Column::KeptUntilMs)
            .limit(DELETIONS_AT_ONCE)
            .into_model::<DueDeletion>()
            .all(self.database.read());
        Ok(deletions.await?.into_iter().map(Into::into).collect())
    }

    /// Returns the next messages of these deletions.
    pub(super) async fn messages_of(
        &self,
        deletions: &[DeletionKey],
    ) -> Result<Vec<DeletedMessage>, StoreError> {
        const DELETION: &str = "deletion";
        let pairs = deletions.iter().map(|it| (it.user.row(), it.version.0));
        let of_deletion =
            |column, place| Expr::col((deleted_message::Entity, column)).equals((DELETION, place));
        let mut next = Query::select();
        next.columns([
            (deleted_message::Entity, deleted_message::Column::MessageId),
            (deleted_message::Entity, deleted_message::Column::ContentId),
        ]);
        // SQLite uses the index only for a join.
        next.from_values(pairs, DELETION)
            .inner_join(
                deleted_message::Entity,
                of_deletion(deleted_message::Column::UserId, "column1").and(of_deletion(
                    deleted_message::Column::MaildropVersion,
                    "column2",
                )),
            )
            .limit(REMOVED_AT_ONCE as u64);
        let damaged = self.damaged_of(Damaged::DeletedMessage);
        if !damaged.is_empty() {
            next.and_where(deleted_message::Column::MessageId.is_not_in(damaged));
        }
        let rows = self.database.read().query_all(&next).await?;
        let rows = rows.iter();
        let messages = rows.map(|row| DeletedMessage::from_query_result(row, ""));
        Ok(messages.collect::<Result<_, _>>()?)
    }

    /// Removes the rows of deletions without messages.
    pub(super) async fn forget_deletions(
        &self,
        deletions: &[DeletionKey],
    ) -> Result<(), StoreError> {
        let forget = || async {
            let transaction = self.database.begin_maintenance().await?;
            let (user_id, version) = (deletion::Column::UserId, deletion::Column::MaildropVersion);
            let left = deleted_message::Entity::find()
                .select_only()
                .column(deleted_message::Column::MessageId)
                .filter(same(deleted_message::Column::UserId, user_id))
                .filter(same(deleted_message::Column::MaildropVersion, version));
            deletion::Entity::delete_many()
                .filter(among::<deletion::Entity>(user_id, version, deletions))
                .filter(Expr::not_exists(left.into_query()))
                .exec(&transaction)
                .await?;
            let leased = (
                remote_lease::Column::UserId,
                remote_lease::Column::MaildropVersion,
            );
            let left = deletion::Entity::find()
                .select_only()
                .column(user_id)
                .filter(same(user_id, leased.0))
                .filter(same(version, leased.1));
            remote_lease::Entity::delete_many()
                .filter(among::<remote_lease::Entity>(leased.0, leased.1, deletions))
                .filter(Expr::not_exists(left.into_query()))
                .exec(&transaction)
                .await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(forget).await
    }
}

/// The condition that a row is of one of these deletions.
pub(in crate::store) fn among<E: EntityTrait>(
    user_id: E::Column,
    version: E::Column,
    deletions: &[DeletionKey],
) -> Expr {
    let pairs = deletions.iter().map(|it| (it.user.row(), it.version.0));
    let pairs = Query::select()
        .column(Asterisk)
        .from_values(pairs, "those")
        .take();
    let key = [user_id, version].map(|column| Expr::col(column.as_column_ref()));
    Expr::tuple(key).in_subquery(pairs)
}

/// Removes deleted messages, and the contents that no other message has; returns how many messages.
///
/// It holds many locks, so it waits for none: what others have locked, such as a QUIT that deletes
/// messages of the same contents or another server that removes them, is left for the next time.
pub(super) async fn remove(
    transaction: &DatabaseTransaction,
    messages: &[DeletedMessage],
) -> Result<usize, StoreError> {
    let locked = lock(transaction, messages).await?;
    if locked.is_empty() {
        return Ok(0);
    }
    let messages: Vec<i64> = locked.iter().map(|it| it.message_id).collect();
    let contents: Vec<i64> = locked.iter().map(|it| it.content_id).collect();
    let contents = contents.as_slice();
    deleted_message::Entity::delete_many()
        .filter(deleted_message::Column::ContentId.is_in(contents.iter().copied()))
        .filter(deleted_message::Column::MessageId.is_in(messages.iter().copied()))
        .exec(transaction)
        .await?;
    let restored = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(same(message::Column::Id, trace_header::Column::MessageId));
    trace_header::Entity::delete_many()
        .filter(trace_header::Column::MessageId.is_in(messages))
        .filter(Expr::not_exists(restored.into_query()))
        .exec(transaction)
        .await?;
    chunk::Entity::delete_many()
        .filter(chunk::Column::ContentId.is_in(contents.iter().copied()))
        .filter(is_unused(chunk::Column::ContentId))
        .exec(transaction)
        .await?;
    content::Entity::delete_many()
        .filter(content::Column::Id.is_in(contents.iter().copied()))
        .filter(is_unused(content::Column::Id))
        .exec(transaction)
        .await?;
    Ok(locked.len())
}

/// The condition that no message has the content of this column.
fn is_unused(content: impl ColumnTrait) -> Expr {
    let messages = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(same(message::Column::ContentId, content));
    let deleted = deleted_message::Entity::find()
        .select_only()
        .column(deleted_message::Column::MessageId)
        .filter(same(deleted_message::Column::ContentId, content));
    Expr::not_exists(messages.into_query()).and(Expr::not_exists(deleted.into_query()))
}

/// A deleted message, and the size of its content.
#[derive(FromQueryResult)]
struct Lockable {
    #[sea_orm(nested)]
    message: DeletedMessage,
    octets: i64,
}

/// Locks deleted messages and their contents, as many as are removed quickly. Without that, two
/// servers that remove the last two references to a content would each see the other's, and the
/// content would stay.
async fn lock(
    transaction: &DatabaseTransaction,
    messages: &[DeletedMessage],
) -> Result<Vec<DeletedMessage>, StoreError> {
    let contents = messages.iter().map(|message| message.content_id);
    let keys = messages.iter().map(|message| message.message_id);
    let mut lock = deleted_message::Entity::find()
        .select_only()
        .columns([
            deleted_message::Column::MessageId,
            deleted_message::Column::ContentId,
        ])
        .column_as(content::Column::Octets, "octets")
        .join(
            JoinType::InnerJoin,
            deleted_message::Relation::Content.def(),
        )
        .filter(deleted_message::Column::ContentId.is_in(contents))
        .filter(deleted_message::Column::MessageId.is_in(keys))
        .order_by_asc(content::Column::Id)
        .order_by_asc(deleted_message::Column::MessageId);
    // SQLite locks no rows.
    QuerySelect::query(&mut lock).lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let lockable = lock.into_model::<Lockable>().all(transaction).await?;
    let mut octets_left = OCTETS_AT_ONCE;
    let is_small = |it: &Lockable| {
        let is_allowed = octets_left >= 0;
        octets_left = octets_left.saturating_sub(it.octets);
        is_allowed
    };
    let locked = lockable.into_iter().take_while(is_small);
    Ok(locked.map(|it| it.message).collect())
}
