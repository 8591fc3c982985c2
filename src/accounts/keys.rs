//! The keys that open maildrops.
//!
//! A key is `rst_` and 12 characters that find its row, `_`, and 43 characters of secret. Only its
//! SHA-256 is kept. A slow password hash would make each login slow and no attack slower: nobody
//! guesses 256 random bits, whether they can try a million keys a second or ten.

use std::collections::HashMap;
use std::time::SystemTime;

use async_trait::async_trait;
use entity::api_key;
use pop3::Secret;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QueryResult,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{AccountError, Accounts, find, require};
use crate::identity::{new_name, new_secret};
use crate::store::{MaildropVersion, StoreError, UserId, milliseconds, statement};

/// The scope of a key that opens its owner's maildrop by POP3.
pub const SCOPE_POP3: &str = "pop3";

/// What every key begins with, so that it is recognised where it should not be.
const MARK: &str = "rst_";

/// How many characters find the row of a key.
const PREFIX_CHARACTERS: usize = 12;

/// The longest name of a key, in characters.
const MAX_NAME_CHARACTERS: usize = 100;

/// The key of a key's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub i64);

/// A key that has just been made. This is the only time that it is seen.
#[derive(Debug)]
pub struct NewKey {
    /// The number by which it is revoked.
    pub id: KeyId,
    /// The key itself.
    pub key: String,
}

/// What a key is made with.
#[derive(Debug, Clone)]
pub struct KeyOptions {
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// From when on it opens nothing any more.
    pub expires_at: Option<SystemTime>,
}

/// What is known of a key. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the column of its name, see entity::api_key"
)]
pub struct Key {
    pub id: KeyId,
    pub name: String,
    pub prefix: String,
    pub scopes: String,
    pub created_at_ms: i64,
    pub last_used_at_ms: Option<i64>,
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
}

/// Who has shown a right key.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whose maildrop it opens.
    pub user: UserId,
    /// The first of their addresses.
    pub address: String,
    /// The key; none where any key is taken.
    pub key: Option<KeyId>,
    /// What the key is called.
    pub key_name: String,
    /// The version that the maildrop had at that moment.
    pub version: MaildropVersion,
}

/// No such user, or not a key that opens their maildrop: which of them is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongCredentials;

/// Finds out who logs in. Another product's keys are a second form one day.
#[async_trait]
pub trait Authentication: Send + Sync {
    /// Whose maildrop do these open?
    ///
    /// # Errors
    /// If the database can't say.
    async fn verify(
        &self,
        address: &str,
        secret: &Secret,
    ) -> Result<Result<Verified, WrongCredentials>, StoreError>;

    /// Whose maildrop is this, if any key will do? Only for development.
    ///
    /// # Errors
    /// If the database can't say.
    async fn trust(&self, address: &str) -> Result<Result<Verified, WrongCredentials>, StoreError>;

    /// Writes down when keys were last used, in milliseconds since 1970.
    ///
    /// # Errors
    /// If the database refuses.
    async fn note_use(&self, last_used_at_ms: &HashMap<KeyId, i64>) -> Result<(), StoreError>;
}

#[async_trait]
impl Authentication for Accounts {
    async fn verify(
        &self,
        address: &str,
        secret: &Secret,
    ) -> Result<Result<Verified, WrongCredentials>, StoreError> {
        // The key is looked for first and whoever has no right prefix finds no row, whether the
        // user exists or not: so both cases are the same query and take the same time.
        const KEY_OF_USER: &str = "SELECT \
            u.id, u.address, u.maildrop_version, k.id, k.name, k.hash, k.scopes \
            FROM api_keys k JOIN users u ON u.id = k.user_id \
            WHERE k.prefix = $1 AND k.revoked_at_ms IS NULL AND u.disabled_at_ms IS NULL \
            AND (k.expires_at_ms IS NULL OR k.expires_at_ms > $2) \
            AND EXISTS (SELECT 1 FROM addresses a WHERE a.address = $3 AND a.user_id = u.id)";
        if !may_be_asked_for(address) {
            return Ok(Err(WrongCredentials));
        }
        let values = [
            prefix_of(secret).into(),
            milliseconds(SystemTime::now()).into(),
            address.to_lowercase().into(),
        ];
        let read = self.database.read();
        let row = read
            .query_one_raw(statement(read, KEY_OF_USER, values))
            .await?;
        let stored: Vec<u8> = match &row {
            Some(row) => row.try_get_by_index(5)?,
            None => vec![0; Sha256::output_size()],
        };
        let same = bool::from(hash_of(secret).ct_eq(&stored));
        let Some(row) = row.filter(|_| same) else {
            return Ok(Err(WrongCredentials));
        };
        let scopes: String = row.try_get_by_index(6)?;
        if !scopes.split(' ').any(|scope| scope == SCOPE_POP3) {
            return Ok(Err(WrongCredentials));
        }
        Ok(Ok(verified(&row)?))
    }

    async fn trust(&self, address: &str) -> Result<Result<Verified, WrongCredentials>, StoreError> {
        if !may_be_asked_for(address) {
            return Ok(Err(WrongCredentials));
        }
        let user = find(self.database.read(), &address.to_lowercase()).await?;
        let user = user.filter(|user| user.disabled_at_ms.is_none());
        let verified = user.map(|user| Verified {
            user: UserId(user.id),
            address: user.address,
            key: None,
            key_name: String::new(),
            version: MaildropVersion(user.maildrop_version),
        });
        Ok(verified.ok_or(WrongCredentials))
    }

