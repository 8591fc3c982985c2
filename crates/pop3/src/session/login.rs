//! From credentials to an open maildrop, whichever way they came.

use std::sync::Arc;

use super::Session;
use super::authorization::Authorization;
use super::transaction::Transaction;
use crate::reply::{Reply, ResponseCode};
use crate::snapshot::Snapshot;
use wire::Secret;

/// After so many wrong credentials the session ends.
pub const MAX_LOGIN_FAILURES: u32 = 3;

/// Credentials that wait for an answer.
#[derive(Debug)]
pub struct Login {
    credentials: Credentials,
    authorization: Authorization,
}

/// What a client has shown to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A secret, by USER and PASS, PLAIN or LOGIN.
    Secret {
        /// The user, and after a `#` the name of the key if it is told.
        name: String,
        /// An address of the user whose maildrop is to be opened, if it is told.
        identity: Option<String>,
        /// What must be a key of theirs.
        secret: Secret,
    },
    /// A proof by SCRAM that was good.
    Proven {
        /// Who it was.
        name: String,
        /// The key of the candidates that the proof has fitted.
        key: i64,
    },
    /// A proof by SCRAM that was wrong.
    Disproven {
        /// Who it was to be.
        name: String,
    },
    /// The certificate that the client has shown in its TLS handshake.
    Certificate {
        /// Which of the certificate's addresses is meant, if the client says so.
        name: Option<String>,
    },
}

impl Credentials {
    /// Who the client says it is, if it does.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Secret { name, .. } | Self::Proven { name, .. } | Self::Disproven { name } => {
                Some(name)
            }
            Self::Certificate { name } => name.as_deref(),
        }
    }
}

/// What a session may do with its maildrop.
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
    /// No such user, or not what opens their maildrop: which of them is not told.
    Credentials,
    /// As many sessions as allowed have this maildrop open.
    TooManySessions,
    /// It could not be found out.
    Unavailable,
}

impl Login {
    pub(super) fn new(credentials: Credentials, mut authorization: Authorization) -> Self {
        authorization.bad_commands = 0;
        Self {
            credentials,
            authorization,
        }
    }

    /// What the client has shown.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The maildrop is open: TRANSACTION begins.
    pub fn granted(self, snapshot: Arc<Snapshot>, access: Access) -> (Reply, Session) {
        let transaction = Transaction::new(self.authorization.policy, access, snapshot);
        let (messages, octets) = transaction.unmarked();
        let reply = Reply::ok(format_args!(
            "your maildrop has {messages} messages ({octets} octets){}",
            transaction.hidden()
        ));
        (reply, Session::Transaction(transaction))
    }

    /// The session stays in AUTHORIZATION, or there is none any more after too many failures.
    pub fn refused(self, why: LoginRefusal) -> (Reply, Option<Session>) {
        let mut authorization = self.authorization;
        let reply = match why {
            LoginRefusal::Credentials => {
                authorization.login_failures += 1;
                let wrong = match self.credentials {
                    Credentials::Certificate { .. } => "the certificate is for no user here",
                    Credentials::Secret { .. }
                    | Credentials::Proven { .. }
                    | Credentials::Disproven { .. } => "no such user, or not a key of theirs",
                };
                Reply::coded(ResponseCode::Auth, wrong)
            }
            LoginRefusal::TooManySessions => Reply::coded(
                ResponseCode::InUse,
                "too many sessions have this maildrop open, close one or try again later",
            ),
            LoginRefusal::Unavailable => unavailable(),
        };
        let goes_on = authorization.login_failures < MAX_LOGIN_FAILURES;
        let session = goes_on.then_some(Session::Authorization(authorization));
        (reply, session)
    }
}

pub(super) fn unavailable() -> Reply {
    Reply::coded(
        ResponseCode::SysTemp,
        "the maildrop can't be opened now, try again later",
    )
}
