//! From credentials to an open maildrop.

use std::sync::Arc;

use wire::Secret;

use super::Authorization;
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;

/// The number of failed logins that ends a session.
pub const MAX_LOGIN_FAILURES: u32 = 3;

/// A login that waits for the verdict on its credentials.
#[derive(Debug)]
#[must_use = "the client waits for the answer to its login"]
pub struct Login {
    credentials: Credentials,
    state: Authorization,
}

/// The credentials of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A secret, by USER and PASS, PLAIN or LOGIN.
    Secret {
        /// The user, and after a `#` the name of the key if it is given.
        name: String,
        /// The address of the user whose maildrop is to be opened, if it is given.
        identity: Option<String>,
        /// Their key or password.
        secret: Secret,
    },
    /// A valid proof by SCRAM.
    Proven {
        /// The user.
        name: String,
        /// The key that was proven.
        key: u128,
    },
    /// A wrong proof by SCRAM.
    Disproven {
        /// The user that the client claims to be.
        name: String,
    },
    /// The certificate of the TLS handshake.
    Certificate {
        /// The address of the certificate that is meant, if it is given.
        name: Option<String>,
    },
}

impl Credentials {
    /// The user that the client claims to be, if it says so.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Secret { name, .. } | Self::Proven { name, .. } | Self::Disproven { name } => {
                Some(name)
            }
            Self::Certificate { name } => name.as_deref(),
        }
    }
}

/// The access of a session to its maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read messages and delete them.
    Full,
    /// Read messages.
    Read,
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Unknown user or wrong credentials; the client is not told which.
    Credentials,
    /// The user has as many sessions as allowed.
    TooManySessions,
    /// The credentials could not be verified, or the maildrop not opened.
    Unavailable,
}

impl Login {
    pub(super) fn new(credentials: Credentials, state: Authorization) -> Self {
        Self { credentials, state }
    }

    /// The credentials to verify.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The maildrop is open: TRANSACTION begins.
    pub fn granted(self, snapshot: Arc<Snapshot>, access: Access) -> (Reply, Transaction) {
        let transaction = Transaction::new(self.state.policy, access, snapshot);
        let (messages, octets) = transaction.unmarked();
        let hidden = transaction.hidden();
        let reply = Reply::ok(format_args!(
            "maildrop has {messages} messages ({octets} octets){hidden}"
        ));
        (reply, transaction)
    }

    /// The session stays in AUTHORIZATION; it has ended after too many failures.
    pub fn refused(self, why: LoginRefusal) -> (Reply, Option<Authorization>) {
        let mut state = self.state;
        let reply = match why {
            LoginRefusal::Credentials => {
                state.login_failures += 1;
                Reply::coded(ResponseCode::Auth, failure(&self.credentials))
            }
            LoginRefusal::TooManySessions => Reply::coded(
                ResponseCode::InUse,
                "too many sessions of this user: close one or try again later",
            ),
            LoginRefusal::Unavailable => unavailable(),
        };
        let goes_on = state.login_failures < MAX_LOGIN_FAILURES;
        (reply, goes_on.then_some(state))
    }
}

fn failure(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::Certificate { .. } => "no user has the address of this certificate",
        Credentials::Secret { .. } | Credentials::Proven { .. } | Credentials::Disproven { .. } => {
            "authentication failed"
        }
    }
}

pub(super) fn unavailable() -> Reply {
    Reply::coded(
        ResponseCode::SysTemp,
        "cannot open the maildrop now, try again later",
    )
}
