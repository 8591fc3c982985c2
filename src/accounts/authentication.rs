//! Finds out whose maildrop a client may open.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use pop3::{Access, Secret, Verifier};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};
use subtle::ConstantTimeEq;

use super::keys::{KeyId, SCRAM_ITERATIONS, hash_of, prefix_of};
use super::{Accounts, SCOPE_POP3, SCOPE_POP3_READ, Standing, find};
use crate::networks::Networks;
use crate::store::{MaildropVersion, StoreError, UserId, clock, repeat, statement};

/// What speaks for a client.
#[derive(Clone)]
pub enum Evidence {
    /// A secret that is to be a key of this user.
    Secret {
        /// An address of the user, and after a `#` the name of the key if it is told.
        name: String,
        /// The secret.
        secret: Secret,
    },
    /// A key that the client has proven to know.
    Key(KeyId),
    /// The word of somebody who is trusted, such as the authority of a certificate, that the client
    /// is the user of this address.
    Word(String),
}

/// Who has shown that a maildrop may be opened.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whose maildrop it is.
    pub user: UserId,
    /// The first of their addresses.
    pub address: String,
    /// The key; none where no key was needed.
    pub key: Option<KeyId>,
    /// What the key is called.
    pub key_name: String,
    /// What may be done with the maildrop.
    pub access: Access,
    /// The version that the maildrop had at that moment.
    pub version: MaildropVersion,
}

/// No such user, or nothing that opens their maildrop: which of them is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongCredentials;

/// What SCRAM needs to let a client prove a key.
#[derive(Debug, Clone)]
pub struct KeyVerifier {
    /// The key; none if there is no such user or key, which the client does not learn.
    pub key: Option<KeyId>,
    /// What the proof must fit.
    pub verifier: Verifier,
}

/// Finds out who logs in. Another product's keys are a second form one day.
#[async_trait]
pub trait Authentication: Send + Sync {
    /// Whose maildrop may a client at this address open?
    ///
    /// # Errors
    /// If the database can't say.
    async fn identify(
        &self,
        evidence: &Evidence,
        client: IpAddr,
    ) -> Result<Result<Verified, WrongCredentials>, StoreError>;

    /// What proves the key of this name: `address#key`, or `address` if it is the only key.
    ///
    /// # Errors
    /// If the database can't say.
    async fn verifier(&self, name: &str) -> Result<KeyVerifier, StoreError>;

    /// Which of these keys are not revoked, and which of these users are there and not disabled?
    ///
    /// # Errors
    /// If the database can't say.
    async fn standing(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<Standing, StoreError>;

    /// Writes down how long ago keys were last used.
    ///
    /// # Errors
    /// If the database refuses.
    async fn note_use(&self, ages: &HashMap<KeyId, Duration>) -> Result<(), StoreError>;
}

/// `$1` is an address of the key's user.
const OF_ADDRESS: &str =
    "EXISTS (SELECT 1 FROM addresses a WHERE a.address = $1 AND a.user_id = u.id)";

/// What is compared with where there is no key.
const NO_HASH: [u8; 32] = [0; 32];

/// What is asked for at each login, in the words of one kind of database.
struct Questions {
    /// The key with the prefix `$2` of whoever has the address `$1`.
    key_by_prefix: String,
    /// The key of the number `$1`.
    key_by_id: String,
    /// The verifiers of the keys of whoever has the address `$1`: of the name `$2`, if it is one.
    verifiers: String,
}

impl Questions {
    fn for_clock(clock: &str) -> Self {
        // Whether a key has expired is for the clock that all servers share to say.
        let valid = format!(
            "k.revoked_at_ms IS NULL AND u.disabled_at_ms IS NULL \
             AND (k.expires_at_ms IS NULL OR k.expires_at_ms > {clock})"
        );
        let key_where = |condition: &str| {
            format!(
                "SELECT u.id, u.address, u.maildrop_version, k.id, k.name, k.hash, k.scopes, \
                 k.networks FROM api_keys k JOIN users u ON u.id = k.user_id \
                 WHERE {valid} AND {condition}"
            )
        };
        Self {
            key_by_prefix: key_where(&format!("k.prefix = $2 AND {OF_ADDRESS}")),
            key_by_id: key_where("k.id = $1"),
            // Whoever has two keys must say which one is meant.
            verifiers: format!(
                "SELECT k.id, k.verifier FROM api_keys k JOIN users u ON u.id = k.user_id \
                 WHERE {valid} AND {OF_ADDRESS} AND ($2 = '' OR k.name = $2) LIMIT 2"
            ),
        }
    }

