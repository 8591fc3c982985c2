//! A message that is being received.

use lmtp::Answer;

use crate::mailbox::{Deliver, DiscardMessage, IntakeFault, Mailbox, WriteMessage};
use crate::store::{IncomingMessage, Outcome, Recipient};

/// From this size on, the octets of a message go to the store while it still arrives.
const BUFFERED_OCTETS: usize = 256 * 1024;

/// Receives the octets of a message, and counts them.
pub(super) struct ReceivedMessage {
    /// The part that is stored already.
    stored: Option<Box<dyn IncomingMessage>>,
    /// The octets behind it.
    buffer: Vec<u8>,
    octets: u64,
    /// The reason for which it can't be stored; further octets are thrown away.
    refused: Option<Answer>,
}

impl ReceivedMessage {
    pub(super) fn new() -> Self {
        Self {
            stored: None,
            buffer: Vec::new(),
            octets: 0,
            refused: None,
        }
    }

    /// The received octets.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// The reason for which it can't be stored, if there is one already.
    pub(super) fn refused(&self) -> Option<Answer> {
        self.refused
    }

    /// Takes the next octets, unstuffed. A message may have `max_octets`.
    pub(super) async fn write(&mut self, max_octets: u64, mailbox: &Mailbox, octets: &[u8]) {
        self.octets += octets.len() as u64;
        if self.refused.is_some() {
            return;
        }
        if self.octets > max_octets {
            self.refused = Some(Answer::TooLarge);
            return self.discard(mailbox).await;
        }
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() < BUFFERED_OCTETS {
            return;
        }
        let write = WriteMessage {
            message: self.stored.take(),
            octets: std::mem::take(&mut self.buffer),
        };
        match mailbox.ask_once(write).await {
            Ok(Ok(stored)) => self.stored = Some(stored),
            Ok(Err(fault)) => self.refused = Some(fault.into()),
            Err(_) => self.refused = Some(Answer::Unavailable),
        }
    }

    /// Stores the message; returns an answer for each recipient, in their order.
    pub(super) async fn deliver(
        self,
        mailbox: &Mailbox,
        recipients: Vec<Recipient>,
    ) -> Vec<Answer> {
        let count = recipients.len();
        if let Some(why) = self.refused {
            return vec![why; count];
        }
        let deliver = Deliver {
            message: self.stored,
            octets: self.buffer,
            recipients,
        };
        match mailbox.ask_once(deliver).await {
            Ok(Ok(outcomes)) => outcomes.into_iter().map(answer).collect(),
            Ok(Err(fault)) => vec![fault.into(); count],
            Err(_) => vec![Answer::Unavailable; count],
        }
    }

    /// Throws away what was received.
    pub(super) async fn discard(&mut self, mailbox: &Mailbox) {
        self.buffer = Vec::new();
        if let Some(stored) = self.stored.take() {
            // If no actor answers, the stored part goes when it expires.
            let _ = mailbox.ask_once(DiscardMessage(stored)).await;
        }
    }
}

impl From<IntakeFault> for Answer {
    fn from(fault: IntakeFault) -> Self {
        match fault {
            IntakeFault::NoSpace => Self::NoSpace,
            IntakeFault::Unavailable => Self::Unavailable,
        }
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Stored => Answer::Stored,
        Outcome::OverQuota => Answer::OverQuota,
        Outcome::NoSuchUser => Answer::NoSuchUser,
        Outcome::Locked => Answer::Locked,
        Outcome::Failed => Answer::Unavailable,
    }
}