    async fn note_use(&self, last_used_at_ms: &HashMap<KeyId, i64>) -> Result<(), StoreError> {
        const USED: &str = "UPDATE api_keys SET last_used_at_ms = $2 \
            WHERE id = $1 AND (last_used_at_ms IS NULL OR last_used_at_ms < $2)";
        let transaction = self.database.begin().await?;
        let mut keys: Vec<_> = last_used_at_ms.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| key.0);
        for (key, at) in keys {
            let used = statement(&transaction, USED, [key.0.into(), (*at).into()]);
            transaction.execute_raw(used).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

impl Accounts {
    /// Makes a key.
    ///
    /// # Errors
    /// If there is no such user, the name or a scope is not possible, or the database refuses.
    pub async fn create_key(
        &self,
        address: &str,
        options: KeyOptions,
    ) -> Result<NewKey, AccountError> {
        let name = options.name;
        let plain = |c: char| !c.is_control() && c != '#';
        let characters = name.chars().count();
        if !(1..=MAX_NAME_CHARACTERS).contains(&characters) || !name.chars().all(plain) {
            return Err(AccountError::BadKeyName);
        }
        if let Some(unknown) = options.scopes.iter().find(|scope| *scope != SCOPE_POP3) {
            return Err(AccountError::UnknownScope(unknown.clone()));
        }
        let transaction = self.database.begin().await?;
        let user = require(&transaction, address).await?;
        let same_name = api_key::Entity::find()
            .filter(api_key::Column::UserId.eq(user.id))
            .filter(api_key::Column::Name.eq(&name))
            .filter(api_key::Column::RevokedAtMs.is_null());
        if same_name.one(&transaction).await?.is_some() {
            let address = user.address;
            return Err(AccountError::KeyNameTaken { address, name });
        }
        let prefix: String = new_name().chars().take(PREFIX_CHARACTERS).collect();
        let key = format!("{MARK}{prefix}_{}", new_secret());
        let row = api_key::ActiveModel {
            user_id: Set(user.id),
            name: Set(name),
            prefix: Set(prefix),
            hash: Set(hash_of(&Secret::new(key.as_bytes()))),
            scopes: Set(options.scopes.join(" ")),
            created_at_ms: Set(milliseconds(SystemTime::now())),
            expires_at_ms: Set(options.expires_at.map(milliseconds)),
            ..Default::default()
        };
        let row = row.insert(&transaction).await?;
        transaction.commit().await?;
        Ok(NewKey {
            id: KeyId(row.id),
            key,
        })
    }

    /// The keys of a user, oldest first, with those that no longer work.
    ///
    /// # Errors
    /// If there is no such user, or the database can't say.
    pub async fn keys(&self, address: &str) -> Result<Vec<Key>, AccountError> {
        let user = self.find(address).await?;
        let keys = api_key::Entity::find()
            .filter(api_key::Column::UserId.eq(user.0))
            .order_by_asc(api_key::Column::Id);
        let key = |row: api_key::Model| Key {
            id: KeyId(row.id),
            name: row.name,
            prefix: format!("{MARK}{}", row.prefix),
            scopes: row.scopes,
            created_at_ms: row.created_at_ms,
            last_used_at_ms: row.last_used_at_ms,
            expires_at_ms: row.expires_at_ms,
            revoked_at_ms: row.revoked_at_ms,
        };
        Ok(keys
            .all(self.database.read())
            .await?
            .into_iter()
            .map(key)
            .collect())
    }

    /// Revokes a key: it opens nothing any more.
    ///
    /// # Errors
    /// If there is none that could be revoked, or the database refuses.
    pub async fn revoke_key(&self, key: KeyId) -> Result<(), AccountError> {
        const REVOKE: &str =
            "UPDATE api_keys SET revoked_at_ms = $2 WHERE id = $1 AND revoked_at_ms IS NULL";
        let transaction = self.database.begin().await?;
        let values = [key.0.into(), milliseconds(SystemTime::now()).into()];
        let revoke = statement(&transaction, REVOKE, values);
        let revoked = transaction.execute_raw(revoke).await?.rows_affected();
        transaction.commit().await?;
        if revoked == 0 {
            return Err(AccountError::NoSuchKey(key.0));
        }
        Ok(())
    }
}

/// PostgreSQL's texts hold no NUL, so neither does an address.
fn may_be_asked_for(address: &str) -> bool {
    !address.contains('\0')
}

/// The characters that find the row of a key; empty, as no prefix is, if this is no key.
fn prefix_of(secret: &Secret) -> &str {
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
    let prefix = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.get(..PREFIX_CHARACTERS));
    prefix
        .filter(|prefix| !prefix.contains('\0'))
        .unwrap_or_default()
}

fn hash_of(secret: &Secret) -> Vec<u8> {
    Sha256::digest(secret.expose()).to_vec()
}

fn verified(row: &QueryResult) -> Result<Verified, StoreError> {
    Ok(Verified {
        user: UserId(row.try_get_by_index(0)?),
        address: row.try_get_by_index(1)?,
        version: MaildropVersion(row.try_get_by_index(2)?),
        key: Some(KeyId(row.try_get_by_index(3)?)),
        key_name: row.try_get_by_index(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_has_no_prefix() {
        for (secret, prefix) in [
            ("rst_abcdefghjkmn_secret", "abcdefghjkmn"),
            ("rst_short", ""),
            ("password", ""),
            ("rst_abc\0efghjkmn_x", ""),
            ("rst_äöüäöüäöüäöü", "äöüäöü"),
            ("", ""),
        ] {
            assert_eq!(prefix_of(&Secret::new(secret)), prefix, "{secret:?}");
        }
        assert_eq!(prefix_of(&Secret::new([0xff; 40])), "");
    }
}
