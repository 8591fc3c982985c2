//! The labels of series.

use opentelemetry::KeyValue;
use pop3::Verb;

use crate::registry::EndReason;
use crate::tls::HandshakeFailure;

/// The reason of a failed login, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// Unknown user or wrong credentials.
    Credentials,
    /// Too many sessions of this user.
    TooManySessions,
    /// The database, or an actor, did not answer.
    Unavailable,
}

impl AuthFailure {
    pub(super) const ALL: [Self; 3] = [Self::Credentials, Self::TooManySessions, Self::Unavailable];

    /// Its label in metrics and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::TooManySessions => "too_many_sessions",
            Self::Unavailable => "unavailable",
        }
    }

    pub(super) fn label(self) -> KeyValue {
        KeyValue::new("reason", self.as_str())
    }
}

/// The reason of a refused connection, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The limit in all.
    InAll,
    /// The limit of one client address.
    Address,
    /// It was the oldest of too many sessions before login.
    BeforeLogin,
    /// The header of the PROXY protocol was missing or wrong, or came from elsewhere.
    Proxy,
}

impl Refused {
    pub(crate) const ALL: [Self; 4] = [Self::InAll, Self::Address, Self::BeforeLogin, Self::Proxy];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "total",
            Self::Address => "address",
            Self::BeforeLogin => "before_login",
            Self::Proxy => "proxy",
        }
    }

    pub(super) fn label(self) -> KeyValue {
        KeyValue::new("reason", self.as_str())
    }
}

pub(super) fn command_label(verb: Verb) -> KeyValue {
    KeyValue::new("command", verb.as_str())
}

pub(super) fn ending_label(ending: EndReason) -> KeyValue {
    KeyValue::new("ending", ending.label())
}

pub(super) fn failure_label(failure: HandshakeFailure) -> KeyValue {
    KeyValue::new("cause", failure.as_str())
}

pub(super) fn outcome_label(taken: bool) -> KeyValue {
    KeyValue::new("outcome", if taken { "taken" } else { "refused" })
}
