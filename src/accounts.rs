//! Users, their addresses and their keys.

mod address_forms;
mod addressee;
mod authentication;
mod error;
mod key_form;
mod keys;
mod login_status;
pub(crate) mod relate;
mod report;
mod scram;

use std::sync::Arc;

use entity::{address, api_key, deletion, deletion_batch, message, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, SqlErr,
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use utoipa::ToSchema;

use crate::store::{
    Database, Deletion, DeletionRecord, LockedMaildrop, SizeOfUser, Transaction, UserId,
    batched_sizes, now, repeat, sum,
};

pub use address_forms::{InvalidAddress, MAX_ADDRESS_OCTETS};
pub use addressee::Addressee;
pub use error::AccountError;
pub(crate) use key_form::may_hold_key;
pub use keys::{Key, KeyOptions, NewKey, SCOPE_POP3, SCOPE_POP3_READ};
pub use report::{KeyReport, KeyState, UserReport, format_time};

pub(crate) use address_forms::{in_domain, normalize_domain, normalize_or_lower};

use address_forms::{normalize, stored_forms};

/// What is asked and changed about users and keys.
#[derive(Debug, Clone)]
pub struct Accounts {
    database: Database,
    /// The salt of SCRAM, once it has been read.
    salt: Arc<OnceCell<Vec<u8>>>,
}

/// A user with all their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The key of their row.
    pub id: UserId,
    /// The first of their addresses.
    pub address: String,
    /// The others.
    pub aliases: Vec<String>,
    /// A disabled user gets mail and cannot log in.
    pub disabled: bool,
    /// How many messages are in the maildrop.
    pub messages: u64,
    /// How many octets they have.
    pub octets: u64,
    /// How much the maildrop may hold.
    pub quota: Quota,
}

/// How much a maildrop may hold; what would be more is refused at delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Octets, as RETR counts them; none is no limit.
    #[serde(default)]
    pub octets: Option<u64>,
    /// Messages; none is no limit.
    #[serde(default)]
    pub messages: Option<u64>,
}