    /// Those for this database.
    fn of(connection: &impl ConnectionTrait) -> &'static Self {
        static SQLITE: OnceLock<Questions> = OnceLock::new();
        static POSTGRES: OnceLock<Questions> = OnceLock::new();
        let questions = if connection.get_database_backend() == DbBackend::Postgres {
            &POSTGRES
        } else {
            &SQLITE
        };
        questions.get_or_init(|| Self::for_clock(clock(connection)))
    }
}

#[async_trait]
impl Authentication for Accounts {
    async fn identify(
        &self,
        evidence: &Evidence,
        client: IpAddr,
    ) -> Result<Result<Verified, WrongCredentials>, StoreError> {
        let key = match evidence {
            Evidence::Secret { name, secret } => self.key_of(name, secret).await?,
            Evidence::Key(key) => self.key(*key).await?,
            Evidence::Word(address) => return self.user_of(address).await,
        };
        let Some(key) = key else {
            return Ok(Err(WrongCredentials));
        };
        if !key.may_be_used_by(client) {
            let key = &key.user.key_name;
            tracing::info!(key, %client, "a right key was used from a network that it is not for");
            return Ok(Err(WrongCredentials));
        }
        Ok(Ok(key.user))
    }

    async fn verifier(&self, name: &str) -> Result<KeyVerifier, StoreError> {
        let (address, key_name) = address_and_key(name);
        let mut found = None;
        // No key has the empty name.
        if may_be_asked_for(&address) && key_name != Some("") {
            let key_name = key_name.filter(|name| may_be_asked_for(name));
            let values = [address.as_str().into(), key_name.unwrap_or_default().into()];
            let read = self.database.read();
            let question = statement(read, &Questions::of(read).verifiers, values);
            let rows = read.query_all_raw(question).await?;
            if let [row] = rows.as_slice() {
                let verifier: Option<String> = row.try_get_by_index(1)?;
                let verifier = verifier.and_then(|text| text.parse().ok());
                found = Some(KeyId(row.try_get_by_index(0)?)).zip(verifier);
            }
        }
        Ok(match found {
            Some((key, verifier)) => KeyVerifier {
                key: Some(key),
                verifier,
            },
            None => KeyVerifier {
                key: None,
                verifier: Verifier::of_nobody(self.salt().await?, SCRAM_ITERATIONS),
            },
        })
    }

