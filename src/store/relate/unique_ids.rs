//! Unique-ids of messages in one maildrop.
//!
//! The server that Restante replaces served `"MessageId"`, so clients know the messages by it. It is
//! no unique-id if it is too long or of other characters, or if another message has it: then the id
//! of the row takes its place. Once given, a unique-id stays, also when its message goes.

use entity::relate::unique_id;
use pop3::UniqueId;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::RelateStore;
use super::listing::Listed;
use crate::store::{KEYS_PER_STATEMENT, StoreError, repeat};

/// Makes a unique-id of a message, unless it has none of that kind.
type Kind = fn(&Listed) -> Option<String>;

/// The unique-ids that a message may get, in the order in which they are tried. Another message can
/// have the second if its sender knew the id of this one.
const KINDS: [Kind; 3] = [
    |mail| {
        UniqueId::new(&mail.message_id)
            .is_ok()
            .then(|| mail.message_id.clone())
    },
    |mail| Some(mail.id.simple().to_string()),
    |mail| Some(mail.id.hyphenated().to_string()),
];

impl RelateStore {
    /// Gives a unique-id to each of these messages that has none, the oldest first.
    pub(super) async fn give_unique_ids(
        &self,
        user: Uuid,
        listed: &[Listed],
    ) -> Result<(), StoreError> {
        let unnamed = listed.iter().filter(|mail| mail.unique_id.is_none());
        let mut unnamed: Vec<&Listed> = unnamed.collect();
        for kind in KINDS {
            let rows = unnamed.iter().filter_map(|mail| {
                Some(unique_id::ActiveModel {
                    user_id: Set(user),
                    email_id: Set(mail.id),
                    unique_id: Set(kind(mail)?),
                })
            });
            let rows: Vec<_> = rows.collect();
            repeat(|| self.insert_unless_taken(&rows)).await?;
            unnamed = self.without_unique_id(user, unnamed).await?;
            if unnamed.is_empty() {
                return Ok(());
            }
        }
        let taken = format!("all unique-ids of {} messages are taken", unnamed.len());
        Err(StoreError::Corrupt(taken))
    }

    /// Inserts rows, of those with the same unique-id the first. Another server may insert them at
    /// the same time.
    async fn insert_unless_taken(&self, rows: &[unique_id::ActiveModel]) -> Result<(), StoreError> {
        let transaction = self.database.begin().await?;
        for rows in rows.chunks(KEYS_PER_STATEMENT) {
            let insert = unique_id::Entity::insert_many(rows.iter().cloned());
            insert
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .exec_without_returning(&transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Returns those of these messages that have no unique-id.
    async fn without_unique_id<'a>(
        &self,
        user: Uuid,
        mails: Vec<&'a Listed>,
    ) -> Result<Vec<&'a Listed>, StoreError> {
        let mut without = Vec::new();
        for mails in mails.chunks(KEYS_PER_STATEMENT) {
            let named = unique_id::Entity::find()
                .select_only()
                .column(unique_id::Column::EmailId)
                .filter(unique_id::Column::UserId.eq(user))
                .filter(unique_id::Column::EmailId.is_in(mails.iter().map(|mail| mail.id)))
                .into_tuple::<Uuid>()
                .all(self.database.read());
            let named = named.await?;
            without.extend(mails.iter().filter(|mail| !named.contains(&mail.id)));
        }
        Ok(without)
    }
}
