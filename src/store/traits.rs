//! The traits of a store.
//!
//! A store for another schema implements [`MailStore`] and [`Maildrop`] to serve POP3 sessions. To
//! take mail in it also implements [`MailIntake`] and [`IncomingMessage`], for the admin endpoint
//! [`Directory`], and [`Upkeep`] if it has work to do beside its queries. [`Store`] has them all,
//! and what a store does not implement is refused.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pop3::{Candidates, MessageNumber, Snapshot};

use super::clock_guard::ClockVerdict;
use super::login::{Identified, LoginStatus, Proof, WrongCredentials};
use super::{Addressee, Delivered, GcReport, KeyId, Recipient, StoreError, UserId};
use crate::accounts::{AccountError, Key, KeyOptions, NewKey, Quota, QuotaChange, User};

/// At most so many octets of a message come with [`Maildrop::read_first`].
pub const FIRST_READ_OCTETS: u64 = 128 * 1024;

/// Maildrops, for POP3 sessions.
#[async_trait]
pub trait MailStore: Send + Sync {
    /// Finds out whose maildrop a client at this address may open.
    ///
    /// # Errors
    /// If the store fails.
    async fn identify(
        &self,
        proof: &Proof,
        client: IpAddr,
    ) -> Result<Result<Identified, WrongCredentials>, StoreError>;

    /// Opens a maildrop with its newest messages, at most `limit` of them; 0 means all. Its
    /// snapshot holds the number of older ones.
    ///
    /// It reads no message.
    ///
    /// # Errors
    /// If the store fails.
    async fn open(&self, user: UserId, limit: u32) -> Result<Arc<dyn Maildrop>, StoreError>;

    /// Returns the keys that a client at this address may prove by SCRAM: those of the user of
    /// `name` that it could log in with, or the one of `address#key`. There are none if `identity`
    /// is given and is no address of that user.
    ///
    /// # Errors
    /// If the store fails.
    async fn candidates(
        &self,
        name: &str,
        identity: Option<&str>,
        client: IpAddr,
    ) -> Result<Candidates, StoreError>;

    /// Returns which of these users and keys may still log in.
    ///
    /// # Errors
    /// If the store fails.
    async fn login_status(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError>;

    /// Records how long ago keys were last used.
    ///
    /// # Errors
    /// If the store refuses.
    async fn note_key_use(&self, ages: &HashMap<KeyId, Duration>) -> Result<(), StoreError>;
}

/// A maildrop as it was when it was opened. Every method is one transaction.
#[async_trait]
pub trait Maildrop: fmt::Debug + Send + Sync {
    /// Returns its messages, as the session numbers them.
    fn snapshot(&self) -> &Arc<Snapshot>;

    /// Returns how many octets of memory it takes, with its snapshot.
    fn memory_octets(&self) -> usize;

    /// Reads the beginnings of several messages, of each at most [`FIRST_READ_OCTETS`] and what
    /// this user's copy alone has in front. None stands for a message that is gone.
    ///
    /// # Errors
    /// If the store fails.
    async fn read_first(
        &self,
        messages: &[MessageNumber],
    ) -> Result<Vec<Option<Piece>>, StoreError>;

    /// Reads on in one message: at least one octet and about `max_octets`, or nothing at its end.
    ///
    /// # Errors
    /// [`StoreError::Gone`] if the message is gone; else if the store fails.
    async fn read(
        &self,
        message: MessageNumber,
        from: Cursor,
        max_octets: u32,
    ) -> Result<Piece, StoreError>;

    /// Deletes these messages, all or none, durably. The name of the session is kept with them, as
    /// long as they can be brought back.
    ///
    /// Returns how many of them were still there. A message that is already gone is no error, so
    /// that asking twice is the same as once. A session that holds a [`Lease`](super::Lease) can
    /// still read what it has open.
    ///
    /// # Errors
    /// If the store fails; then nothing is deleted, unless the error is one of
    /// [`StoreError::is_uncertain`].
    async fn delete(&self, messages: &[MessageNumber], session: &str) -> Result<usize, StoreError>;

    /// Returns true if the store wants to know which messages were retrieved.
    fn tracks_retrieval(&self) -> bool {
        false
    }

    /// Notes that RETR has sent these messages whole.
    ///
    /// # Errors
    /// If the store refuses.
    async fn mark_retrieved(&self, messages: &[MessageNumber]) -> Result<(), StoreError> {
        let _ = messages;
        Ok(())
    }
}

/// Some octets of a message.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Piece {
    /// They come one after the other.
    pub octets: Vec<Bytes>,
    /// The position behind it.
    pub next: Cursor,
}

impl Piece {
    /// Returns how many octets it has.
    pub fn len(&self) -> u64 {
        self.octets.iter().map(|octets| octets.len() as u64).sum()
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.octets.iter().all(Bytes::is_empty)
    }
}

/// A position in a message. Its meaning is up to the store that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(pub u64);

impl Cursor {
    /// The first octet.
    pub const START: Self = Self(0);
}

/// Intake of mail, for LMTP sessions.
#[async_trait]
pub trait MailIntake: Send + Sync {
    /// Finds the user whom mail for the first of these addresses reaches that belongs to someone.
    ///
    /// # Errors
    /// If the store fails.
    async fn find_recipient(&self, addresses: &[String]) -> Result<Option<Addressee>, StoreError>;

    /// Returns whether there is room for a message of so many octets.
    async fn has_room_for(&self, octets: u64) -> bool;

    /// Begins to take a message in.
    fn new_message(&self) -> Box<dyn IncomingMessage>;

