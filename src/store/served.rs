//! Our own schema as a server uses it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pop3::Candidates;

use super::login::{Identified, Lease, LoginStatus, Proof, Revision, WrongCredentials};
use super::open_maildrop::OpenMaildrop;
use super::traits::{
    Condition, Directory, IncomingMessage, MailIntake, MailStore, Maildrop, Store, Upkeep,
};
use super::{
    Addressee, Delivered, Delivery, GcReport, Intake, KeyId, MessageWriter, Recipient, SqlStore,
    StoreError, UserId,
};
use crate::accounts::{AccountError, Accounts, Key, KeyOptions, NewKey, Quota, QuotaChange, User};

impl From<SqlStore> for Store {
    fn from(store: SqlStore) -> Self {
        let directory = Arc::new(store.accounts.clone());
        let store = Arc::new(store);
        Self {
            mail: store.clone(),
            intake: store.clone(),
            directory,
            upkeep: store,
            default_max_messages: 0,
        }
    }
}

#[async_trait]
impl MailStore for SqlStore {
    async fn identify(
        &self,
        proof: &Proof,
        client: IpAddr,
    ) -> Result<Result<Identified, WrongCredentials>, StoreError> {
        let identified = self.accounts.identify(proof, client).await?;
        Ok(identified.map(|(user, version)| Identified {
            revision: Some(Revision(version.0.unsigned_abs())),
            lease: Lease::new(self.lease(user.user, version)),
            user,
        }))
    }

    async fn open(&self, user: UserId, limit: u32) -> Result<Arc<dyn Maildrop>, StoreError> {
        let rows = Self::open(self, user, limit).await?;
        let store = self.clone();
        Ok(Arc::new(OpenMaildrop { rows, store }))
    }

    async fn candidates(
        &self,
        name: &str,
        identity: Option<&str>,
        client: IpAddr,
    ) -> Result<Candidates, StoreError> {
        self.accounts.candidates(name, identity, client).await
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

#[async_trait]
impl MailIntake for SqlStore {
    async fn find_recipient(&self, addresses: &[String]) -> Result<Option<Addressee>, StoreError> {
        match self.accounts.first_addressee(addresses).await {
            Ok(addressee) => Ok(Some(addressee)),
            Err(AccountError::NoSuchUser(_) | AccountError::NotAnAddress(_)) => Ok(None),
            Err(AccountError::Database(error)) => Err(error.into()),
            // A failure must not become a permanent refusal of the mail.
            Err(error) => Err(StoreError::Other(Box::new(error))),
        }
    }

    async fn has_room_for(&self, octets: u64) -> bool {
        self.database.has_room_for(octets).await
    }

    fn new_message(&self) -> Box<dyn IncomingMessage> {
        Box::new(SqlMessage {
            writer: MessageWriter::new(self.database.clone()),
            intake: self.intake.clone(),
        })
    }

    fn is_full(&self, error: &StoreError) -> bool {
        self.database.is_disk_full(error)
    }
}

/// A message that is arriving, with what will store it.
struct SqlMessage {
    writer: MessageWriter,
    intake: Intake,
}

#[async_trait]
impl IncomingMessage for SqlMessage {
    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.writer.write(octets).await
    }

    async fn deliver(
        self: Box<Self>,
        recipients: Vec<Recipient>,
    ) -> Result<Delivered, Arc<StoreError>> {
        let message = self.writer.finish();
        let delivery = Delivery {
            message,
            recipients,
        };
        self.intake.deliver(delivery).await
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        let (intake, message) = (self.intake, self.writer.finish());
        intake.database().abandon(&message).await
    }
}

#[async_trait(?Send)]
impl Directory for Accounts {
    async fn find(&self, address: &str) -> Result<UserId, AccountError> {
        Self::find(self, address).await
    }

    async fn users(&self) -> Result<Vec<User>, AccountError> {
        self.list().await
    }

    async fn add(
        &self,
        address: &str,
        aliases: &[String],
        quota: Quota,
    ) -> Result<UserId, AccountError> {
        self.add_with_quota(address, aliases, quota).await
    }

    async fn remove(&self, address: &str) -> Result<UserId, AccountError> {
        Self::remove(self, address).await
    }

    async fn set_disabled(&self, address: &str, disabled: bool) -> Result<(), AccountError> {
        Self::set_disabled(self, address, disabled).await
    }

    async fn set_quota(&self, address: &str, change: QuotaChange) -> Result<(), AccountError> {
        Self::set_quota(self, address, change).await
    }

    async fn keys(&self, address: &str) -> Result<Vec<Key>, AccountError> {
        Self::keys(self, address).await
    }

    async fn create_key(&self, address: &str, options: KeyOptions) -> Result<NewKey, AccountError> {
        Self::create_key(self, address, options).await
    }

    async fn revoke_key(&self, key: KeyId) -> Result<(), AccountError> {
        Self::revoke_key(self, key).await
    }
}

#[async_trait]
impl Upkeep for SqlStore {
    async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        Self::collect_garbage(self).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.database.ping().await?)
    }

    async fn condition(&self) -> Condition {
        Condition {
            is_full: self.database.disk().is_some_and(|disk| disk.is_full),
            is_low: !self.database.has_room_for(0).await,
            is_damaged: self.database.is_damaged(),
            clock: self.clock_guard.verdict(),
        }
    }

    fn note_fault(&self, error: &StoreError) {
        self.database.note_damage(error);
    }

    async fn close(&self) -> Result<(), StoreError> {
        let left = self.leave().await;
        self.database.clone().close().await?;
        left
    }
}