impl Accounts {
    /// Users and keys in this database.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            salt: Arc::default(),
        }
    }

    /// Adds a user whose maildrop may hold anything.
    ///
    /// # Errors
    /// If an address is malformed or taken, or the database refuses.
    pub async fn add(&self, address: &str, aliases: &[String]) -> Result<UserId, AccountError> {
        self.add_with_quota(address, aliases, Quota::default())
            .await
    }

    /// Adds a user whose maildrop may hold so much.
    ///
    /// # Errors
    /// As those of [`Accounts::add`].
    pub async fn add_with_quota(
        &self,
        address: &str,
        aliases: &[String],
        quota: Quota,
    ) -> Result<UserId, AccountError> {
        repeat(|| self.try_to_add(address, aliases, quota)).await
    }

    async fn try_to_add(
        &self,
        address: &str,
        aliases: &[String],
        quota: Quota,
    ) -> Result<UserId, AccountError> {
        let address = normalize(address)?;
        let aliases: Result<Vec<String>, _> = aliases.iter().map(|a| normalize(a)).collect();
        // Two that add the same address at once are told apart by the table alone.
        let taken = |error: DbErr| match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => {
                AccountError::AddressTaken(address.clone())
            }
            _ => error.into(),
        };
        let transaction = self.database.begin().await?;
        let user = user::ActiveModel {
            address: Set(address.clone()),
            created_at_ms: Set(now(&transaction).await?),
            maildrop_version: Set(0),
            quota_octets: Set(stored(quota.octets)?),
            quota_messages: Set(stored(quota.messages)?),
            ..Default::default()
        };
        let mut addresses = vec![address.clone()];
        addresses.extend(aliases?);
        for address in &addresses {
            if find(&transaction, &stored_forms(address)).await?.is_some() {
                return Err(AccountError::AddressTaken(address.clone()));
            }
        }
        let user = user.insert(&transaction).await.map_err(taken)?;
        for (at, address) in addresses.iter().enumerate() {
            if addresses.iter().take(at).any(|before| before == address) {
                continue;
            }
            let row = address::ActiveModel {
                address: Set(address.clone()),
                user_id: Set(user.id),
            };
            row.insert(&transaction).await.map_err(taken)?;
        }
        transaction.commit().await?;
        Ok(UserId::from_row(user.id))
    }

    /// All users, by address.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn list(&self) -> Result<Vec<User>, AccountError> {
        let read = self.database.read();
        let users = user::Entity::find()
            .filter(user::Column::RemovedAtMs.is_null())
            .order_by_asc(user::Column::Address)
            .all(read)
            .await?;
        let mut aliases = std::collections::HashMap::<i64, Vec<String>>::new();
        let addresses = address::Entity::find().order_by_asc(address::Column::Address);
        for row in addresses.all(read).await? {
            aliases.entry(row.user_id).or_default().push(row.address);
        }
        let sizes = maildrop_sizes(read).await?;
        let user = |row: user::Model| {
            let mut aliases = aliases.remove(&row.id).unwrap_or_default();
            aliases.retain(|alias| *alias != row.address);
            let (messages, octets) = sizes.get(&row.id).copied().unwrap_or_default();
            User {
                id: UserId::from_row(row.id),
                address: row.address,
                aliases,
                disabled: row.disabled_at_ms.is_some(),
                messages,
                octets,
                quota: Quota {
                    octets: row.quota_octets.map(i64::unsigned_abs),
                    messages: row.quota_messages.map(i64::unsigned_abs),
                },
            }
        };
        Ok(users.into_iter().map(user).collect())
    }

    /// The user of this address or alias, in any of its spellings.
    ///
    /// # Errors
    /// If there is none, or the database fails.
    pub async fn find(&self, address: &str) -> Result<UserId, AccountError> {
        let row = find(self.database.read(), &stored_forms(address)).await?;
        row.map(|row| UserId::from_row(row.id))
            .ok_or_else(|| AccountError::NoSuchUser(address.to_owned()))
    }

    /// Removes a user with their keys and their maildrop: from now on nobody logs in or gets mail
    /// there, and their addresses are free. Returns who it was.
    ///
    /// The maildrop is emptied in steps, by a server or by [`Database::finish_removal`]. Open sessions
    /// go on to read what they see; that much leaves the database when they end.
    ///
    /// # Errors
    /// If there is none, or the database refuses.
    pub async fn remove(&self, address: &str) -> Result<UserId, AccountError> {
        let remove = async || repeat(|| self.try_to_remove(address)).await;
        self.database.with_reserve(remove).await
    }

    async fn try_to_remove(&self, address: &str) -> Result<UserId, AccountError> {
        let user = self.find(address).await?;
        let locked = self.database.lock_maildrop(user).await?;
        let nobody = || AccountError::NoSuchUser(address.to_owned());
        let (transaction, LockedMaildrop { version, .. }) = locked.ok_or_else(nobody)?;
        // Nobody can bring back what it deletes.
        Deletion::begin(&transaction, user, version, DeletionRecord::default()).await?;
        let now = now(&transaction).await?;
        api_key::Entity::delete_many()
            .filter(api_key::Column::UserId.eq(user.row()))
            .exec(&transaction)
            .await?;
        address::Entity::delete_many()
            .filter(address::Column::UserId.eq(user.row()))
            .exec(&transaction)
            .await?;
        // All of the maildrop is deleted.
        deletion_batch::Entity::delete_many()
            .filter(deletion_batch::Column::UserId.eq(user.row()))
            .exec(&transaction)
            .await?;
        deletion::Entity::update_many()
            .col_expr(deletion::Column::KeptUntilMs, Expr::val(0))
            .filter(deletion::Column::UserId.eq(user.row()))
            .exec(&transaction)
            .await?;
        let removed = user::ActiveModel {
            removed_at_ms: Set(Some(now)),
            disabled_at_ms: Set(Some(now)),
            // No address has this form.
            address: Set(format!("removed {}", user.row())),
            ..Default::default()
        };
        user::Entity::update_many()
            .set(removed)
            .filter(user::Column::Id.eq(user.row()))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(user)
    }

    /// Disables a user, or enables them again.
    ///
    /// # Errors
    /// If there is none, or the database refuses.
    pub async fn set_disabled(&self, address: &str, disabled: bool) -> Result<(), AccountError> {
        let change = || async move {
            let (transaction, user) = self.lock(address).await?;
            let since = match user.disabled_at_ms {
                Some(since) => since,
                None => now(&transaction).await?,
            };
            let mut user = user.into_active_model();
            user.disabled_at_ms = Set(disabled.then_some(since));
            user.update(&transaction).await?;
            Ok::<_, AccountError>(transaction.commit().await?)
        };
        self.database
            .with_reserve(async || repeat(change).await)
            .await
    }

    /// Changes how much a maildrop may hold: both limits, or the one that is told.
    ///
    /// What is there stays, also if it is more.
    ///
    /// # Errors
    /// If there is no such user, or the database refuses.
    pub async fn set_quota(&self, address: &str, change: QuotaChange) -> Result<(), AccountError> {
        let change = || async move {
            let (transaction, user) = self.lock(address).await?;
            let mut user = user.into_active_model();
            if let Some(octets) = change.octets {
                user.quota_octets = Set(stored(octets)?);
            }
            if let Some(messages) = change.messages {
                user.quota_messages = Set(stored(messages)?);
            }
            user.update(&transaction).await?;
            Ok::<_, AccountError>(transaction.commit().await?)
        };
        repeat(change).await
    }

    /// Begins a transaction that has locked the user of an address.
    async fn lock(&self, address: &str) -> Result<(Transaction, user::Model), AccountError> {
        let nobody = || AccountError::NoSuchUser(address.to_owned());
        let id = self.find(address).await?;
        let transaction = self.database.lock_user(id).await?.ok_or_else(nobody)?;
        // It may have changed before it was locked.
        let user = find(&transaction, &stored_forms(address)).await?;
        let user = user.filter(|user| user.id == id.row()).ok_or_else(nobody)?;
        Ok((transaction, user))
    }
}

