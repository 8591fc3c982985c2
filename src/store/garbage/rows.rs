//! The rows of deleted messages: finds those that a transaction may remove, and removes them.

use entity::{chunk, content, deleted_message, message, trace_header};
use sea_orm::sea_query::{Asterisk, Expr, LockBehavior, LockType, Query};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, FromQueryResult, JoinType,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait, RelationTrait,
};

use super::super::StoreError;
use super::super::query::same;
use super::super::removal::DeletionKey;

/// The size of contents after which a transaction ends, in octets.
const OCTETS_AT_ONCE: i64 = 32 * 1024 * 1024;

/// A deleted message.
#[derive(Debug, Clone, Copy, FromQueryResult)]
pub(super) struct DeletedMessage {
    pub(super) message_id: i64,
    pub(super) content_id: i64,
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
