//! How sessions end.

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// By QUIT; what was marked is deleted.
    Quit,
    /// By QUIT, but the deletions could not be committed.
    CommitFailed,
    /// Nothing came, or nothing was read, for too long.
    TimedOut,
    /// The client went away, or its connection broke.
    Disconnected,
    /// Too many bad commands or wrong keys.
    Refused,
    /// The TLS handshake failed.
    Handshake,
    /// It was the oldest of too many that were not logged in.
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

    /// As the metric's label says it.
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

    /// As the log says it.
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
