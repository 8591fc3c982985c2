//! Deletions, reading marks, and what is brought back.

use std::collections::HashSet;
use std::time::Duration;

use entity::relate::{email, hidden_mail, recipient, user, user_address};
use sea_orm::prelude::{TimeDateTimeWithTimeZone, Uuid};
use sea_orm::sea_query::{Expr, Func, InsertStatement, OnConflict, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityName, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::{RelateStore, uuid};
use crate::accounts::relate::milliseconds;
use crate::settings::RelateDelete;
use crate::store::query::from_select;
use crate::store::{
    DeletedBySession, KEYS_PER_STATEMENT, RestoreSelector, StoreError, Transaction, UserId, repeat,
};

/// The messages that one session has hidden.
#[derive(Debug, FromQueryResult)]
struct HiddenBySession {
    session: String,
    messages: i64,
    hidden_at: TimeDateTimeWithTimeZone,
}

impl RelateStore {
    /// Deletes messages of a maildrop, all or none, durably; returns how many were still there.
    pub(super) async fn delete(
        &self,
        user: Uuid,
        mails: &[Uuid],
        session: &str,
    ) -> Result<usize, StoreError> {
        let mut mails = mails.to_vec();
        // In one order, so that two sessions do not wait for each other.
        mails.sort_unstable();
        let mails = &mails;
        match self.delete {
            RelateDelete::Hide => repeat(|| self.hide(user, mails, session)).await,
            RelateDelete::Remove => {
                let (deleted, are_left) = repeat(|| self.remove(user, mails)).await?;
                // Two who delete the last copies at the same time see each other's until both have
                // committed. A message that is left then is nobody's and does no harm.
                if are_left && let Err(error) = self.remove_unread(mails).await {
                    tracing::warn!(%error, "messages that nobody can read any more were left");
                }
                Ok(deleted)
            }
        }
    }

    /// Removes this user's recipients, and the messages that nobody else reads. Also returns whether
    /// messages are left.
    async fn remove(&self, user: Uuid, mails: &[Uuid]) -> Result<(usize, bool), StoreError> {
        let transaction = self.database.begin().await?;
        let (mut deleted, mut gone) = (0, 0);
        for mails in mails.chunks(KEYS_PER_STATEMENT) {
            deleted += self.still_there(&transaction, user, mails).await?.len();
            recipient::Entity::delete_many()
                .filter(recipient::Column::UserId.eq(user))
                .filter(recipient::Column::EmailId.is_in(mails.iter().copied()))
                .exec(&transaction)
                .await?;
            gone += delete_unread(&transaction, mails).await?;
        }
        transaction.commit().await?;
        Ok((deleted, gone < mails.len() as u64))
    }

    async fn remove_unread(&self, mails: &[Uuid]) -> Result<(), StoreError> {
        let transaction = self.database.begin().await?;
        for mails in mails.chunks(KEYS_PER_STATEMENT) {
            delete_unread(&transaction, mails).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Hides messages from this user's sessions alone.
    async fn hide(&self, user: Uuid, mails: &[Uuid], session: &str) -> Result<usize, StoreError> {
        let transaction = self.database.begin().await?;
        let mut hidden = 0;
        for mails in mails.chunks(KEYS_PER_STATEMENT) {
            let hide = transaction
                .execute(&hide_those_there(user, mails, session))
                .await?;
            hidden += usize::try_from(hide.rows_affected()).unwrap_or(usize::MAX);
        }
        transaction.commit().await?;
        Ok(hidden)
    }

    /// Returns those of these messages that are in the maildrop.
    async fn still_there(
        &self,
        transaction: &Transaction,
        user: Uuid,
        mails: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let there = recipient::Entity::find()
            .select_only()
            .column(recipient::Column::EmailId)
            .distinct()
            .filter(recipient::Column::UserId.eq(user))
            .filter(recipient::Column::EmailId.is_in(mails.iter().copied()))
            .into_tuple::<Uuid>()
            .all(transaction);
        Ok(there.await?.into_iter().collect())
    }

    /// Marks messages as read, which the user's web page shows.
    pub(super) async fn mark_read(&self, user: Uuid, mails: &[Uuid]) -> Result<(), StoreError> {
        let mark = || async {
            let transaction = self.database.begin().await?;
            recipient::Entity::update_many()
                .col_expr(recipient::Column::IsRead, Expr::val(true))
                .filter(recipient::Column::UserId.eq(user))
                .filter(recipient::Column::EmailId.is_in(mails.iter().copied()))
                .filter(recipient::Column::IsRead.eq(false))
                .exec(&transaction)
                .await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(mark).await
    }

    /// Brings back messages that sessions have hidden; returns how many.
    ///
    /// # Errors
    /// If the database refuses.
    pub(crate) async fn restore(
        &self,
        user: UserId,
        which: RestoreSelector<'_>,
    ) -> Result<u64, StoreError> {
        let transaction = self.database.begin().await?;
        let mut restore =
            hidden_mail::Entity::delete_many().filter(hidden_mail::Column::UserId.eq(uuid(user)));
        restore = match which {
            RestoreSelector::Session(session) => {
                restore.filter(hidden_mail::Column::Session.eq(session))
            }
            RestoreSelector::Since(age) => {
                restore.filter(hidden_mail::Column::HiddenAt.into_expr().gte(ago(age)))
            }
        };
        let restored = restore.exec(&transaction).await?.rows_affected;
        transaction.commit().await?;
        Ok(restored)
    }

    /// Returns the sessions that have hidden messages of a user, the newest first.
    ///
    /// # Errors
    /// If the database can't say.
    pub(crate) async fn deletions(
        &self,
        user: UserId,
    ) -> Result<Vec<DeletedBySession>, StoreError> {
        let hidden_at = Expr::col((hidden_mail::Entity, hidden_mail::Column::HiddenAt)).max();
        let sessions = hidden_mail::Entity::find()
            .select_only()
            .column_as(hidden_mail::Column::Session, "session")
            .column_as(hidden_mail::Column::EmailId.count(), "messages")
            .expr_as(hidden_at.clone(), "hidden_at")
            .filter(hidden_mail::Column::UserId.eq(uuid(user)))
            .group_by(hidden_mail::Column::Session)
            .order_by(hidden_at, sea_orm::Order::Desc)
            .into_model::<HiddenBySession>()
            .all(self.database.read());
        let deleted = |it: HiddenBySession| DeletedBySession {
            session: it.session,
            messages: it.messages.unsigned_abs(),
            deleted_at_ms: milliseconds(it.hidden_at),
            // Nothing ends it.
            kept_until_ms: i64::MAX,
        };
        Ok(sessions.await?.into_iter().map(deleted).collect())
    }
}

/// Inserts a row for each of these messages that is in the maildrop.
fn hide_those_there(user: Uuid, mails: &[Uuid], session: &str) -> InsertStatement {
    let there = Query::select()
        .distinct()
        .expr(Expr::val(user))
        .column(recipient::Column::EmailId)
        .expr(Expr::val(session))
        .expr(Expr::current_timestamp())
        .from(recipient::Entity.table_ref())
        .and_where(Expr::col(recipient::Column::UserId).eq(user))
        .and_where(Expr::col(recipient::Column::EmailId).is_in(mails.iter().copied()))
        .take();
    let insert = Query::insert()
        .into_table(hidden_mail::Entity.table_ref())
        .columns([
            hidden_mail::Column::UserId,
            hidden_mail::Column::EmailId,
            hidden_mail::Column::Session,
            hidden_mail::Column::HiddenAt,
        ])
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .take();
    from_select(insert, there)
}

/// Deletes those of these messages that nobody reads: no user has them, none can be linked to them
/// any more, and none has submitted them. Returns how many there were.
async fn delete_unread(transaction: &Transaction, mails: &[Uuid]) -> Result<u64, StoreError> {
    let deleted = email::Entity::delete_many()
        .filter(email::Column::Id.is_in(mails.iter().copied()))
        .filter(email::Column::SentByUserId.is_null())
        .filter(Expr::exists(readers()).not())
        .exec(transaction);
    Ok(deleted.await?.rows_affected)
}

/// Selects the recipients of a message that are users, or will be linked to one.
fn readers() -> SelectStatement {
    let address = || Func::lower(Expr::col((recipient::Entity, recipient::Column::Address)));
    let has_this_address = |column: Expr| Expr::expr(Func::lower(column)).eq(address());
    let users = Query::select()
        .expr(Expr::val(1))
        .from(user::Entity.table_ref())
        .and_where(has_this_address(Expr::col((
            user::Entity,
            user::Column::Email,
        ))))
        .take();
    let further = Expr::col((user_address::Entity, user_address::Column::Address));
    let further = Query::select()
        .expr(Expr::val(1))
        .from(user_address::Entity.table_ref())
        .and_where(has_this_address(further))
        .take();
    let is_a_user = Expr::col((recipient::Entity, recipient::Column::UserId)).is_not_null();
    Query::select()
        .expr(Expr::val(1))
        .from(recipient::Entity.table_ref())
        .and_where(
            Expr::col((recipient::Entity, recipient::Column::EmailId))
                .equals((email::Entity, email::Column::Id)),
        )
        .and_where(is_a_user.or(Expr::exists(users)).or(Expr::exists(further)))
        .take()
}

/// The time so long ago, by the database's clock.
fn ago(age: Duration) -> Expr {
    let ago = "CURRENT_TIMESTAMP - make_interval(secs => $1)";
    Expr::cust_with_values(ago, [age.as_secs_f64()])
}
