//! Logins: users, their proofs and keys.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;

use pop3::Access;
use wire::Secret;

use super::{KeyId, UserId};

/// The proof of a client that it may open a maildrop.
#[derive(Clone)]
pub enum Proof {
    /// A secret that is to be a key of this user.
    Secret {
        /// An address of the user, and after a `#` the name of the key if it is given.
        name: String,
        /// Another address that the user must have, if it is given.
        identity: Option<String>,
        /// The secret.
        secret: Secret,
    },
    /// A key that the client has proven to know.
    Key(KeyId),
    /// Addresses that a trusted party vouches for, such as the authority of a certificate.
    TrustedAddress {
        /// The client is the user of each of these addresses; the first counts.
        addresses: Vec<String>,
        /// An address of the user who is meant instead, if it is given: of one who has one of
        /// these.
        identity: Option<String>,
    },
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { name, .. } => f.debug_tuple("Secret").field(name).finish(),
            Self::Key(key) => f.debug_tuple("Key").field(key).finish(),
            Self::TrustedAddress { addresses, .. } => {
                f.debug_tuple("TrustedAddress").field(addresses).finish()
            }
        }
    }
}

/// A user with access to their maildrop.
#[derive(Debug)]
pub struct Identified {
    /// The user, and the key.
    pub user: Verified,
    /// The state of the maildrop at this moment; none if the store does not know.
    pub revision: Option<Revision>,
    /// Keeps readable what is in the maildrop at this moment.
    pub lease: Lease,
}

/// A user who has proven who they are.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The user.
    pub user: UserId,
    /// The first of their addresses.
    pub address: String,
    /// The key; none where no key was needed.
    pub key: Option<KeyId>,
    /// The name of the key.
    pub key_name: String,
    /// The rights of the session.
    pub access: Access,
}

/// The state of a maildrop: equal as long as nothing in it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(pub u64);

/// Keeps messages readable that others delete meanwhile, until it is dropped.
pub struct Lease(
    #[expect(dead_code, reason = "it is there to be dropped")] Option<Box<dyn Any + Send + Sync>>,
);

impl Lease {
    /// Holds this until it is dropped itself.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// Holds nothing: for a store that keeps messages readable by itself.
    pub fn none() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// No such user, or nothing that opens their maildrop: the two are not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongCredentials;

/// Users and keys whose sessions may go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginStatus {
    /// Users whose login is allowed.
    pub users: HashSet<UserId>,
    /// Keys that are not revoked.
    pub keys: HashSet<KeyId>,
}

impl LoginStatus {
    /// Returns whether a session of this user, opened with this key, may go on.
    pub fn allows(&self, user: UserId, key: Option<KeyId>) -> bool {
        self.users.contains(&user) && key.is_none_or(|key| self.keys.contains(&key))
    }
}
