//! Keys that a login names, with their verifiers.

use entity::relate::{api_key, key_verifier, user};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, JoinType, QueryFilter,
    QueryOrder, QuerySelect, RelationTrait, Select,
};
use subtle::ConstantTimeEq;
use wire::Secret;

use super::super::key_form::hash_of;
use super::super::keys::SCRAM_ITERATIONS;
use super::scopes::allow_pop3;
use super::{RelateAccounts, has_address};
use crate::store::{KeyId, StoreError, UserId, Verified};

/// The characters of a key that find its row.
const PREFIX_CHARACTERS: usize = 12;

/// The characters of a key: the base64 of 32 octets.
const KEY_CHARACTERS: usize = 44;

/// The octets of a key.
const KEY_OCTETS: usize = 32;

/// The most keys without a prefix that are tried for one login: each takes a bcrypt.
const KEYS_WITHOUT_PREFIX: usize = 8;

/// The most rows that are read for one login.
const MAX_ROWS: u64 = 64;

/// A key that is not revoked, with its user, and its verifier if it has one.
#[derive(Debug, FromQueryResult)]
pub(super) struct KeyRow {
    user_id: Uuid,
    email: String,
    key_id: Uuid,
    name: String,
    key_hash: String,
    scopes: String,
    key_prefix: Option<String>,
    verified_hash: Option<String>,
    digest: Option<Vec<u8>>,
    verifier: Option<String>,
}

impl KeyRow {
    pub(super) fn email(&self) -> &str {
        &self.email
    }

    pub(super) fn key_id(&self) -> KeyId {
        KeyId::new(self.key_id.as_u128())
    }

    /// Returns true if the key opens a maildrop.
    pub(super) fn is_for_pop3(&self) -> bool {
        allow_pop3(&self.scopes)
    }

    /// Returns the SCRAM verifier, if the key has been verified.
    pub(super) fn verifier(&self) -> Option<&str> {
        self.is_verified().then_some(self.verifier.as_deref())?
    }

    pub(super) fn verified(self) -> Verified {
        Verified {
            user: UserId::new(self.user_id.as_u128()),
            address: self.email.to_lowercase(),
            key: Some(self.key_id()),
            key_name: self.name,
            access: pop3::Access::Full,
        }
    }

    /// Returns true if the key has been verified by the hash that it has now.
    fn is_verified(&self) -> bool {
        self.verified_hash.as_ref() == Some(&self.key_hash)
    }

    fn has_digest(&self, digest: &[u8]) -> bool {
        let known = self.digest.as_deref().unwrap_or_default();
        self.is_verified() && bool::from(known.ct_eq(digest))
    }
}