/// What to change about a quota; what is not told stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuotaChange {
    /// The limit of octets, or none from now on.
    pub octets: Option<Option<u64>>,
    /// The limit of messages, or none from now on.
    pub messages: Option<Option<u64>>,
}

impl From<Quota> for QuotaChange {
    fn from(quota: Quota) -> Self {
        Self {
            octets: Some(quota.octets),
            messages: Some(quota.messages),
        }
    }
}

/// A limit as its column holds it.
fn stored(limit: Option<u64>) -> Result<Option<i64>, AccountError> {
    let limit = limit.map(i64::try_from).transpose();
    limit.map_err(|_| AccountError::QuotaTooLarge)
}

/// The user of the first of these addresses that is somebody's.
async fn find(
    connection: &impl ConnectionTrait,
    forms: &[String],
) -> Result<Option<user::Model>, DbErr> {
    let rows = address::Entity::find().filter(address::Column::Address.is_in(forms));
    let rows = match forms {
        [] => Vec::new(),
        _ => rows.all(connection).await?,
    };
    let place = |row: &address::Model| forms.iter().position(|form| *form == row.address);
    let Some(row) = rows.into_iter().min_by_key(place) else {
        return Ok(None);
    };
    let user = user::Entity::find().filter(user::Column::Id.eq(row.user_id));
    user.one(connection).await
}

/// Messages and octets of every user who has any.
async fn maildrop_sizes(
    connection: &impl ConnectionTrait,
) -> Result<std::collections::HashMap<i64, (u64, u64)>, DbErr> {
    let batched = batched_sizes(connection).await?;
    let sizes = message::Entity::find()
        .select_only()
        .column(message::Column::UserId)
        .column_as(message::Column::Id.count(), "messages")
        .expr_as(sum(message::Column::Octets), "octets")
        .group_by(message::Column::UserId)
        .into_model::<SizeOfUser>()
        .all(connection);
    let size = |SizeOfUser { user_id, size }| {
        let batched = batched.get(&user_id).copied().unwrap_or_default();
        let left = |all: i64, batched: i64| all.saturating_sub(batched).max(0).unsigned_abs();
        let messages = left(size.messages, batched.messages);
        (user_id, (messages, left(size.octets, batched.octets)))
    };
    Ok(sizes.await?.into_iter().map(size).collect())
}
