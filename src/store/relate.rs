//! The store of a live Relate Mail database.
//!
//! Relate Mail's SMTP server, REST API and web page write users, keys and mail; Restante serves the
//! maildrops. It keeps a message taken apart, so its octets are composed. What has to stay the same
//! for clients (unique-ids, sizes, the To and Cc lines) is stored in the schema `restante`, and
//! Relate's tables are neither altered nor locked.

mod composing;
mod composition;
mod deletion;
mod grants;
mod linking;
mod listing;
mod maildrop;
mod schema;
mod unique_ids;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pop3::Candidates;
use sea_orm::prelude::Uuid;

use super::login::{Identified, Lease, LoginStatus, Proof, WrongCredentials};
use super::traits::{MailStore, Maildrop, Store};
use super::unsupported::Unsupported;
use super::{Database, KeyId, StoreError, UserId};
use crate::accounts::relate::RelateAccounts;
use crate::settings::RelateDelete;
use upkeep::Rounds;

use composition::VERSION as COMPOSITION_VERSION;

/// How many messages a session sees unless a setting says so, as the server that Restante replaces
/// had it: with more, clients would fetch what they have never been shown.
const DEFAULT_MAX_MESSAGES: u32 = 1000;

/// Maildrops of a Relate Mail database.
#[derive(Debug, Clone)]
pub(crate) struct RelateStore {
    database: Database,
    accounts: RelateAccounts,
    delete: RelateDelete,
    /// The users whose maildrops were opened since the start.
    users: Arc<Mutex<HashSet<Uuid>>>,
    rounds: Arc<Rounds>,
}

impl RelateStore {
    /// Serves this database, whose schema `restante` is up to date.
    pub(crate) fn new(database: Database, delete: RelateDelete) -> Self {
        Self {
            accounts: RelateAccounts::new(database.clone()),
            database,
            delete,
            users: Arc::default(),
            rounds: Arc::default(),
        }
    }

    /// Returns the database.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Returns its users and keys.
    pub(crate) fn accounts(&self) -> &RelateAccounts {
        &self.accounts
    }
}

impl From<RelateStore> for Store {
    fn from(store: RelateStore) -> Self {
        Self {
            directory: Arc::new(store.accounts.clone()),
            // Mail comes in by Relate's own SMTP server.
            intake: Arc::new(Unsupported),
            mail: Arc::new(store.clone()),
            upkeep: Arc::new(store),
            default_max_messages: DEFAULT_MAX_MESSAGES,
        }
    }
}

#[async_trait]
impl MailStore for RelateStore {
    async fn identify(
        &self,
        proof: &Proof,
        _: IpAddr,
    ) -> Result<Result<Identified, WrongCredentials>, StoreError> {
        let identified = self.accounts.identify(proof).await?;
        Ok(identified.map(|user| Identified {
            user,
            // A maildrop has no version there, so it is read at each login.
            revision: None,
            lease: Lease::none(),
        }))
    }

    async fn open(&self, user: UserId, limit: u32) -> Result<Arc<dyn Maildrop>, StoreError> {
        Ok(Arc::new(self.open_maildrop(uuid(user), limit).await?))
    }

    async fn candidates(
        &self,
        name: &str,
        identity: Option<&str>,
        _: IpAddr,
    ) -> Result<Candidates, StoreError> {
        self.accounts.candidates(name, identity).await
    }

    async fn login_status(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError> {
        self.accounts.login_status(users, keys).await
    }

    async fn note_key_use(&self, ages: &HashMap<KeyId, Duration>) -> Result<(), StoreError> {
        self.accounts.note_key_use(ages).await
    }
}

fn uuid(user: UserId) -> Uuid {
    Uuid::from_u128(user.get())
}
