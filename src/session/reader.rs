//! Reads the messages of a session, some of them ahead.
//!
//! A client that retrieves one message after the other would cause a query for each. So the reader
//! reads ahead: first one message, then 4, 16 and 64 at a time, as long as the client goes on in
//! order, and never more than [`READ_AHEAD_OCTETS`].

use std::collections::VecDeque;
use std::sync::Arc;

use pop3::{MessageNumber, RetrieveRefusal};

use crate::mailbox::{Mailbox, MarkRetrieved, Read, ReadFirst};
use crate::store::{Cursor, FIRST_READ_OCTETS, Maildrop, Piece, StoreError};
use crate::supervision::ActorUnavailable;

/// The most octets of messages that are read ahead.
pub(super) const READ_AHEAD_OCTETS: u64 = 256 * 1024;

/// The most messages that are read ahead.
const READ_AHEAD_MESSAGES: usize = 64;

/// Reads the messages of one maildrop for one session.
pub(super) struct Reader {
    maildrop: Arc<dyn Maildrop>,
    ahead: VecDeque<(MessageNumber, Piece)>,
    /// The message that comes next if the client goes on in order.
    expected: Option<MessageNumber>,
    batch: usize,
    /// The messages that were retrieved whole, for a store that wants to know.
    retrieved: Vec<MessageNumber>,
}

impl Reader {
    pub(super) fn new(maildrop: Arc<dyn Maildrop>) -> Self {
        Self {
            maildrop,
            ahead: VecDeque::new(),
            expected: None,
            batch: 1,
            retrieved: Vec::new(),
        }
    }

    /// Notes that a message was retrieved whole, if the store wants to know.
    pub(super) fn note_retrieved(&mut self, number: MessageNumber) {
        if self.maildrop.tracks_retrieval() {
            self.retrieved.push(number);
        }
    }

    /// Returns the number of messages that the store has yet to be told of.
    pub(super) fn retrieved(&self) -> usize {
        self.retrieved.len()
    }

    /// Tells the store which messages were retrieved. They must have been sent.
    pub(super) fn report_retrieved(&mut self, mailbox: &Mailbox) {
        if !self.retrieved.is_empty() {
            mailbox.tell(MarkRetrieved {
                maildrop: Arc::clone(&self.maildrop),
                messages: std::mem::take(&mut self.retrieved),
            });
        }
    }

    /// Returns true if messages have been read ahead.
    pub(super) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Drops the messages that were read ahead.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead = VecDeque::new();
        self.batch = 1;
    }

    /// Returns the beginning of a message.
    pub(super) async fn first(
        &mut self,
        mailbox: &Mailbox,
        number: MessageNumber,
    ) -> Result<Piece, RetrieveRefusal> {
        let in_order = self.expected == Some(number);
        self.expected = MessageNumber::new(number.index() as u64 + 2);
        while let Some((ahead, piece)) = self.ahead.pop_front() {
            if ahead == number {
                return Ok(piece);
            }
        }
        self.batch = if in_order {
            (self.batch * 4).min(READ_AHEAD_MESSAGES)
        } else {
            1
        };
        let messages = self.wanted(number);
        let read = ReadFirst {
            maildrop: Arc::clone(&self.maildrop),
            messages: messages.clone(),
        };
        let found = refuse(mailbox.ask(read).await)?;
        // Messages behind a missing one are read when they are asked for.
        let found = messages
            .into_iter()
            .zip(found)
            .map_while(|(n, piece)| Some((n, piece?)));
        self.ahead.extend(found);
        match self.ahead.pop_front() {
            Some((first, piece)) if first == number => Ok(piece),
            Some(_) | None => Err(RetrieveRefusal::Gone),
        }
    }

    /// Reads on in a message.
    pub(super) async fn read(
        &self,
        mailbox: &Mailbox,
        message: MessageNumber,
        from: Cursor,
        max_octets: u32,
    ) -> Result<Piece, RetrieveRefusal> {
        let read = Read {
            maildrop: Arc::clone(&self.maildrop),
            message,
            from,
            max_octets,
        };
        refuse(mailbox.ask(read).await)
    }

    /// Returns this message, and those after it that are read with it.
    fn wanted(&self, number: MessageNumber) -> Vec<MessageNumber> {
        let snapshot = self.maildrop.snapshot();
        let mut octets = 0;
        let mut wanted = Vec::with_capacity(self.batch);
        for next in (number.index() as u64 + 1)..=snapshot.len() as u64 {
            let Some(next) = MessageNumber::new(next) else {
                break;
            };
            let size = snapshot.octets_of(next).unwrap_or_default();
            octets += size.min(FIRST_READ_OCTETS);
            let fits = octets <= READ_AHEAD_OCTETS && size <= FIRST_READ_OCTETS;
            if !wanted.is_empty() && (!fits || wanted.len() >= self.batch) {
                break;
            }
            wanted.push(next);
        }
        wanted
    }
}

/// Turns a failed read into the reason that the client is told.
fn refuse<T>(read: Result<Result<T, StoreError>, ActorUnavailable>) -> Result<T, RetrieveRefusal> {
    match read {
        Ok(Ok(octets)) => Ok(octets),
        Ok(Err(error)) if error.is_gone() => Err(RetrieveRefusal::Gone),
        Ok(Err(_)) | Err(ActorUnavailable(_)) => Err(RetrieveRefusal::Unavailable),
    }
}
