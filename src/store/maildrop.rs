//! Open maildrops: the snapshot that sessions see, and where the octets of its messages are.

use std::sync::Arc;

use pop3::{MessageNumber, Snapshot, SnapshotError};

use super::{ContentId, MessageId, Stored, UserId};

/// A maildrop as it was when it was opened. Sessions share one while nothing changes.
///
/// As in its snapshot, each property of a message is in a list of its own.
#[derive(Debug)]
pub struct SqlMaildrop {
    /// The owner of the maildrop.
    pub user: UserId,
    /// The maildrop as the protocol sees it.
    pub snapshot: Arc<Snapshot>,
    messages: Vec<MessageId>,
    contents: Vec<ContentId>,
    has_trace_headers: Vec<bool>,
}

impl SqlMaildrop {
    /// Returns the primary key of a message.
    pub fn message(&self, number: MessageNumber) -> Option<MessageId> {
        self.messages.get(number.index()).copied()
    }

    /// Returns where the octets of a message are stored.
    pub fn stored(&self, number: MessageNumber) -> Option<Stored> {
        let index = number.index();
        Some(Stored {
            message: *self.messages.get(index)?,
            content: *self.contents.get(index)?,
            has_trace_headers: *self.has_trace_headers.get(index)?,
        })
    }

    /// Returns the memory that it takes, in octets.
    pub fn memory_octets(&self) -> usize {
        size_of::<Self>()
            + self.snapshot.memory_octets()
            + self.messages.capacity() * size_of::<MessageId>()
            + self.contents.capacity() * size_of::<ContentId>()
            + self.has_trace_headers.capacity() * size_of::<bool>()
    }
}

/// One message of a maildrop that is being opened.
pub(super) struct Entry<'a> {
    pub(super) stored: Stored,
    pub(super) octets: u64,
    pub(super) unique_id: &'a str,
}

/// A maildrop that is being opened.
#[derive(Debug, Default)]
pub(super) struct MaildropBuilder {
    snapshot: Snapshot,
    messages: Vec<MessageId>,
    contents: Vec<ContentId>,
    has_trace_headers: Vec<bool>,
}

impl MaildropBuilder {
    /// Adds the next message.
    ///
    /// # Errors
    /// If it has no unique-id, or there is no room for it.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> Result<(), SnapshotError> {
        self.snapshot.push(entry.octets, entry.unique_id)?;
        self.messages.push(entry.stored.message);
        self.contents.push(entry.stored.content);
        self.has_trace_headers.push(entry.stored.has_trace_headers);
        Ok(())
    }

    /// Returns the number of messages.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Puts the messages in the opposite order.
    pub(super) fn reverse(&mut self) {
        self.snapshot = self.snapshot.reversed();
        self.messages.reverse();
        self.contents.reverse();
        self.has_trace_headers.reverse();
    }

    /// Keeps only the first `count` messages.
    pub(super) fn truncate(&mut self, count: usize) {
        self.snapshot.truncate(count);
        self.messages.truncate(count);
        self.contents.truncate(count);
        self.has_trace_headers.truncate(count);
    }

    /// Returns the maildrop. `hidden` is the number of older messages that a limit hides.
    pub(super) fn finish(mut self, user: UserId, hidden: u64) -> SqlMaildrop {
        self.snapshot.hide(hidden);
        self.snapshot.shrink_to_fit();
        self.messages.shrink_to_fit();
        self.contents.shrink_to_fit();
        self.has_trace_headers.shrink_to_fit();
        SqlMaildrop {
            user,
            snapshot: Arc::new(self.snapshot),
            messages: self.messages,
            contents: self.contents,
            has_trace_headers: self.has_trace_headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_45_octets_with_its_unique_id() {
        let mut builder = MaildropBuilder::default();
        for number in 0..10_000 {
            let stored = Stored {
                message: MessageId(number),
                content: ContentId(number),
                has_trace_headers: number % 2 == 0,
            };
            let entry = Entry {
                stored,
                octets: 1000,
                unique_id: &format!("{number:016}"),
            };
            builder.push(&entry).unwrap();
        }
        let maildrop = builder.finish(UserId::from_row(1), 0);
        let empty = MaildropBuilder::default().finish(UserId::from_row(1), 0);
        let octets = maildrop.memory_octets() - empty.memory_octets();
        assert_eq!(octets, 10_000 * 45);
        let seventh = maildrop.stored(MessageNumber::new(8).unwrap()).unwrap();
        assert_eq!(seventh.content, ContentId(7));
        assert!(!seventh.has_trace_headers);
    }
}
