//! RETR and TOP: a message on its way from storage to the client, chunk by chunk.

use std::ops::Range;

use bytes::Bytes;
use pop3::{MessageNumber, Part, Retrieve, RetrieveRefusal, Session, Top};
use wire::Stuffing;

use super::conversation::{Conversation, GATHERED_OCTETS, SessionEnded};
use super::reader::CHUNKS_OF_RETR;
use crate::registry::EndReason;
use crate::store::CHUNK_OCTETS;

/// A piece of a message of this size is sent from where it lies, a smaller one gathered.
const DIRECT_OCTETS: usize = 16 * 1024;

/// Room for the final dot and some stuffed ones, so that a small message is copied once.
const ROOM_FOR_DOTS: usize = 64;

impl Conversation {
    pub(super) async fn retrieve(&mut self, retrieve: Retrieve) -> Result<Session, SessionEnded> {
        match retrieve.part() {
            Part::Whole => self.retrieve_whole(retrieve).await,
            Part::Top(lines) => self.retrieve_top(retrieve, Top::new(lines)).await,
        }
    }

    async fn retrieve_whole(&mut self, retrieve: Retrieve) -> Result<Session, SessionEnded> {
        let (number, octets) = (retrieve.number(), retrieve.octets());
        let Some(open) = &mut self.open else {
            return Ok(self.refuse_message(retrieve, RetrieveRefusal::Unavailable));
        };
        let first = match open.reader.first_chunk(&self.service.mailbox, number).await {
            Ok(first) => first,
            Err(why) => return Ok(self.refuse_message(retrieve, why)),
        };
        let (heading, session) = retrieve.found();
        let gathered = first.head.len() + first.content.len().min(DIRECT_OCTETS);
        self.out
            .reserve(heading.as_bytes().len() + gathered + ROOM_FOR_DOTS);
        self.say(&heading);
        let mut stuffing = Stuffing::default();
        let mut sent = (first.head.len() + first.content.len()) as u64;
        self.send(&mut stuffing, &first.head).await?;
        self.send(&mut stuffing, &first.content).await?;
        drop(first);
        let mut next = 1;
        while sent < octets {
            let chunks = self
                .next_chunks(number, next..next + CHUNKS_OF_RETR)
                .await?;
            for chunk in &chunks {
                sent += chunk.len() as u64;
                next += 1;
                self.send(&mut stuffing, chunk).await?;
            }
        }
        self.out.extend_from_slice(stuffing.finish());
        self.service.metrics.message_retrieved();
        self.live.add_retrieved();
        Ok(session)
    }

    async fn retrieve_top(
        &mut self,
        retrieve: Retrieve,
        mut top: Top,
    ) -> Result<Session, SessionEnded> {
        let (number, octets) = (retrieve.number(), retrieve.octets());
        let Some(open) = &mut self.open else {
            return Ok(self.refuse_message(retrieve, RetrieveRefusal::Unavailable));
        };
        let beginning = match open.reader.beginning(&self.service.mailbox, number).await {
            Ok(beginning) => beginning,
            Err(why) => return Ok(self.refuse_message(retrieve, why)),
        };
        let (heading, session) = retrieve.found();
        self.say(&heading);
        let mut stuffing = Stuffing::default();
        let octets = octets.saturating_sub(beginning.head.len() as u64);
        let mut seen = beginning.content.len() as u64;
        self.send(&mut stuffing, top.take(&beginning.head)).await?;
        self.send(&mut stuffing, top.take(&beginning.content))
            .await?;
        while !top.is_done() && seen < octets {
            let (at, within) = chunk_at(seen);
            let chunks = self.next_chunks(number, at..at + 1).await?;
            let chunk = chunks.first().and_then(|chunk| chunk.get(within..));
            let unseen = chunk.filter(|unseen| !unseen.is_empty());
            let unseen = unseen.ok_or(SessionEnded(EndReason::Storage))?;
            seen += unseen.len() as u64;
            self.send(&mut stuffing, top.take(unseen)).await?;
        }
        self.out.extend_from_slice(stuffing.finish());
        Ok(session)
    }

    /// Chunks from the middle of a message. There is no way to tell the client that they are
    /// missing, but to break the connection: a shortened message would pass for a whole one.
    async fn next_chunks(
        &mut self,
        number: MessageNumber,
        numbers: Range<u32>,
    ) -> Result<Vec<Bytes>, SessionEnded> {
        let open = self.open.as_ref().ok_or(SessionEnded(EndReason::Storage))?;
        let chunks = open
            .reader
            .next_chunks(&self.service.mailbox, number, numbers)
            .await;
        let chunks = chunks.map_err(|_| SessionEnded(EndReason::Storage))?;
        if chunks.iter().all(Bytes::is_empty) {
            tracing::error!(message = %number, "a message ends before its last chunk");
            return Err(SessionEnded(EndReason::Storage));
        }
        Ok(chunks)
    }

    fn refuse_message(&mut self, retrieve: Retrieve, why: RetrieveRefusal) -> Session {
        let (reply, session) = retrieve.refused(why);
        self.say(&reply);
        session
    }

    /// Sends octets of a message, stuffed; large pieces from where they lie.
    async fn send(&mut self, stuffing: &mut Stuffing, octets: &[u8]) -> Result<(), SessionEnded> {
        for piece in stuffing.pieces(octets) {
            if piece.len() >= DIRECT_OCTETS {
                self.write(piece).await?;
            } else {
                self.out.extend_from_slice(piece);
                if self.out.len() >= GATHERED_OCTETS {
                    self.flush().await?;
                }
            }
        }
        Ok(())
    }
}

/// The chunk in which an octet of a message lies, and where in it.
fn chunk_at(octet: u64) -> (u32, usize) {
    let chunk = CHUNK_OCTETS as u64;
    let number = u32::try_from(octet / chunk).unwrap_or(u32::MAX);
    (number, usize::try_from(octet % chunk).unwrap_or(usize::MAX))
}
