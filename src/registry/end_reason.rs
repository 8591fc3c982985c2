//! The reasons for which sessions of both protocols end.

use std::io;

/// The reason for which a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// QUIT; the marked messages are deleted.
    Quit,
    /// QUIT, but the deletions could not be committed.
    CommitFailed,
    /// The client sent or read nothing for too long.
    TimedOut,
    /// The client closed the connection, or it broke.
    Disconnected,
    /// A limit on connections, bad commands or failed logins.
    Refused,
    /// The TLS handshake failed.
    Handshake,
    /// It was the oldest of too many sessions before login.
    Evicted,
    /// It was idle, and its device has logged in again.
    Superseded,
    /// Storage failed in the middle of a message.
    Storage,
    /// An operator ended it.
    Killed,
    /// Its key was revoked, or its user disabled or removed.
    Revoked,
    /// The server stopped.
    Shutdown,
}

impl EndReason {
    pub(crate) const ALL: [Self; 12] = [
        Self::Quit,
        Self::CommitFailed,
        Self::TimedOut,
        Self::Disconnected,
        Self::Refused,
        Self::Handshake,
        Self::Evicted,
        Self::Superseded,
        Self::Storage,
        Self::Killed,
        Self::Revoked,
        Self::Shutdown,
    ];

    /// Its label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::CommitFailed => "commit_failed",
            Self::TimedOut => "timed_out",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
            Self::Evicted => "evicted",
            Self::Superseded => "superseded",
            Self::Storage => "storage",
            Self::Killed => "killed",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
        }
    }

    /// Its text in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::CommitFailed => "commit failed",
            Self::TimedOut => "timed out",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Handshake => "TLS handshake failed",
            Self::Evicted => "evicted",
            Self::Superseded => "superseded by a new login",
            Self::Storage => "storage failed",
            Self::Killed => "killed",
            Self::Revoked => "key revoked or user disabled",
            Self::Shutdown => "shutdown",
        }
    }
}

impl From<io::Error> for EndReason {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            Self::TimedOut
        } else {
            Self::Disconnected
        }
    }
}
