//! Features that a store does not implement.

use std::sync::Arc;

use async_trait::async_trait;

use super::traits::{Condition, Directory, IncomingMessage, MailIntake, Upkeep};
use super::{Addressee, Delivered, GcReport, KeyId, Recipient, StoreError, UserId};
use crate::accounts::{AccountError, Key, KeyOptions, NewKey, Quota, QuotaChange, User};

/// Refuses mail and changes of users, and has no upkeep.
pub(super) struct Unsupported;

#[async_trait]
impl MailIntake for Unsupported {
    async fn find_recipient(&self, _: &[String]) -> Result<Option<Addressee>, StoreError> {
        Err(StoreError::Unsupported)
    }

    async fn has_room_for(&self, _: u64) -> bool {
        false
    }

    fn new_message(&self) -> Box<dyn IncomingMessage> {
        Box::new(Self)
    }

    fn is_full(&self, _: &StoreError) -> bool {
        false
    }
}

#[async_trait]
impl IncomingMessage for Unsupported {
    async fn write(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Unsupported)
    }

    async fn deliver(self: Box<Self>, _: Vec<Recipient>) -> Result<Delivered, Arc<StoreError>> {
        Err(Arc::new(StoreError::Unsupported))
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait(?Send)]
impl Directory for Unsupported {
    async fn find(&self, _: &str) -> Result<UserId, AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn users(&self) -> Result<Vec<User>, AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn add(&self, _: &str, _: &[String], _: Quota) -> Result<UserId, AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn remove(&self, _: &str) -> Result<UserId, AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn set_disabled(&self, _: &str, _: bool) -> Result<(), AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn set_quota(&self, _: &str, _: QuotaChange) -> Result<(), AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn keys(&self, _: &str) -> Result<Vec<Key>, AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn create_key(&self, _: &str, _: KeyOptions) -> Result<NewKey, AccountError> {
        Err(AccountError::Unsupported)
    }

    async fn revoke_key(&self, _: KeyId) -> Result<(), AccountError> {
        Err(AccountError::Unsupported)
    }
}

#[async_trait]
impl Upkeep for Unsupported {
    async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        Ok(GcReport::default())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn condition(&self) -> Condition {
        Condition::default()
    }

    fn note_fault(&self, _: &StoreError) {}

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
