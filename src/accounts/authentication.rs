//! Finds out whose maildrop a client may open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use pop3::Access;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use subtle::ConstantTimeEq;
use wire::Secret;

use super::address_forms::{stored_forms, stored_forms_of_certified};
use super::key_form::{hash_of, key_meant, prefix_of};
use super::{Accounts, SCOPE_POP3, SCOPE_POP3_READ, placeholders};
use crate::networks::Networks;
use crate::store::{
    KeyId, MaildropVersion, Proof, StoreError, UserId, Verified, WrongCredentials, clock, repeat,
    statement,
};

/// Which rows are keys that may be used now, which is for the clock that all servers share to say.
pub(super) fn valid(connection: &impl ConnectionTrait) -> String {
    let now = clock(connection);
    format!(
        "k.revoked_at_ms IS NULL AND u.disabled_at_ms IS NULL \
         AND (k.expires_at_ms IS NULL OR k.expires_at_ms > {now})"
    )
}

/// The condition that the user has an address in one of these forms, which stand from `$first` on.
fn has_address(first: usize, forms: usize) -> String {
    let forms = placeholders(first, forms);
    format!("EXISTS (SELECT 1 FROM addresses a WHERE a.address IN ({forms}) AND a.user_id = u.id)")
}

/// The condition that an identity is an address of the user; its forms stand from `$first` on, and
/// there are none if no identity is told.
pub(super) fn is_identity(first: usize, forms: usize) -> String {
    match forms {
        0 => String::new(),
        forms => format!("AND {}", has_address(first, forms)),
    }
}

/// The user of an address in one of so many forms, with all their addresses.
fn user_with_addresses(forms: usize) -> String {
    let forms = placeholders(1, forms);
    format!(
        "SELECT u.id, u.address, u.maildrop_version, a.address \
         FROM addresses i JOIN users u ON u.id = i.user_id JOIN addresses a ON a.user_id = u.id \
         WHERE i.address IN ({forms}) AND u.disabled_at_ms IS NULL"
    )
}

/// What is compared with where there is no key.
const NO_HASH: [u8; 32] = [0; 32];

/// The key with the prefix `$1` of the user whose address has one of so many forms, and who has an
/// address in one of the forms of an identity.
fn is_of(address: usize, identity: usize) -> String {
    let (has_address, is_identity) = (has_address(2, address), is_identity(2 + address, identity));
    format!("k.prefix = $1 AND {has_address} {is_identity}")
}

impl Accounts {
    /// Finds out whose maildrop a client at this address may open, and its version at this moment.
    ///
    /// # Errors
    /// If the database can't say.
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
        keys.sort_unstable_by_key(|(key, _)| key.0);
        let keys = &keys;
        let note = || async move {
            let transaction = self.database.begin().await?;
            let at = format!("{} - $2", clock(&*transaction));
            let used = format!(
                "UPDATE api_keys SET last_used_at_ms = {at} \
                 WHERE id = $1 AND (last_used_at_ms IS NULL OR last_used_at_ms < {at})"
            );
            for (key, age) in keys {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let used = statement(&transaction, &used, [key.0.into(), age.into()]);
                transaction.execute_raw(used).await?;
            }
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(note).await
    }
}

impl Accounts {
    /// The key of this name that has this secret.
    ///
    /// The key is looked for by its prefix, and whoever has no right prefix finds no row, whether
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
        let values = claim.values([prefix_of(secret).into()]);
        let condition = is_of(claim.address.len(), claim.identity.len());
        let key = self.find_key(&condition, values).await?;
        let hash = key.as_ref().map_or(&NO_HASH[..], |key| &key.hash);
        let same = bool::from(hash_of(secret).ct_eq(hash));
        let named = |key: &FoundKey| claim.key_name.is_none_or(|name| name == key.user.key_name);
        Ok(key.filter(|key| same && named(key)))
    }

    async fn key(&self, key: KeyId) -> Result<Option<FoundKey>, StoreError> {
        self.find_key("k.id = $1", [key.0.into()]).await
    }

    async fn find_key(
        &self,
        condition: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<FoundKey>, StoreError> {
        let read = self.database.read();
        let valid = valid(read);
        let question = format!(
            "SELECT u.id, u.address, u.maildrop_version, k.id, k.name, k.hash, k.scopes, k.networks \
             FROM api_keys k JOIN users u ON u.id = k.user_id WHERE {valid} AND {condition}"
        );
        let row = read
            .query_one_raw(statement(read, &question, values))
            .await?;
        row.map_or(Ok(None), |row| FoundKey::read(&row))
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
        let sql = user_with_addresses(meant.len());
        let question = statement(read, &sql, meant.into_iter().map(Value::from));
        for row in read.query_all_raw(question).await? {
            let address: String = row.try_get_by_index(3)?;
            if trusted.contains(&address) {
                let user = Verified {
                    user: UserId(row.try_get_by_index(0)?),
                    address: row.try_get_by_index(1)?,
                    key: None,
                    key_name: String::new(),
                    access: Access::Full,
                };
                return Ok(Some((user, MaildropVersion(row.try_get_by_index(2)?))));
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

    /// The values of a query: these two, the forms of the address, and those of the identity.
    pub(super) fn values(&self, first: [Value; 1]) -> Vec<Value> {
        let forms = self.address.iter().chain(&self.identity);
        let forms = forms.map(|form| Value::from(form.as_str()));
        first.into_iter().chain(forms).collect()
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
    fn read(row: &QueryResult) -> Result<Option<Self>, StoreError> {
        let scopes: String = row.try_get_by_index(6)?;
        let Some(access) = access_of(&scopes) else {
            return Ok(None);
        };
        Ok(Some(Self {
            version: MaildropVersion(row.try_get_by_index(2)?),
            user: Verified {
                user: UserId(row.try_get_by_index(0)?),
                address: row.try_get_by_index(1)?,
                key: Some(KeyId(row.try_get_by_index(3)?)),
                key_name: row.try_get_by_index(4)?,
                access,
            },
            hash: row.try_get_by_index(5)?,
            networks: row.try_get_by_index(7)?,
        }))
    }
}

/// Whether a key with this column of networks may be used from there.
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
