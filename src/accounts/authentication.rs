//! Finds out whose maildrop a client may open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use entity::api_key;
use pop3::Access;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult,
    QueryFilter, Statement,
};
use subtle::ConstantTimeEq;
use wire::Secret;

use super::address_forms::{stored_forms, stored_forms_of_certified};
use super::key_form::{hash_of, key_meant, prefix_of};
use super::{Accounts, SCOPE_POP3, SCOPE_POP3_READ};
use crate::networks::Networks;
use crate::store::{
    KeyId, MaildropVersion, Proof, StoreError, UserId, Verified, WrongCredentials, clock, hot,
    repeat,
};

/// The hash to compare with if there is no key.
const NO_HASH: [u8; 32] = [0; 32];

impl Accounts {
    /// Finds out whose maildrop a client at this address may open, and its version at this moment.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn identify(
        &self,
        proof: &Proof,
        client: IpAddr,
    ) -> Result<Result<(Verified, MaildropVersion), WrongCredentials>, StoreError> {
        let key = match proof {
            Proof::Secret {
                name,
                identity,
                secret,
            } => self.key_of(name, identity.as_deref(), secret).await?,
            Proof::Key(key) => self.key(*key).await?,
            Proof::TrustedAddress {
                addresses,
                identity,
            } => {
                let user = self.user_of(addresses, identity.as_deref()).await?;
                return Ok(user.ok_or(WrongCredentials));
            }
        };
        let Some(FoundKey {
            user,
            version,
            networks,
            ..
        }) = key
        else {
            return Ok(Err(WrongCredentials));
        };
        if !may_be_used_from(networks, client)? {
            let key = &user.key_name;
            tracing::info!(key, %client, "a right key was used from a network that it is not for");
            return Ok(Err(WrongCredentials));
        }
        Ok(Ok((user, version)))
    }

    /// Records how long ago keys were last used.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn note_key_use(&self, ages: &HashMap<KeyId, Duration>) -> Result<(), StoreError> {
        let mut keys: Vec<_> = ages.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| key.row());
        let keys = &keys;
        let note = || async move {
            let transaction = self.database.begin().await?;
            for (key, age) in keys {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let at = clock(transaction.get_database_backend()).sub(age);
                let is_later = Condition::any()
                    .add(api_key::Column::LastUsedAtMs.is_null())
                    .add(api_key::Column::LastUsedAtMs.into_expr().lt(at.clone()));
                api_key::Entity::update_many()
                    .col_expr(api_key::Column::LastUsedAtMs, at)
                    .filter(api_key::Column::Id.eq(key.row()))
                    .filter(is_later)
                    .exec(&transaction)
                    .await?;
            }
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(note).await
    }
}

impl Accounts {
    /// The key of this name that has this secret.
    ///
    /// The key is looked for by its prefix, and without a right prefix there is no row, whether
    /// the user exists or not: so both cases are the same query and take the same time.
    async fn key_of(
        &self,
        name: &str,
        identity: Option<&str>,
        secret: &Secret,
    ) -> Result<Option<FoundKey>, StoreError> {
        let Some(claim) = Claim::read(name, identity) else {
            return Ok(None);
        };
        let secret = &*key_meant(secret);
        let key = hot::key_by_prefix(
            self.database.read().get_database_backend(),
            &prefix_of(secret),
            &claim.address,
            &claim.identity,
        );
        let key = self.find_key(key).await?;
        let hash = key.as_ref().map_or(&NO_HASH[..], |key| &key.hash);
        let same = bool::from(hash_of(secret).ct_eq(hash));
        let named = |key: &FoundKey| claim.key_name.is_none_or(|name| name == key.user.key_name);
        Ok(key.filter(|key| same && named(key)))
    }

    async fn key(&self, key: KeyId) -> Result<Option<FoundKey>, StoreError> {
        let backend = self.database.read().get_database_backend();
        self.find_key(hot::key_by_id(backend, key.row())).await
    }

    async fn find_key(&self, key: Statement) -> Result<Option<FoundKey>, StoreError> {
        let row = self.database.read().query_one_raw(key).await?;
        let row = row.map(|row| KeyRow::from_query_result(&row, ""));
        Ok(row.transpose()?.and_then(FoundKey::new))
    }

    /// The user who is meant, if they have one of these addresses.
    async fn user_of(
        &self,
        addresses: &[String],
        identity: Option<&str>,
    ) -> Result<Option<(Verified, MaildropVersion)>, StoreError> {
        let trusted = addresses.iter();
        let trusted = trusted.flat_map(|address| stored_forms_of_certified(address));
        let trusted: Vec<String> = trusted.collect();
        let meant = match (identity, addresses.first()) {
            (Some(identity), _) => forms_and_key(identity).0,
            (None, Some(first)) => stored_forms_of_certified(first),
            (None, None) => Vec::new(),
        };
        if meant.is_empty() {
            return Ok(None);
        }
        let read = self.database.read();
        let question = hot::users_of_certificate(read.get_database_backend(), &meant);
        for row in read.query_all_raw(question).await? {
            let row = UserRow::from_query_result(&row, "")?;
            if trusted.contains(&row.other_address) {
                let user = Verified {
                    user: UserId::from_row(row.id),
                    address: row.address,
                    key: None,
                    key_name: String::new(),
                    access: Access::Full,
                };
                return Ok(Some((user, MaildropVersion(row.maildrop_version))));
            }
        }
        Ok(None)
    }
}