    async fn standing(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<Standing, StoreError> {
        self.find_standing(users, keys).await
    }

    async fn note_use(&self, ages: &HashMap<KeyId, Duration>) -> Result<(), StoreError> {
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
    async fn key_of(&self, name: &str, secret: &Secret) -> Result<Option<FoundKey>, StoreError> {
        let (address, key_name) = address_and_key(name);
        if !may_be_asked_for(&address) {
            return Ok(None);
        }
        let values = [address.into(), prefix_of(secret).into()];
        let question = &Questions::of(self.database.read()).key_by_prefix;
        let key = self.find_key(question, values).await?;
        let hash = key.as_ref().map_or(&NO_HASH[..], |key| &key.hash);
        let same = bool::from(hash_of(secret).ct_eq(hash));
        let named = |key: &FoundKey| key_name.is_none_or(|name| name == key.user.key_name);
        Ok(key.filter(|key| same && named(key)))
    }

    async fn key(&self, key: KeyId) -> Result<Option<FoundKey>, StoreError> {
        let question = &Questions::of(self.database.read()).key_by_id;
        self.find_key(question, [key.0.into()]).await
    }

    async fn find_key(
        &self,
        question: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<FoundKey>, StoreError> {
        let read = self.database.read();
        let row = read
            .query_one_raw(statement(read, question, values))
            .await?;
        row.map_or(Ok(None), |row| FoundKey::read(&row))
    }

    async fn user_of(
        &self,
        address: &str,
    ) -> Result<Result<Verified, WrongCredentials>, StoreError> {
        // Only ASCII has another case here: other letters that fold into it are not the same.
        let address = address.to_ascii_lowercase();
        if !may_be_asked_for(&address) {
            return Ok(Err(WrongCredentials));
        }
        let user = find(self.database.read(), &address).await?;
        let user = user.filter(|user| user.disabled_at_ms.is_none());
        let verified = user.map(|user| Verified {
            user: UserId(user.id),
            address: user.address,
            key: None,
            key_name: String::new(),
            access: Access::Full,
            version: MaildropVersion(user.maildrop_version),
        });
        Ok(verified.ok_or(WrongCredentials))
    }
}

/// A key that is valid now, for those whom it is for.
struct FoundKey {
    user: Verified,
    hash: Vec<u8>,
    networks: Networks,
}

impl FoundKey {
    /// None if it is not for POP3.
    fn read(row: &QueryResult) -> Result<Option<Self>, StoreError> {
        let scopes: String = row.try_get_by_index(6)?;
        let Some(access) = access_of(&scopes) else {
            return Ok(None);
        };
        let networks: Option<String> = row.try_get_by_index(7)?;
        let networks = networks.unwrap_or_default().parse::<Networks>();
        Ok(Some(Self {
            user: Verified {
                user: UserId(row.try_get_by_index(0)?),
                address: row.try_get_by_index(1)?,
                version: MaildropVersion(row.try_get_by_index(2)?),
                key: Some(KeyId(row.try_get_by_index(3)?)),
                key_name: row.try_get_by_index(4)?,
                access,
            },
            hash: row.try_get_by_index(5)?,
            networks: networks.map_err(|error| sea_orm::DbErr::Custom(error.to_string()))?,
        }))
    }

    fn may_be_used_by(&self, client: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.contain(client)
    }
}

/// What these scopes allow, if anything.
fn access_of(scopes: &str) -> Option<Access> {
    let has = |wanted: &str| scopes.split(' ').any(|scope| scope == wanted);
    if has(SCOPE_POP3) {
        Some(Access::Full)
    } else {
        has(SCOPE_POP3_READ).then_some(Access::Read)
    }
}

/// The address as it is kept, and the name of the key if it is told.
fn address_and_key(name: &str) -> (String, Option<&str>) {
    match name.split_once('#') {
        Some((address, key)) => (address.to_lowercase(), Some(key)),
        None => (name.to_lowercase(), None),
    }
}

/// PostgreSQL's texts hold no NUL, so neither does an address nor the name of a key.
fn may_be_asked_for(text: &str) -> bool {
    !text.contains('\0')
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { name, .. } => f.debug_tuple("Secret").field(name).finish(),
            Self::Key(key) => f.debug_tuple("Key").field(key).finish(),
            Self::Word(address) => f.debug_tuple("Word").field(address).finish(),
        }
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
    fn a_name_may_tell_the_key() {
        assert_eq!(
            address_and_key("Ada@Example.com"),
            ("ada@example.com".into(), None)
        );
        let (address, key) = address_and_key("ada@example.com#My Phone");
        assert_eq!(
            (address.as_str(), key),
            ("ada@example.com", Some("My Phone"))
        );
    }
}
