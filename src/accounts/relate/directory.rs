//! Users and keys for operators. Relate Mail makes and changes them, so here they are only listed.

use std::collections::HashMap;

use async_trait::async_trait;
use entity::relate::{api_key, composed_mail, email, hidden_mail, recipient, user, user_address};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Alias, Expr, Func, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityName, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::super::{AccountError, Key, KeyOptions, NewKey, Quota, QuotaChange, User};
use super::scopes::scopes;
use super::{RelateAccounts, has_address, milliseconds};
use crate::store::{Directory, KeyId, UserId};

/// Where users are made and changed.
const USERS_ELSEWHERE: &str = "users of this database are Relate Mail's: they are made \
    at their first sign-in to its web page, and changed or removed there";

/// Where keys are made and revoked.
const KEYS_ELSEWHERE: &str = "keys of this database are Relate Mail's: their users make \
    and revoke them on its web page, under API keys";

/// Where quotas would be.
const NO_QUOTAS: &str = "the users of this database are Relate Mail's, which has no quotas";

/// The size of a maildrop.
#[derive(FromQueryResult)]
struct SizeRow {
    user_id: Uuid,
    messages: i64,
    octets: i64,
}

impl RelateAccounts {
    /// Returns the messages and octets of each maildrop that has some. The octets of a message that
    /// no session has listed yet are those that Relate Mail received.
    async fn sizes(&self) -> Result<HashMap<Uuid, (u64, u64)>, AccountError> {
        let of = Alias::new("mail_of_user");
        let named = Query::select()
            .distinct()
            .columns([recipient::Column::UserId, recipient::Column::EmailId])
            .from(recipient::Entity.table_ref())
            .and_where(recipient::Column::UserId.is_not_null())
            .take();
        let user_id = (of.clone(), recipient::Column::UserId);
        let email_id = (of.clone(), recipient::Column::EmailId);
        let is_hidden = Query::select()
            .expr(Expr::val(1))
            .from(hidden_mail::Entity.table_ref())
            .and_where(
                Expr::col((hidden_mail::Entity, hidden_mail::Column::UserId))
                    .equals(user_id.clone()),
            )
            .and_where(
                Expr::col((hidden_mail::Entity, hidden_mail::Column::EmailId))
                    .equals(email_id.clone()),
            )
            .take();
        let octets = Func::coalesce([
            Expr::col((composed_mail::Entity, composed_mail::Column::Octets)),
            Expr::col((email::Entity, email::Column::Octets)),
        ]);
        let sizes = Query::select()
            .expr_as(Expr::col(user_id.clone()), "user_id")
            .expr_as(Func::count(Expr::col(email_id.clone())), "messages")
            .expr_as(Func::cast_as(Func::sum(octets), "BIGINT"), "octets")
            .from_subquery(named, of)
            .inner_join(
                email::Entity.table_ref(),
                Expr::col((email::Entity, email::Column::Id)).equals(email_id.clone()),
            )
            .left_join(
                composed_mail::Entity.table_ref(),
                Expr::col((composed_mail::Entity, composed_mail::Column::EmailId)).equals(email_id),
            )
            .and_where(Expr::exists(is_hidden).not())
            .group_by_col(user_id)
            .take();
        let read = self.database.read();
        let statement = read.get_database_backend().build(&sizes);
        let rows = SizeRow::find_by_statement(statement).all(read).await?;
        let size = |row: SizeRow| {
            let size = (row.messages.unsigned_abs(), row.octets.unsigned_abs());
            (row.user_id, size)
        };
        Ok(rows.into_iter().map(size).collect())
    }

    /// Returns the user of an address or an id.
    async fn user(&self, address: &str) -> Result<user::Model, AccountError> {
        let nobody = || AccountError::NoSuchUser(address.to_owned());
        if address.contains('\0') {
            return Err(nobody());
        }
        let is_meant = match Uuid::parse_str(address) {
            Ok(id) => user::Column::Id.eq(id),
            Err(_) => has_address(address),
        };
        let users = user::Entity::find().filter(is_meant).limit(2);
        let mut users = users.all(self.database.read()).await?;
        if users.len() > 1 {
            return Err(AccountError::Ambiguous(address.to_owned()));
        }
        users.pop().ok_or_else(nobody)
    }
}

#[async_trait(?Send)]
impl Directory for RelateAccounts {
    async fn find(&self, address: &str) -> Result<UserId, AccountError> {
        Ok(UserId::new(self.user(address).await?.id.as_u128()))
    }

    async fn users(&self) -> Result<Vec<User>, AccountError> {
        let read = self.database.read();
        let users = user::Entity::find().order_by_asc(user::Column::Email);
        let users = users.order_by_asc(user::Column::Id).all(read).await?;
        let mut aliases = HashMap::<Uuid, Vec<String>>::new();
        let addresses = user_address::Entity::find().order_by_asc(user_address::Column::Address);
        for row in addresses.all(read).await? {
            aliases.entry(row.user_id).or_default().push(row.address);
        }
        let sizes = self.sizes().await?;
        let user = |row: user::Model| {
            let (messages, octets) = sizes.get(&row.id).copied().unwrap_or_default();
            User {
                id: UserId::new(row.id.as_u128()),
                address: row.email,
                aliases: aliases.remove(&row.id).unwrap_or_default(),
                disabled: false,
                messages,
                octets,
                quota: Quota::default(),
            }
        };
        Ok(users.into_iter().map(user).collect())
    }

    async fn add(&self, _: &str, _: &[String], _: Quota) -> Result<UserId, AccountError> {
        Err(AccountError::Elsewhere(USERS_ELSEWHERE))
    }

    async fn remove(&self, _: &str) -> Result<UserId, AccountError> {
        Err(AccountError::Elsewhere(USERS_ELSEWHERE))
    }

    async fn set_disabled(&self, _: &str, _: bool) -> Result<(), AccountError> {
        Err(AccountError::Elsewhere(USERS_ELSEWHERE))
    }

    async fn set_quota(&self, _: &str, _: QuotaChange) -> Result<(), AccountError> {
        Err(AccountError::Elsewhere(NO_QUOTAS))
    }

    async fn keys(&self, address: &str) -> Result<Vec<Key>, AccountError> {
        let user = self.user(address).await?;
        let keys = api_key::Entity::find()
            .filter(api_key::Column::UserId.eq(user.id))
            .order_by_asc(api_key::Column::CreatedAt)
            .order_by_asc(api_key::Column::Id)
            .all(self.database.read());
        Ok(keys.await?.into_iter().map(key).collect())
    }

    async fn create_key(&self, _: &str, _: KeyOptions) -> Result<NewKey, AccountError> {
        Err(AccountError::Elsewhere(KEYS_ELSEWHERE))
    }

    async fn revoke_key(&self, _: KeyId) -> Result<(), AccountError> {
        Err(AccountError::Elsewhere(KEYS_ELSEWHERE))
    }
}

fn key(row: api_key::Model) -> Key {
    Key {
        id: KeyId::new(row.id.as_u128()),
        name: row.name,
        prefix: row.key_prefix.unwrap_or_default(),
        scopes: scopes(&row.scopes).join(" "),
        networks: String::new(),
        created_at_ms: milliseconds(row.created_at),
        last_used_at_ms: row.last_used_at.map(milliseconds),
        expires_at_ms: None,
        is_expired: false,
        revoked_at_ms: row.revoked_at.map(milliseconds),
    }
}
