//! Messages of an open maildrop: read by RETR and TOP, deleted by QUIT.

use std::cell::Cell;
use std::sync::Arc;

use pop3::MessageNumber;

use super::{MailService, Query};
use crate::store::{Cursor, Maildrop, Piece, StoreError};

/// Reads the beginnings of messages, in their order.
#[derive(Debug, Clone)]
pub(crate) struct ReadFirst {
    /// The maildrop that they are in.
    pub maildrop: Arc<dyn Maildrop>,
    /// The messages.
    pub messages: Vec<MessageNumber>,
}

impl Query for ReadFirst {
    type Answer = Result<Vec<Option<Piece>>, StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let read = async || self.maildrop.read_first(&self.messages).await;
        service.ask("reading messages", read).await
    }
}

/// Reads on in one message.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// The maildrop that it is in.
    pub maildrop: Arc<dyn Maildrop>,
    /// The message.
    pub message: MessageNumber,
    /// From where.
    pub from: Cursor,
    /// About how much.
    pub max_octets: u32,
}

impl Query for Read {
    type Answer = Result<Piece, StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let Self {
            maildrop,
            message,
            from,
            max_octets,
        } = self;
        let read = async || maildrop.read(message, from, max_octets).await;
        service.ask("reading a message", read).await
    }
}

/// Notes that messages were retrieved whole.
#[derive(Debug)]
pub(crate) struct MarkRetrieved {
    /// The maildrop that they are in.
    pub maildrop: Arc<dyn Maildrop>,
    /// The messages.
    pub messages: Vec<MessageNumber>,
}

impl Query for MarkRetrieved {
    type Answer = ();

    async fn run(self, service: Arc<MailService>) {
        let mark = async || self.maildrop.mark_retrieved(&self.messages).await;
        // The fault has been logged, and the session goes on.
        let _ = service.ask("marking messages as read", mark).await;
    }
}

/// Deletes messages, all or none; answers how many of them were still there.
#[derive(Debug, Clone)]
pub(crate) struct CommitDeletions {
    /// The maildrop that they are in.
    pub maildrop: Arc<dyn Maildrop>,
    /// The messages.
    pub messages: Vec<MessageNumber>,
    /// The name of the session that does it.
    pub session: String,
}

impl Query for CommitDeletions {
    type Answer = Result<usize, StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let asked = Cell::new(0_u32);
        let delete = async || {
            asked.set(asked.get() + 1);
            self.maildrop.delete(&self.messages, &self.session).await
        };
        let mut deleted = service.ask("committing deletions", delete).await?;
        if asked.get() > 1 {
            // The first time may have deleted them, before its connection broke.
            deleted = self.messages.len();
        }
        service.metrics.messages_deleted(deleted);
        Ok(deleted)
    }
}
