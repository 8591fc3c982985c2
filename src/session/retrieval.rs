//! RETR and TOP: a message on its way from storage to the client, piece by piece.

use bytes::Bytes;
use pop3::{MessageNumber, Part, Retrieve, RetrieveRefusal, Session, Top};
use wire::Stuffing;

use super::conversation::{Conversation, GATHERED_OCTETS, SessionEnded};
use crate::registry::EndReason;
use crate::store::{Cursor, Piece};

/// How much of a large message RETR reads at once.
pub(super) const READ_OCTETS: u32 = 256 * 1024;

/// How much TOP reads before it knows whether it needs more, and how much then.
const TOP_OCTETS: u32 = 8 * 1024;
const TOP_READ_OCTETS: u32 = 128 * 1024;

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
        let first = match open.reader.first(&self.service.mailbox, number).await {
            Ok(first) => first,
            Err(why) => return Ok(self.refuse_message(retrieve, why)),
        };
        let (heading, session) = retrieve.found();
        let gathered = |octets: &Bytes| octets.len().min(DIRECT_OCTETS);
        let gathered: usize = first.octets.iter().map(gathered).sum();
        self.out
            .reserve(heading.as_bytes().len() + gathered + ROOM_FOR_DOTS);
        self.say(&heading);
        let mut stuffing = Stuffing::default();
        let (mut sent, mut piece) = (0, first);
        loop {
            for octets in &piece.octets {
                self.send(&mut stuffing, octets).await?;
            }
            sent += piece.len();
            if sent >= octets {
                break;
            }
            piece = self.read_on(number, piece.next, READ_OCTETS).await?;
        }
        drop(piece);
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
        let reader = &open.reader;
        let start = reader.read(&self.service.mailbox, number, Cursor::START, TOP_OCTETS);
        let mut piece = match start.await {
            Ok(piece) => piece,
            Err(why) => return Ok(self.refuse_message(retrieve, why)),
        };
        let (heading, session) = retrieve.found();
        self.say(&heading);
        let mut stuffing = Stuffing::default();
        let mut seen = 0;
        loop {
            for octets in &piece.octets {
                self.send(&mut stuffing, top.take(octets)).await?;
            }
            seen += piece.len();
            if top.is_done() || seen >= octets {
                break;
            }
            piece = self.read_on(number, piece.next, TOP_READ_OCTETS).await?;
        }
        self.out.extend_from_slice(stuffing.finish());
        Ok(session)
    }

    /// Reads on in the middle of a message. There is no way to tell the client that octets are
    /// missing, but to break the connection: a shortened message would pass for a whole one.
    async fn read_on(
        &mut self,
        number: MessageNumber,
        from: Cursor,
        max_octets: u32,
    ) -> Result<Piece, SessionEnded> {
        let open = self.open.as_ref().ok_or(SessionEnded(EndReason::Storage))?;
        let mailbox = &self.service.mailbox;
        let piece = open.reader.read(mailbox, number, from, max_octets).await;
        let piece = piece.map_err(|_| SessionEnded(EndReason::Storage))?;
        if piece.is_empty() {
            tracing::error!(message = %number, "a message ends before its last octet");
            return Err(SessionEnded(EndReason::Storage));
        }
        Ok(piece)
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
