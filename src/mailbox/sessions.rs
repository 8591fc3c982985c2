//! Logins: who it is, and what is in their maildrop.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use pop3::Candidates;

use super::snapshots::SnapshotLookup;
use super::{MailService, Query};
use crate::accounts::normalize_or_lower;
use crate::store::{
    Identified, KeyId, Lease, LoginStatus, Maildrop, Proof, Revision, StoreError, UserId, Verified,
    WrongCredentials,
};

/// Finds out whose maildrop a client may open.
#[derive(Debug, Clone)]
pub(crate) struct Identify {
    /// The client's proof.
    pub proof: Proof,
    /// The client's address.
    pub client: IpAddr,
}

/// A user whose maildrop may be opened.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    /// The user.
    pub user: Verified,
    /// The maildrop, if it has not changed since it was last opened.
    pub maildrop: Option<Arc<dyn Maildrop>>,
    /// Keeps readable what is in the maildrop now.
    pub lease: Lease,
    /// The state of the maildrop now.
    pub revision: Option<Revision>,
}

impl Query for Identify {
    type Answer = Result<Result<LoggedIn, WrongCredentials>, StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let Self { proof, client } = self;
        let proof = if service.require_authentication {
            proof
        } else {
            trusting(proof)
        };
        let identify = async || service.store.mail.identify(&proof, client).await;
        let Identified {
            user,
            revision,
            lease,
        } = match service.ask("looking up a key", identify).await? {
            Ok(identified) => identified,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let maildrop =
            revision.and_then(|revision| service.memory().snapshots.get(user.user, revision));
        Ok(Ok(LoggedIn {
            user,
            maildrop,
            lease,
            revision,
        }))
    }
}

/// Takes the name that comes with a secret for proven.
fn trusting(proof: Proof) -> Proof {
    match proof {
        Proof::Secret { name, identity, .. } => {
            let address = name.split('#').next().unwrap_or_default();
            Proof::TrustedAddress {
                addresses: vec![normalize_or_lower(address)],
                identity,
            }
        }
        Proof::Key(_) | Proof::TrustedAddress { .. } => proof,
    }
}

/// Finds the keys that a client may prove by SCRAM.
#[derive(Debug, Clone)]
pub(crate) struct FindCandidates {
    /// An address of the user, and after a `#` the name of the key if it is given.
    pub name: String,
    /// Another address that the user must have, if it is given.
    pub identity: Option<String>,
    /// The client's address.
    pub client: IpAddr,
}

impl Query for FindCandidates {
    type Answer = Result<Candidates, StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let find = async || {
            let identity = self.identity.as_deref();
            let mail = &service.store.mail;
            mail.candidates(&self.name, identity, self.client).await
        };
        service.ask("looking up verifiers", find).await
    }
}

/// Notes that a login has succeeded with this key. It will be recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyUsed(pub KeyId);

impl Query for KeyUsed {
    type Answer = ();

    async fn run(self, service: Arc<MailService>) {
        service.memory().used_keys.insert(self.0, Instant::now());
    }
}

/// Opens a maildrop, or finds it in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenMaildrop {
    /// The user.
    pub user: UserId,
    /// The state that it had when the user was identified.
    pub revision: Option<Revision>,
}

impl Query for OpenMaildrop {
    type Answer = Result<Arc<dyn Maildrop>, Arc<StoreError>>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let Some(revision) = self.revision else {
            return service.open(self.user).await;
        };
        let found = service.memory().snapshots.find(self.user, revision);
        let opening = match found {
            SnapshotLookup::Read(maildrop) => return Ok(maildrop),
            SnapshotLookup::Unread(opening) => opening,
        };
        let open = async || {
            let maildrop = service.open(self.user).await?;
            // It may be newer than the revision, never older: then the next login reads it again.
            let mut memory = service.memory();
            memory.snapshots.insert(self.user, revision, &maildrop);
            Ok(maildrop)
        };
        // Logins that come at the same time read it once.
        opening.get_or_init(open).await.clone()
    }
}

impl MailService {
    async fn open(&self, user: UserId) -> Result<Arc<dyn Maildrop>, Arc<StoreError>> {
        let open = async || self.store.mail.open(user, self.max_messages).await;
        let opened = self.ask("opening a maildrop", open).await;
        let maildrop = opened.map_err(Arc::new)?;
        self.metrics.maildrop_read();
        Ok(maildrop)
    }
}

/// Finds out which sessions of these users and keys may go on.
#[derive(Debug, Clone)]
pub(crate) struct CheckLogins {
    /// The users of live sessions.
    pub users: HashSet<UserId>,
    /// The keys that they were opened with.
    pub keys: HashSet<KeyId>,
}

impl Query for CheckLogins {
    type Answer = Result<LoginStatus, StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let check = async || {
            service
                .store
                .mail
                .login_status(&self.users, &self.keys)
                .await
        };
        service.ask("looking for revoked keys", check).await
    }
}
