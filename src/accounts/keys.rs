//! The keys that open maildrops.
//!
//! Only the SHA-256 of a key is kept, and what SCRAM needs to let a client prove it without sending
//! it. A slow password hash would make each login slow and no attack slower: nobody guesses 256 random bits,
//! whether they can try a million keys a second or ten.

use std::num::NonZeroU32;
use std::time::Duration;

use entity::{api_key, scram};
use pop3::Verifier;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    QueryFilter, QueryOrder,
};
use wire::Secret;

use super::key_form::{MintedKey, beginning, hash_of};
use super::{AccountError, Accounts};
use crate::networks::Networks;
use crate::store::{KeyId, clock, now, repeat};

/// The scope of a key that opens its owner's maildrop by POP3.
pub const SCOPE_POP3: &str = "pop3";

/// The scope of a key that reads its owner's maildrop by POP3 and deletes nothing.
pub const SCOPE_POP3_READ: &str = "pop3:read";

/// Iterations of SCRAM: the minimum of RFC 7677, since keys can't be guessed.
pub(super) const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The longest name of a key, in characters.
const MAX_NAME_CHARACTERS: usize = 100;

/// A key that has just been made. This is the only time that it is seen.
#[derive(Debug)]
pub struct NewKey {
    /// The number by which it is revoked.
    pub id: KeyId,
    /// The key itself.
    pub key: String,
}

/// The options of a new key.
#[derive(Debug, Clone)]
pub struct KeyOptions {
    /// The name that its owner has given it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Its lifetime; `None` is without an end.
    pub lifetime: Option<Duration>,
    /// From where it may be used; from everywhere if there are none.
    pub networks: Networks,
    /// True if it is a short one, for a device whose field for a password is short. It needs a
    /// network.
    pub short: bool,
}

/// What is known of a key. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the column of its name, see entity::api_key, or told by one"
)]
pub struct Key {
    pub id: KeyId,
    pub name: String,
    pub prefix: String,
    pub scopes: String,
    pub networks: String,
    pub created_at_ms: i64,
    pub last_used_at_ms: Option<i64>,
    pub expires_at_ms: Option<i64>,
    pub is_expired: bool,
    pub revoked_at_ms: Option<i64>,
}

impl Accounts {
    /// The salt of SCRAM, the same for every key: so nobody learns from it who has one, and no
    /// table of the hashes of 256 random bits will ever be made.
    pub(super) async fn salt(&self) -> Result<&[u8], DbErr> {
        let read = async || {
            let read = self.database.read();
            let scram = scram::Entity::find().one(read).await?;
            let scram = scram.ok_or_else(|| DbErr::RecordNotFound("the salt of SCRAM".into()))?;
            Ok::<_, DbErr>(scram.salt)
        };
        Ok(self.salt.get_or_try_init(read).await?)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// If there is no such user, the key would open nothing, its name or a scope is not possible,
    /// or the database refuses.
    pub async fn create_key(
        &self,
        address: &str,
        options: KeyOptions,
    ) -> Result<NewKey, AccountError> {
        let name = &options.name;
        let plain = |c: char| !c.is_control() && c != '#';
        let characters = name.chars().count();
        // A client that names its key may send blanks around it, which are no part of the name.
        let padded = name.trim() != name;
        if !(1..=MAX_NAME_CHARACTERS).contains(&characters) || !name.chars().all(plain) || padded {
            return Err(AccountError::BadKeyName);
        }
        let known = |scope: &String| [SCOPE_POP3, SCOPE_POP3_READ].contains(&scope.as_str());
        if let Some(unknown) = options.scopes.iter().find(|scope| !known(scope)) {
            return Err(AccountError::UnknownScope(unknown.clone()));
        }
        if options.scopes.is_empty() {
            return Err(AccountError::NoScope);
        }
        if options.lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            return Err(AccountError::AlreadyExpired);
        }
        if options.short && (options.networks.is_empty() || options.networks.are_everywhere()) {
            return Err(AccountError::ShortWithoutNetwork);
        }
        repeat(|| self.try_to_create_key(address, &options)).await
    }

