//! Opening a maildrop: the newest messages that name the user, with their unique-ids and sizes.

use std::collections::HashMap;
use std::sync::Arc;

use entity::relate::{composed_mail, email, hidden_mail, recipient, unique_id};
use pop3::Snapshot;
use sea_orm::prelude::{TimeDateTimeWithTimeZone, Uuid};
use sea_orm::sea_query::{
    Alias, Asterisk, Expr, Func, Order, Query, SelectStatement, WindowStatement,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityName, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QuerySelect,
};

use super::maildrop::RelateMaildrop;
use super::{RelateStore, uuid};
use crate::store::{KEYS_PER_STATEMENT, StoreError, UserId};

/// A message of a maildrop.
#[derive(Debug, FromQueryResult)]
pub(super) struct Listed {
    pub(super) id: Uuid,
    pub(super) message_id: String,
    /// None until it has been composed.
    octets: Option<i64>,
    /// None until one has been given.
    pub(super) unique_id: Option<String>,
    /// The number of messages in the whole maildrop.
    messages: i64,
}

impl RelateStore {
    /// Opens a maildrop with its newest messages, at most `limit` of them; 0 means all.
    pub(super) async fn open_maildrop(
        &self,
        user: Uuid,
        limit: u32,
    ) -> Result<RelateMaildrop, StoreError> {
        self.link(user).await?;
        let mut listed = self.list(user, limit).await?;
        let is_new = |mail: &&Listed| mail.octets.is_none();
        let new: Vec<Uuid> = listed.iter().filter(is_new).map(|mail| mail.id).collect();
        let has_names = listed.iter().all(|mail| mail.unique_id.is_some());
        if !new.is_empty() || !has_names {
            self.compose_new(&new).await?;
            self.give_unique_ids(user, &listed).await?;
            listed = self.list(user, limit).await?;
        }
        let all = listed
            .first()
            .map_or(0, |mail| mail.messages.unsigned_abs());
        let older = all.saturating_sub(listed.len() as u64);
        // What has come meanwhile is for the next session.
        listed.retain(|mail| mail.octets.is_some() && mail.unique_id.is_some());
        self.maildrop(user, &listed, older)
    }

    /// Opens a maildrop with all its messages.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) async fn open_all(&self, user: UserId) -> Result<RelateMaildrop, StoreError> {
        self.open_maildrop(uuid(user), 0).await
    }

    /// Returns when each message of a maildrop was received, in seconds since 1970, in the order of
    /// their numbers.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) async fn received_at(
        &self,
        maildrop: &RelateMaildrop,
    ) -> Result<Vec<u64>, StoreError> {
        let mut times = HashMap::new();
        for mails in maildrop.all_mails().chunks(KEYS_PER_STATEMENT) {
            let rows = email::Entity::find()
                .select_only()
                .columns([email::Column::Id, email::Column::ReceivedAt])
                .filter(email::Column::Id.is_in(mails.iter().copied()))
                .into_tuple::<(Uuid, TimeDateTimeWithTimeZone)>()
                .all(self.database.read());
            times.extend(rows.await?);
        }
        let seconds = |mail: &Uuid| {
            let time = times.get(mail).map_or(0, |time| time.unix_timestamp());
            u64::try_from(time).unwrap_or_default()
        };
        Ok(maildrop.all_mails().iter().map(seconds).collect())
    }

    fn maildrop(
        &self,
        user: Uuid,
        listed: &[Listed],
        older: u64,
    ) -> Result<RelateMaildrop, StoreError> {
        let mut snapshot = Snapshot::default();
        for mail in listed {
            let octets = mail.octets.unwrap_or_default().unsigned_abs();
            let unique_id = mail.unique_id.as_deref().unwrap_or_default();
            let pushed = snapshot.push(octets, unique_id);
            pushed.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        }
        snapshot.hide(older);
        let mails = listed.iter().map(|mail| mail.id).collect();
        Ok(RelateMaildrop::new(
            self.clone(),
            user,
            mails,
            Arc::new(snapshot),
        ))
    }

    /// Returns the newest messages of a maildrop, the oldest of them first.
    async fn list(&self, user: Uuid, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let read = self.database.read();
        let select = read
            .get_database_backend()
            .build(&newest_messages(user, limit));
        let mut listed = Listed::find_by_statement(select).all(read).await?;
        listed.reverse();
        Ok(listed)
    }
}

/// Selects the newest messages of a maildrop, the newest first.
///
/// It begins with the recipients that are the user's, which their index finds: the mail of others
/// is not read. The count is taken before the limit, so no plan can read all mail by its time.
fn newest_messages(user: Uuid, limit: u32) -> SelectStatement {
    let named = Query::select()
        .distinct()
        .column(recipient::Column::EmailId)
        .from(recipient::Entity.table_ref())
        .and_where(Expr::col(recipient::Column::UserId).eq(user))
        .take();
    let of = Alias::new("mail_of_user");
    let email_id = (of.clone(), recipient::Column::EmailId);
    let is_hidden = Query::select()
        .expr(Expr::val(1))
        .from(hidden_mail::Entity.table_ref())
        .and_where(Expr::col((hidden_mail::Entity, hidden_mail::Column::UserId)).eq(user))
        .and_where(
            Expr::col((hidden_mail::Entity, hidden_mail::Column::EmailId)).equals(email_id.clone()),
        )
        .take();
    let mut select = Query::select()
        .expr_as(Expr::col((email::Entity, email::Column::Id)), "id")
        .expr_as(
            Expr::col((email::Entity, email::Column::MessageId)),
            "message_id",
        )
        .expr_as(
            Expr::col((composed_mail::Entity, composed_mail::Column::Octets)),
            "octets",
        )
        .expr_as(
            Expr::col((unique_id::Entity, unique_id::Column::UniqueId)),
            "unique_id",
        )
        .expr_window_as(
            Func::count(Expr::col(Asterisk)),
            WindowStatement::new(),
            "messages",
        )
        .from_subquery(named, of)
        .inner_join(
            email::Entity.table_ref(),
            Expr::col((email::Entity, email::Column::Id)).equals(email_id.clone()),
        )
        .left_join(
            composed_mail::Entity.table_ref(),
            Expr::col((composed_mail::Entity, composed_mail::Column::EmailId))
                .equals(email_id.clone()),
        )
        .left_join(
            unique_id::Entity.table_ref(),
            Expr::col((unique_id::Entity, unique_id::Column::EmailId))
                .equals(email_id)
                .and(Expr::col((unique_id::Entity, unique_id::Column::UserId)).eq(user)),
        )
        .and_where(Expr::exists(is_hidden).not())
        .order_by((email::Entity, email::Column::ReceivedAt), Order::Desc)
        .order_by((email::Entity, email::Column::Id), Order::Desc)
        .take();
    if limit > 0 {
        select.limit(u64::from(limit));
    }
    select
}
