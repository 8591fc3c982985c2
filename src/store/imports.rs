//! Imported messages, and what is remembered of them so that an import can be repeated.

mod history;

use std::time::SystemTime;

use entity::{imported_message, message};
use pop3::UniqueId;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
};

use super::query::KEYS_PER_STATEMENT;
use super::rows::{NewMessage, insert_copies, signed, store_contents};
use super::{ContentId, Database, MessageId, StagedMessage, StoreError, UserId, repeat};
use crate::identity::new_unique_id;

pub use history::{ImportHistory, Match, Present};

/// A message to import.
#[derive(Debug)]
pub struct Import {
    /// The message.
    pub message: StagedMessage,
    /// The SHA-256 by which it is recognized when it is imported again.
    pub identity: [u8; 32],
    /// The time when it was received; messages are numbered in this order.
    pub received_at: SystemTime,
    /// Its unique-id at the source.
    pub old_id: Option<UniqueId>,
    /// Its unique-id here; a new one if `None`.
    pub unique_id: Option<UniqueId>,
}

/// A message that was imported before its unique-id at the source was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The name that it got.
    pub from: String,
    /// The name that it had.
    pub to: UniqueId,
}

impl Database {
    /// Puts messages into a maildrop without regard to its quota, gives others the names that they had, and
    /// remembers it: all or nothing, durably.
    ///
    /// # Errors
    /// If another import into this maildrop has gone on meanwhile, or the database refuses; then
    /// nothing has changed.
    pub async fn import(
        &self,
        user: UserId,
        known: &mut ImportHistory,
        messages: &[Import],
        adoptions: &[Rename],
    ) -> Result<(), StoreError> {
        let last = known.last_import;
        let import = || self.try_to_import(user, last, messages, adoptions);
        known.last_import = repeat(import).await?;
        Ok(())
    }

    /// Returns the key of the last that was imported.
    async fn try_to_import(
        &self,
        user: UserId,
        last_known: i64,
        messages: &[Import],
        adoptions: &[Rename],
    ) -> Result<i64, StoreError> {
        let Some((transaction, maildrop)) = self.lock_maildrop(user).await? else {
            return Err(StoreError::NoSuchUser);
        };
        if last_import(&transaction, user).await? != last_known {
            return Err(StoreError::ImportedMeanwhile);
        }
        for adoption in adoptions {
            adopt(&transaction, user, adoption).await?;
        }
        let prepared: Vec<&StagedMessage> = messages.iter().map(|import| &import.message).collect();
        let contents = store_contents(&transaction, &prepared).await?;
        let copy = |(import, content): (&Import, ContentId)| NewMessage {
            user,
            content,
            content_octets: import.message.octets(),
            trace_headers: Vec::new(),
            received_at: Some(import.received_at),
            unique_id: import.unique_id.clone().unwrap_or_else(new_unique_id),
        };
        let copies = messages.iter().zip(contents).map(copy).collect();
        let keys = insert_copies(&transaction, maildrop.now_ms, copies).await?;
        remember(&transaction, user, messages.iter().zip(keys)).await?;
        let last = last_import(&transaction, user).await?;
        transaction.commit().await?;
        Ok(last)
    }
}

/// Remembers imported messages, each with the key of its row in `messages`.
async fn remember(
    transaction: &DatabaseTransaction,
    user: UserId,
    imported: impl Iterator<Item = (&Import, MessageId)>,
) -> Result<(), DbErr> {
    let row = |(import, message): (&Import, MessageId)| imported_message::ActiveModel {
        user_id: Set(user.row()),
        unique_id: Set(import.old_id.as_ref().map(|id| id.as_str().to_owned())),
        digest: Set(import.identity.to_vec()),
        octets: Set(signed(import.message.octets())),
        message_id: Set(message.0),
        ..Default::default()
    };
    let rows: Vec<_> = imported.map(row).collect();
    for rows in rows.chunks(KEYS_PER_STATEMENT) {
        let insert = imported_message::Entity::insert_many(rows.iter().cloned());
        insert.exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// Returns the key of the last message that was imported for a user; 0 if there is none.
async fn last_import(transaction: &DatabaseTransaction, user: UserId) -> Result<i64, StoreError> {
    let last = imported_message::Entity::find()
        .select_only()
        .column(imported_message::Column::Id)
        .filter(imported_message::Column::UserId.eq(user.row()))
        .order_by_desc(imported_message::Column::Id)
        .into_tuple::<i64>()
        .one(transaction);
    Ok(last.await?.unwrap_or_default())
}

/// Gives a message the name that it had.
async fn adopt(
    transaction: &DatabaseTransaction,
    user: UserId,
    Rename { from, to }: &Rename,
) -> Result<(), StoreError> {
    let to = Expr::val(to.as_str());
    let named = message::Column::UserId
        .eq(user.row())
        .and(message::Column::UniqueId.eq(from.as_str()));
    let renamed = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(named.clone());
    imported_message::Entity::update_many()
        .col_expr(imported_message::Column::UniqueId, to.clone())
        .filter(imported_message::Column::UserId.eq(user.row()))
        .filter(imported_message::Column::MessageId.in_subquery(renamed.into_query()))
        .exec(transaction)
        .await?;
    message::Entity::update_many()
        .col_expr(message::Column::UniqueId, to)
        .filter(named)
        .exec(transaction)
        .await?;
    Ok(())
}