    async fn try_to_create_key(
        &self,
        address: &str,
        options: &KeyOptions,
    ) -> Result<NewKey, AccountError> {
        let name = options.name.clone();
        let (transaction, user) = self.lock(address).await?;
        let same_name = api_key::Entity::find()
            .filter(api_key::Column::UserId.eq(user.id))
            .filter(api_key::Column::Name.eq(&name))
            .filter(api_key::Column::RevokedAtMs.is_null());
        if same_name.one(&transaction).await?.is_some() {
            let address = user.address;
            return Err(AccountError::KeyNameTaken { address, name });
        }
        let MintedKey { key, prefix } = if options.short {
            MintedKey::short()
        } else {
            MintedKey::new()
        };
        let secret = Secret::new(key.as_bytes());
        let verifier = Verifier::new(&secret, self.salt().await?, SCRAM_ITERATIONS);
        let networks = Some(&options.networks).filter(|networks| !networks.is_empty());
        let now = now(&transaction).await?;
        let expires_at = |lifetime: Duration| {
            let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
            now.saturating_add(lifetime)
        };
        let row = api_key::ActiveModel {
            user_id: Set(user.id),
            name: Set(name),
            prefix: Set(prefix),
            hash: Set(hash_of(&secret)),
            verifier: Set(Some(verifier.to_string())),
            scopes: Set(options.scopes.join(" ")),
            networks: Set(networks.map(|networks| networks.to_string())),
            created_at_ms: Set(now),
            expires_at_ms: Set(options.lifetime.map(expires_at)),
            ..Default::default()
        };
        let row = row.insert(&transaction).await?;
        transaction.commit().await?;
        Ok(NewKey {
            id: KeyId::from_row(row.id),
            key,
        })
    }

    /// The keys of a user, oldest first, with those that no longer work.
    ///
    /// # Errors
    /// If there is no such user, or the database fails.
    pub async fn keys(&self, address: &str) -> Result<Vec<Key>, AccountError> {
        let user = self.find(address).await?;
        let keys = api_key::Entity::find()
            .filter(api_key::Column::UserId.eq(user.row()))
            .order_by_asc(api_key::Column::Id);
        let read = self.database.read();
        let now = now(read).await?;
        let key = |row: api_key::Model| Key {
            id: KeyId::from_row(row.id),
            name: row.name,
            prefix: beginning(&row.prefix),
            scopes: row.scopes,
            networks: row.networks.unwrap_or_default(),
            created_at_ms: row.created_at_ms,
            last_used_at_ms: row.last_used_at_ms,
            expires_at_ms: row.expires_at_ms,
            is_expired: row.expires_at_ms.is_some_and(|at| at <= now),
            revoked_at_ms: row.revoked_at_ms,
        };
        Ok(keys.all(read).await?.into_iter().map(key).collect())
    }

    /// Revokes a key: it opens nothing any more.
    ///
    /// # Errors
    /// If there is none that could be revoked, or the database refuses.
    pub async fn revoke_key(&self, key: KeyId) -> Result<(), AccountError> {
        let revoke = || async move {
            let transaction = self.database.begin().await?;
            let now = clock(transaction.get_database_backend());
            let revoked = api_key::Entity::update_many()
                .col_expr(api_key::Column::RevokedAtMs, now)
                .filter(api_key::Column::Id.eq(key.row()))
                .filter(api_key::Column::RevokedAtMs.is_null())
                .exec(&transaction);
            let revoked = revoked.await?.rows_affected;
            transaction.commit().await?;
            Ok::<_, AccountError>(revoked)
        };
        let revoke = async || repeat(revoke).await;
        match self.database.with_reserve(revoke).await? {
            0 => Err(AccountError::NoSuchKey(key)),
            _ => Ok(()),
        }
    }
}
