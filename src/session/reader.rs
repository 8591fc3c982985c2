//! Brings a session its messages, some of them before it asks.
//!
//! A client that retrieves one message after the other would cause a query for each. So the
//! reader fetches ahead: first one message, then 4, 16 and 64 at a time, as long as the client
//! goes on in order, and never more than [`READ_AHEAD_OCTETS`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pop3::{MessageNumber, RetrieveRefusal};

use crate::mailbox::{MailboxActor, ReadBeginning, ReadChunks, ReadFirstChunks};
use crate::store::{Beginning, CHUNK_OCTETS, Maildrop, StoreError, Stored};
use crate::supervision::{ActorUnavailable, Supervised};

/// How many octets a session may hold of messages that were not asked for yet.
pub(super) const READ_AHEAD_OCTETS: u64 = 256 * 1024;

/// How many messages it may hold of these.
const READ_AHEAD_MESSAGES: usize = 64;

/// How many chunks of a large message RETR fetches at once.
pub(super) const CHUNKS_OF_RETR: u32 = 2;

/// How much TOP reads before it knows whether it needs more.
const BEGINNING_OCTETS: u32 = 8 * 1024;

/// Reads the messages of one maildrop for one session.
pub(super) struct Reader {
    maildrop: Arc<Maildrop>,
    ahead: VecDeque<(MessageNumber, Beginning)>,
    /// The message that comes next if the client goes on in order.
    expected: Option<MessageNumber>,
    batch: usize,
}

impl Reader {
    pub(super) fn new(maildrop: Arc<Maildrop>) -> Self {
        Self {
            maildrop,
            ahead: VecDeque::new(),
            expected: None,
            batch: 1,
        }
    }

    /// Is anything held that was not asked for yet?
    pub(super) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Gives back what was fetched ahead.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead = VecDeque::new();
        self.batch = 1;
    }

    /// The head and the first chunk of a message.
    pub(super) async fn first_chunk(
        &mut self,
        mailbox: &Supervised<MailboxActor>,
        number: MessageNumber,
    ) -> Result<Beginning, RetrieveRefusal> {
        let in_order = self.expected == Some(number);
        self.expected = MessageNumber::new(number.index() as u64 + 2);
        while let Some((ahead, beginning)) = self.ahead.pop_front() {
            if ahead == number {
                return Ok(beginning);
            }
        }
        self.batch = if in_order {
            (self.batch * 4).min(READ_AHEAD_MESSAGES)
        } else {
            1
        };
        let wanted = self.wanted(number);
        let messages: Vec<Stored> = wanted.iter().map(|(_, stored)| *stored).collect();
        let found = mailbox.ask(|| ReadFirstChunks(messages.clone())).await;
        let mut found = refuse(found)?.into_iter().peekable();
        for (number, stored) in wanted {
            // Those behind one that is not there are fetched when they are asked for.
            let Some((_, beginning)) = found.next_if(|(message, _)| *message == stored.message)
            else {
                break;
            };
            self.ahead.push_back((number, beginning));
        }
        match self.ahead.pop_front() {
            Some((first, beginning)) if first == number => Ok(beginning),
            Some(_) | None => Err(RetrieveRefusal::Gone),
        }
    }

    /// More chunks of a message, in order; none beyond its end.
    pub(super) async fn next_chunks(
        &self,
        mailbox: &Supervised<MailboxActor>,
        number: MessageNumber,
        numbers: Range<u32>,
    ) -> Result<Vec<Bytes>, RetrieveRefusal> {
        let content = self.stored(number)?.content;
        let chunks = mailbox
            .ask(|| ReadChunks {
                content,
                numbers: numbers.clone(),
            })
            .await;
        refuse(chunks)
    }

    /// The head and the first octets of a message.
    pub(super) async fn beginning(
        &self,
        mailbox: &Supervised<MailboxActor>,
        number: MessageNumber,
    ) -> Result<Beginning, RetrieveRefusal> {
        let message = self.stored(number)?;
        let octets = BEGINNING_OCTETS;
        let beginning = mailbox.ask(|| ReadBeginning { message, octets }).await;
        refuse(beginning)
    }

    fn stored(&self, number: MessageNumber) -> Result<Stored, RetrieveRefusal> {
        self.maildrop.stored(number).ok_or(RetrieveRefusal::Gone)
    }

    /// This message, and those after it that are worth fetching with it.
    fn wanted(&self, number: MessageNumber) -> Vec<(MessageNumber, Stored)> {
        let mut octets = 0;
        let mut wanted = Vec::with_capacity(self.batch);
        for next in (number.index() as u64 + 1)..=self.maildrop.snapshot.len() as u64 {
            let Some(next) = MessageNumber::new(next) else {
                break;
            };
            let Some(stored) = self.maildrop.stored(next) else {
                break;
            };
            let size = self.maildrop.snapshot.octets_of(next).unwrap_or_default();
            octets += size.min(CHUNK_OCTETS as u64);
            let fits = octets <= READ_AHEAD_OCTETS && size <= CHUNK_OCTETS as u64;
            if !wanted.is_empty() && (!fits || wanted.len() >= self.batch) {
                break;
            }
            wanted.push((next, stored));
        }
        wanted
    }
}

/// What the client is told about a message that could not be read.
fn refuse<T>(read: Result<Result<T, StoreError>, ActorUnavailable>) -> Result<T, RetrieveRefusal> {
    match read {
        Ok(Ok(octets)) => Ok(octets),
        Ok(Err(StoreError::NoContent(_))) => Err(RetrieveRefusal::Gone),
        Ok(Err(
            StoreError::Database(_)
            | StoreError::Uncommitted(_)
            | StoreError::DeliveryExpired
            | StoreError::NoSuchUser
            | StoreError::Locked
            | StoreError::TimedOut(_)
            | StoreError::ImportedMeanwhile
            | StoreError::Corrupt(_),
        ))
        | Err(ActorUnavailable(_)) => Err(RetrieveRefusal::Unavailable),
    }
}