    /// Returns whether an error says that the store is full.
    fn is_full(&self, error: &StoreError) -> bool;
}

/// A message that is arriving. It is stored whole, or not at all.
#[async_trait]
pub trait IncomingMessage: Send {
    /// Takes the next octets, as they came.
    ///
    /// # Errors
    /// If the store refuses the pieces of a large message.
    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError>;

    /// Stores the message for its recipients; returns what became of each copy, in their order.
    ///
    /// It goes on when the caller has gone.
    ///
    /// # Errors
    /// If the store refuses; then nothing is stored, unless the error is one of
    /// [`StoreError::is_uncertain`].
    async fn deliver(
        self: Box<Self>,
        recipients: Vec<Recipient>,
    ) -> Result<Delivered, Arc<StoreError>>;

    /// Throws away what has arrived.
    ///
    /// # Errors
    /// If the store refuses; then it goes when it expires.
    async fn discard(self: Box<Self>) -> Result<(), StoreError>;
}

/// Users and their keys, for the admin endpoint. Its futures stay on the thread of
/// the actor that asks.
///
/// An address names its user in any spelling, and so does an alias. A change is made whole and
/// durably, or not at all.
#[async_trait(?Send)]
pub trait Directory: Send + Sync {
    /// Returns the user of this address.
    ///
    /// # Errors
    /// If no user has it, or the store fails.
    async fn find(&self, address: &str) -> Result<UserId, AccountError>;

    /// Returns all users, by address.
    ///
    /// # Errors
    /// If the store fails.
    async fn users(&self) -> Result<Vec<User>, AccountError>;

    /// Adds a user with an empty maildrop.
    ///
    /// # Errors
    /// If an address is malformed or taken, the quota is too large, or the store refuses.
    async fn add(
        &self,
        address: &str,
        aliases: &[String],
        quota: Quota,
    ) -> Result<UserId, AccountError>;

    /// Removes a user with their keys and mail, and returns which one it was. The addresses are
    /// free at once. An open session can still read what it sees.
    ///
    /// # Errors
    /// If there is no such user, or the store refuses.
    async fn remove(&self, address: &str) -> Result<UserId, AccountError>;

    /// Disables a user, who then gets mail and cannot log in, or enables one again.
    ///
    /// # Errors
    /// If there is no such user, or the store refuses.
    async fn set_disabled(&self, address: &str, disabled: bool) -> Result<(), AccountError>;

    /// Changes the limits of a maildrop. Mail that is there stays, even if it is more.
    ///
    /// # Errors
    /// If there is no such user, a limit is too large, or the store refuses.
    async fn set_quota(&self, address: &str, change: QuotaChange) -> Result<(), AccountError>;

    /// Returns the keys of a user, the oldest first, with those that are expired or revoked.
    ///
    /// # Errors
    /// If there is no such user, or the store fails.
    async fn keys(&self, address: &str) -> Result<Vec<Key>, AccountError>;

    /// Makes a key. The answer is the only one that has its secret.
    ///
    /// # Errors
    /// If there is no such user, the name or a scope is not possible, the key would open nothing,
    /// or the store refuses.
    async fn create_key(&self, address: &str, options: KeyOptions) -> Result<NewKey, AccountError>;

    /// Revokes a key, by which nobody can log in any more.
    ///
    /// # Errors
    /// If there is no such key, it is revoked already, or the store refuses.
    async fn revoke_key(&self, key: KeyId) -> Result<(), AccountError>;
}

/// Periodic work of a store, and its condition.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Removes what no session can read any more, and what has expired; to be called every
    /// [`GC_INTERVAL`](super::GC_INTERVAL).
    ///
    /// # Errors
    /// If the store fails; the next call goes on.
    async fn collect_garbage(&self) -> Result<GcReport, StoreError>;

    /// Reads and writes as little as shows that both work.
    ///
    /// # Errors
    /// If one does not.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Returns what an operator should see to although the store answers.
    async fn condition(&self) -> Condition;

    /// Remembers a fault that says something of the store itself, such as that it is damaged.
    fn note_fault(&self, error: &StoreError);

    /// Announces to other servers that this one has ended, and closes the store.
    ///
    /// # Errors
    /// If the store refuses; the others will notice after a while.
    async fn close(&self) -> Result<(), StoreError>;
}

/// Problems of a store that an operator should see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// Writing has failed because the disk is full.
    pub is_full: bool,
    /// There is too little room for mail to be taken in.
    pub is_low: bool,
    /// Something was found that the store can't have written.
    pub is_damaged: bool,
    /// True if the clock can be trusted.
    pub clock: ClockVerdict,
}

/// The parts of one store.
#[derive(Clone)]
pub struct Store {
    /// For POP3 sessions.
    pub mail: Arc<dyn MailStore>,
    /// For LMTP sessions.
    pub intake: Arc<dyn MailIntake>,
    /// For the admin endpoint.
    pub directory: Arc<dyn Directory>,
    /// For the server itself.
    pub upkeep: Arc<dyn Upkeep>,
    /// How many messages of a maildrop a session sees unless a setting says so, the newest; 0 is
    /// all.
    pub default_max_messages: u32,
}

impl Store {
    /// Makes a store that serves maildrops and does nothing else.
    pub fn of_maildrops(mail: Arc<dyn MailStore>) -> Self {
        let unsupported = Arc::new(super::unsupported::Unsupported);
        Self {
            mail,
            intake: unsupported.clone(),
            directory: unsupported.clone(),
            upkeep: unsupported,
            default_max_messages: 0,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
