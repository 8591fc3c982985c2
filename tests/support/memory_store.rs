//! A store that keeps mail in memory: what an implementation by a stranger looks like.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pop3::{Access, Candidates, MessageNumber, Snapshot};
use restante::store::{
    Cursor, Identified, KeyId, Lease, LoginStatus, MailStore, Maildrop, Piece, Proof, StoreError,
    UserId, Verified, WrongCredentials,
};

/// Users with their mail.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryStore(Arc<Mutex<Vec<User>>>);

#[derive(Debug)]
struct User {
    address: String,
    secret: String,
    /// What each message is called, and what it says.
    messages: Vec<(String, Bytes)>,
    arrived: usize,
    /// Deletions are done, and their answers lost.
    loses_answers: bool,
}

impl MemoryStore {
    /// Adds a user who logs in with this secret.
    pub(crate) fn add(&self, address: &str, secret: &str) -> UserId {
        let mut users = self.0.lock().unwrap();
        users.push(User {
            address: address.into(),
            secret: secret.into(),
            messages: Vec::new(),
            arrived: 0,
            loses_answers: false,
        });
        UserId::new(users.len() as u128)
    }

    /// Gives a user a message.
    pub(crate) fn deliver(&self, user: UserId, message: &[u8]) {
        self.with(user, |user| {
            user.arrived += 1;
            let unique_id = format!("message-{}", user.arrived);
            let message = Bytes::copy_from_slice(message);
            user.messages.push((unique_id, message));
        });
    }

    /// From now on the answers to this user's deletions are lost.
    pub(crate) fn lose_answers(&self, user: UserId) {
        self.with(user, |user| user.loses_answers = true);
    }

    fn with<T: Default>(&self, user: UserId, look: impl FnOnce(&mut User) -> T) -> T {
        let mut users = self.0.lock().unwrap();
        let index = usize::try_from(user.get()).unwrap().wrapping_sub(1);
        users.get_mut(index).map(look).unwrap_or_default()
    }

    fn identified(&self, is: impl Fn(&User) -> bool) -> Result<Identified, WrongCredentials> {
        let users = self.0.lock().unwrap();
        let index = users.iter().position(is).ok_or(WrongCredentials)?;
        Ok(Identified {
            user: Verified {
                user: UserId::new(index as u128 + 1),
                address: users[index].address.clone(),
                key: None,
                key_name: "secret".into(),
                access: Access::Full,
            },
            revision: None,
            lease: Lease::none(),
        })
    }
}

#[async_trait]
impl MailStore for MemoryStore {
    async fn identify(
        &self,
        proof: &Proof,
        _: IpAddr,
    ) -> Result<Result<Identified, WrongCredentials>, StoreError> {
        Ok(match proof {
            Proof::Secret { name, secret, .. } => self.identified(|user| {
                user.address == *name && user.secret.as_bytes() == secret.expose()
            }),
            Proof::TrustedAddress { addresses, .. } => {
                self.identified(|user| addresses.contains(&user.address))
            }
            Proof::Key(_) => Err(WrongCredentials),
        })
    }

    async fn open(&self, user: UserId, limit: u32) -> Result<Arc<dyn Maildrop>, StoreError> {
        let all = self.with(user, |user| user.messages.clone());
        let hidden = match limit {
            0 => 0,
            limit => all.len().saturating_sub(limit as usize),
        };
        let messages = all[hidden..].to_vec();
        let mut snapshot = Snapshot::default();
        for (unique_id, message) in &messages {
            snapshot.push(message.len() as u64, unique_id).unwrap();
        }
        snapshot.hide(hidden as u64);
        Ok(Arc::new(OpenMaildrop {
            user,
            store: self.clone(),
            snapshot: Arc::new(snapshot),
            messages,
        }))
    }

    async fn candidates(
        &self,
        _: &str,
        _: Option<&str>,
        _: IpAddr,
    ) -> Result<Candidates, StoreError> {
        Err(StoreError::Unsupported)
    }

    async fn login_status(
        &self,
        users: &HashSet<UserId>,
        _: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError> {
        let exists = |user: &&UserId| self.with(**user, |_| true);
        Ok(LoginStatus {
            users: users.iter().filter(exists).copied().collect(),
            keys: HashSet::new(),
        })
    }

    async fn note_key_use(&self, _: &HashMap<KeyId, Duration>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// It has its own copy of what it holds, so deletions do not take octets away.
#[derive(Debug)]
struct OpenMaildrop {
    user: UserId,
    store: MemoryStore,
    snapshot: Arc<Snapshot>,
    messages: Vec<(String, Bytes)>,
}

#[async_trait]
impl Maildrop for OpenMaildrop {
    fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    fn memory_octets(&self) -> usize {
        self.snapshot.memory_octets()
    }

    async fn read_first(
        &self,
        messages: &[MessageNumber],
    ) -> Result<Vec<Option<Piece>>, StoreError> {
        let mut pieces = Vec::new();
        for message in messages {
            pieces.push(self.read(*message, Cursor::START, 128 * 1024).await.ok());
        }
        Ok(pieces)
    }

    async fn read(
        &self,
        message: MessageNumber,
        Cursor(from): Cursor,
        max_octets: u32,
    ) -> Result<Piece, StoreError> {
        let (_, octets) = self.messages.get(message.index()).ok_or(StoreError::Gone)?;
        let from = usize::try_from(from).unwrap().min(octets.len());
        let end = (from + max_octets as usize).min(octets.len());
        Ok(Piece {
            octets: vec![octets.slice(from..end)],
            next: Cursor(end as u64),
        })
    }

    async fn delete(&self, messages: &[MessageNumber], _: &str) -> Result<usize, StoreError> {
        let deleted: HashSet<_> = messages
            .iter()
            .filter_map(|message| Some(&self.messages.get(message.index())?.0))
            .collect();
        let (deleted, is_lost) = self.store.with(self.user, |user| {
            let before = user.messages.len();
            user.messages
                .retain(|(unique_id, _)| !deleted.contains(unique_id));
            (before - user.messages.len(), user.loses_answers)
        });
        if is_lost {
            return Err(StoreError::Other("the answer was lost".into()));
        }
        Ok(deleted)
    }
}