impl RelateAccounts {
    /// Returns the row of the key that this secret is, among those of the users of an address.
    ///
    /// Without a right prefix there is no row to try, whether there is such a user or not: so both
    /// cases take the same time. The exception are keys of before February 2026, which have no
    /// prefix.
    pub(super) async fn matching_key(
        &self,
        address: &str,
        key_name: Option<&str>,
        secret: &Secret,
    ) -> Result<Option<KeyRow>, StoreError> {
        let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
        let prefix: String = text.chars().take(PREFIX_CHARACTERS).collect();
        let mut rows = self.candidates_of(address, key_name, &prefix).await?;
        rows.retain(KeyRow::is_for_pop3);
        let digest = hash_of(secret);
        if let Some(at) = rows.iter().position(|row| row.has_digest(&digest)) {
            return Ok(Some(rows.swap_remove(at)));
        }
        // The digest of a verified key would have been equal.
        rows.retain(|row| !row.is_verified());
        let mut without_prefix = 0;
        for row in rows {
            if row.key_prefix.is_none() {
                without_prefix += 1;
                if without_prefix > KEYS_WITHOUT_PREFIX {
                    break;
                }
            }
            if self.bcrypt.verify(secret, &row.key_hash).await? {
                self.remember(&row, secret, digest).await;
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Returns the keys of the users of an address that have this prefix, and then those without
    /// a prefix, the newest first.
    async fn candidates_of(
        &self,
        address: &str,
        key_name: Option<&str>,
        prefix: &str,
    ) -> Result<Vec<KeyRow>, StoreError> {
        let without_prefix = api_key::Column::KeyPrefix.is_null();
        let mut keys = valid_keys()
            .filter(has_address(address))
            .filter(
                api_key::Column::KeyPrefix
                    .eq(prefix)
                    .or(without_prefix.clone()),
            )
            .order_by_asc(without_prefix)
            .order_by_desc(api_key::Column::CreatedAt)
            .limit(MAX_ROWS);
        if let Some(name) = key_name {
            keys = keys.filter(api_key::Column::Name.eq(name));
        }
        Ok(keys.into_model().all(self.database.read()).await?)
    }

    /// Returns the keys of the users of an address that have been verified, for SCRAM.
    pub(super) async fn provable_keys(
        &self,
        address: &str,
        key_name: Option<&str>,
    ) -> Result<Vec<KeyRow>, StoreError> {
        let mut keys = valid_keys()
            .filter(has_address(address))
            .filter(key_verifier::Column::KeyId.is_not_null())
            .order_by_asc(api_key::Column::Id)
            .limit(MAX_ROWS);
        if let Some(name) = key_name {
            keys = keys.filter(api_key::Column::Name.eq(name));
        }
        Ok(keys.into_model().all(self.database.read()).await?)
    }

    /// Returns a key by its id.
    pub(super) async fn key_by_id(&self, key: KeyId) -> Result<Option<KeyRow>, StoreError> {
        let key = valid_keys().filter(api_key::Column::Id.eq(Uuid::from_u128(key.get())));
        Ok(key.into_model().one(self.database.read()).await?)
    }

    /// Stores fast verifiers of a key, so that the next login needs no bcrypt. Only of a key of 256
    /// random bits: another secret could be guessed by its digest.
    async fn remember(&self, row: &KeyRow, secret: &Secret, digest: Vec<u8>) {
        if !is_key(secret) {
            return;
        }
        if let Err(error) = self.store_verifiers(row, secret, digest).await {
            tracing::warn!(%error, "the verifiers of a key were not stored; its next login is slow");
        }
    }

    async fn store_verifiers(
        &self,
        row: &KeyRow,
        secret: &Secret,
        digest: Vec<u8>,
    ) -> Result<(), StoreError> {
        let (salt, secret) = (self.salt().await?.to_vec(), secret.clone());
        // It hashes thousands of times.
        let verifier = tokio::task::spawn_blocking(move || {
            pop3::Verifier::new(&secret, &salt, SCRAM_ITERATIONS).to_string()
        });
        let verifier = verifier
            .await
            .map_err(|error| StoreError::Other(error.into()))?;
        let verifiers = key_verifier::ActiveModel {
            key_id: Set(row.key_id),
            key_hash: Set(row.key_hash.clone()),
            digest: Set(digest),
            verifier: Set(verifier),
        };
        let replace = OnConflict::column(key_verifier::Column::KeyId)
            .update_columns([
                key_verifier::Column::KeyHash,
                key_verifier::Column::Digest,
                key_verifier::Column::Verifier,
            ])
            .to_owned();
        let transaction = self.database.begin().await?;
        key_verifier::Entity::insert(verifiers)
            .on_conflict(replace)
            .exec_without_returning(&transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// Selects keys that are not revoked, with their users and verifiers.
fn valid_keys() -> Select<api_key::Entity> {
    api_key::Entity::find()
        .select_only()
        .column_as(user::Column::Id, "user_id")
        .column_as(user::Column::Email, "email")
        .column_as(api_key::Column::Id, "key_id")
        .column_as(api_key::Column::Name, "name")
        .column_as(api_key::Column::KeyHash, "key_hash")
        .column_as(api_key::Column::Scopes, "scopes")
        .column_as(api_key::Column::KeyPrefix, "key_prefix")
        .column_as(key_verifier::Column::KeyHash, "verified_hash")
        .column_as(key_verifier::Column::Digest, "digest")
        .column_as(key_verifier::Column::Verifier, "verifier")
        .join(JoinType::InnerJoin, api_key::Relation::User.def())
        .join(JoinType::LeftJoin, api_key::Relation::KeyVerifier.def())
        .filter(api_key::Column::RevokedAt.is_null())
}

/// Returns true if a secret has the form of Relate Mail's keys: the base64 of 32 octets.
fn is_key(secret: &Secret) -> bool {
    let text = secret.expose();
    let decoded = data_encoding::BASE64.decode(text);
    text.len() == KEY_CHARACTERS && decoded.is_ok_and(|octets| octets.len() == KEY_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_base64_of_32_octets() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert!(is_key(&Secret::new(key)));
        for other in ["", "password", &key[1..], &"A".repeat(44), &"=".repeat(44)] {
            assert!(!is_key(&Secret::new(other)), "{other}");
        }
    }
}