/// The user and key that a client names, in the forms in which addresses are stored.
pub(super) struct Claim<'a> {
    /// An address of the user.
    pub(super) address: Vec<String>,
    /// The name of the key, if it is told.
    pub(super) key_name: Option<&'a str>,
    /// A further address of the user; empty if none is told.
    pub(super) identity: Vec<String>,
}

impl<'a> Claim<'a> {
    /// Returns nothing if no user and no key has such a name.
    pub(super) fn read(name: &'a str, identity: Option<&str>) -> Option<Self> {
        let (address, key_name) = forms_and_key(name);
        // An identity may have the name of a key behind it, too.
        let told = identity.map(|identity| forms_and_key(identity).0);
        let is_nobody = address.is_empty() || told.as_ref().is_some_and(Vec::is_empty);
        // PostgreSQL's texts hold no NUL, so neither does the name of a key.
        let is_no_key = key_name.is_some_and(|name| name.contains('\0'));
        (!is_nobody && !is_no_key).then_some(Self {
            address,
            key_name,
            identity: told.unwrap_or_default(),
        })
    }
}

/// A key that is valid now, for those whom it is for.
struct FoundKey {
    user: Verified,
    version: MaildropVersion,
    hash: Vec<u8>,
    networks: Option<String>,
}

impl FoundKey {
    /// None if it is not for POP3.
    fn new(row: KeyRow) -> Option<Self> {
        Some(Self {
            version: MaildropVersion(row.maildrop_version),
            user: Verified {
                user: UserId::from_row(row.user_id),
                address: row.address,
                key: Some(KeyId::from_row(row.key_id)),
                key_name: row.name,
                access: access_of(&row.scopes)?,
            },
            hash: row.hash,
            networks: row.networks,
        })
    }
}

/// A row of a key that is valid now, and of its user.
#[derive(FromQueryResult)]
struct KeyRow {
    user_id: i64,
    address: String,
    maildrop_version: i64,
    key_id: i64,
    name: String,
    hash: Vec<u8>,
    scopes: String,
    networks: Option<String>,
}

/// A row of a user, and one of the user's addresses.
#[derive(FromQueryResult)]
struct UserRow {
    id: i64,
    address: String,
    maildrop_version: i64,
    other_address: String,
}

/// Returns true if a key with this column of networks may be used from there.
pub(super) fn may_be_used_from(
    networks: Option<String>,
    client: IpAddr,
) -> Result<bool, StoreError> {
    let networks = networks.unwrap_or_default().parse::<Networks>();
    let networks = networks.map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(networks.is_empty() || networks.contain(client))
}

/// What these scopes allow, if anything.
pub(super) fn access_of(scopes: &str) -> Option<Access> {
    let has = |wanted: &str| scopes.split(' ').any(|scope| scope == wanted);
    if has(SCOPE_POP3) {
        Some(Access::Full)
    } else {
        has(SCOPE_POP3_READ).then_some(Access::Read)
    }
}

/// The forms in which the address of a login name may be stored, and the name of the key if it is
/// told.
fn forms_and_key(name: &str) -> (Vec<String>, Option<&str>) {
    match name.split_once('#') {
        Some((address, key)) => (stored_forms(address), Some(key)),
        None => (stored_forms(name), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wider_scope_counts() {
        assert_eq!(access_of("pop3"), Some(Access::Full));
        assert_eq!(access_of("pop3:read"), Some(Access::Read));
        assert_eq!(access_of("pop3:read pop3"), Some(Access::Full));
        assert_eq!(access_of("smtp"), None);
        assert_eq!(access_of(""), None);
    }

    #[test]
    fn a_claim_is_in_the_form_in_which_addresses_are_kept() {
        let claim = Claim::read("Ada@Example.com#My Phone", Some("A@Example.com#x")).unwrap();
        assert_eq!(claim.address, ["ada@example.com"]);
        assert_eq!(claim.key_name, Some("My Phone"));
        assert_eq!(claim.identity, ["a@example.com"]);
        assert!(Claim::read("ada", None).unwrap().identity.is_empty());
        for (name, identity) in [
            ("a\0b", None),
            ("ada#a\0b", None),
            ("ada", Some("")),
            ("ada", Some("#phone")),
            ("ada", Some("a\0b")),
        ] {
            assert!(
                Claim::read(name, identity).is_none(),
                "{name:?} {identity:?}"
            );
        }
    }

    #[test]
    fn a_name_may_tell_the_key() {
        assert_eq!(
            forms_and_key("Ada@Example.com"),
            (vec!["ada@example.com".into()], None)
        );
        let (forms, key) = forms_and_key("ada@example.com#My Phone");
        assert_eq!(forms, ["ada@example.com"]);
        assert_eq!(key, Some("My Phone"));
    }
}
