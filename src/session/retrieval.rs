//! RETR and TOP: a message on its way from the database to the client, piece by piece.

use bytes::Bytes;
use pop3::{MessageNumber, Part, Retrieve, RetrieveRefusal, Top, Transaction};
use wire::Stuffing;

use super::client::ClientIo;
use super::reader::Reader;
use crate::registry::EndReason;
use crate::store::{Cursor, Piece};

/// The octets of a large message that RETR reads at once.
const READ_OCTETS: u32 = 256 * 1024;

/// The octets that TOP reads first.
const TOP_OCTETS: u32 = 8 * 1024;

/// The octets that TOP reads at once if it needs more.
const TOP_READ_OCTETS: u32 = 128 * 1024;

/// A piece of a message of this size is sent from where it is, a smaller one is gathered.
const DIRECT_OCTETS: usize = 16 * 1024;

/// Room for the final dot and some stuffed ones, so that a small message is copied once.
const ROOM_FOR_DOTS: usize = 64;

/// The sending of one message.
pub(super) struct Retrieval<'a> {
    client: &'a mut ClientIo,
    reader: &'a mut Reader,
    stuffing: Stuffing,
}

impl<'a> Retrieval<'a> {
    pub(super) fn new(client: &'a mut ClientIo, reader: &'a mut Reader) -> Self {
        Self {
            client,
            reader,
            stuffing: Stuffing::default(),
        }
    }

    /// Sends the message, or the reply that it can't be sent; the session goes on.
    pub(super) async fn run(self, retrieve: Retrieve) -> Result<Transaction, EndReason> {
        match retrieve.part() {
            Part::Whole => self.send_whole(retrieve).await,
            Part::Top(lines) => self.send_top(retrieve, Top::new(lines)).await,
        }
    }

    async fn send_whole(mut self, retrieve: Retrieve) -> Result<Transaction, EndReason> {
        let (number, octets) = (retrieve.number(), retrieve.octets());
        let mailbox = &self.client.context.mailbox;
        let first = match self.reader.first(mailbox, number).await {
            Ok(first) => first,
            Err(why) => return Ok(self.refuse(retrieve, why)),
        };
        let (heading, state) = retrieve.found();
        let gathered = |octets: &Bytes| octets.len().min(DIRECT_OCTETS);
        let gathered: usize = first.octets.iter().map(gathered).sum();
        let room = heading.as_bytes().len() + gathered + ROOM_FOR_DOTS;
        self.client.out.reserve(room);
        self.client.say(&heading);
        let (mut sent, mut piece) = (0, first);
        loop {
            for octets in &piece.octets {
                self.send(octets).await?;
            }
            sent += piece.len();
            if sent >= octets {
                break;
            }
            piece = self.read_on(number, piece.next, READ_OCTETS).await?;
        }
        drop(piece);
        self.client.out.extend_from_slice(self.stuffing.finish());
        self.reader.note_retrieved(number);
        self.client.context.metrics.message_retrieved();
        self.client.handle.activity().add_retrieved();
        Ok(state)
    }

    async fn send_top(
        mut self,
        retrieve: Retrieve,
        mut top: Top,
    ) -> Result<Transaction, EndReason> {
        let (number, octets) = (retrieve.number(), retrieve.octets());
        let mailbox = &self.client.context.mailbox;
        let start = self.reader.read(mailbox, number, Cursor::START, TOP_OCTETS);
        let mut piece = match start.await {
            Ok(piece) => piece,
            Err(why) => return Ok(self.refuse(retrieve, why)),
        };
        let (heading, state) = retrieve.found();
        self.client.say(&heading);
        let mut seen = 0;
        loop {
            for octets in &piece.octets {
                self.send(top.take(octets)).await?;
            }
            seen += piece.len();
            if top.is_done() || seen >= octets {
                break;
            }
            piece = self.read_on(number, piece.next, TOP_READ_OCTETS).await?;
        }
        self.client.out.extend_from_slice(self.stuffing.finish());
        Ok(state)
    }

    /// Reads on in the middle of a message. If octets are missing, the connection breaks, as the
    /// client would take a shortened message for a whole one.
    async fn read_on(
        &self,
        number: MessageNumber,
        from: Cursor,
        max_octets: u32,
    ) -> Result<Piece, EndReason> {
        let mailbox = &self.client.context.mailbox;
        let piece = self.reader.read(mailbox, number, from, max_octets).await;
        let piece = piece.map_err(|_| EndReason::Storage)?;
        if piece.is_empty() {
            tracing::error!(message = %number, "a message ends before its last octet");
            return Err(EndReason::Storage);
        }
        Ok(piece)
    }

    fn refuse(self, retrieve: Retrieve, why: RetrieveRefusal) -> Transaction {
        let (reply, state) = retrieve.refused(why);
        self.client.say(&reply);
        state
    }

    /// Sends octets of a message, stuffed; large pieces from where they are.
    async fn send(&mut self, octets: &[u8]) -> Result<(), EndReason> {
        for piece in self.stuffing.pieces(octets) {
            if piece.len() >= DIRECT_OCTETS {
                self.client.write(piece).await?;
            } else {
                self.client.out.extend_from_slice(piece);
                self.client.flush_if_many().await?;
            }
        }
        Ok(())
    }
}
