//! A message that is arriving, or what is left of one that can't be taken.

use lmtp::Answer;

use super::LmtpService;
use crate::mailbox::{Deliver, DiscardMessage, IntakeFault, Mailbox, WriteMessage};
use crate::store::{IncomingMessage, Outcome, Recipient};

/// From this size on, the octets of a message go to the store while it still arrives.
const BUFFERED_OCTETS: usize = 256 * 1024;

/// Takes the octets of a message in, and counts them.
pub(super) struct Message {
    /// What the store has of it.
    stored: Option<Box<dyn IncomingMessage>>,
    /// What it does not have yet.
    buffer: Vec<u8>,
    octets: u64,
    /// Set once it is clear that it can't be stored; what follows is thrown away.
    refused: Option<Answer>,
}

impl Message {
    pub(super) fn new() -> Self {
        Self {
            stored: None,
            buffer: Vec::new(),
            octets: 0,
            refused: None,
        }
    }

    /// How many octets have come.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Why it can't be stored, if that is clear already.
    pub(super) fn refused(&self) -> Option<Answer> {
        self.refused
    }

    /// Takes the next octets, without the dots of byte-stuffing.
    pub(super) async fn write(&mut self, service: &LmtpService, mailbox: &Mailbox, octets: &[u8]) {
        self.octets += octets.len() as u64;
        if self.refused.is_some() {
            return;
        }
        if self.octets > service.rules.max_octets {
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

    /// Stores the message for its recipients; an answer for each, in their order.
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

    /// Throws away what has come of it.
    pub(super) async fn discard(&mut self, mailbox: &Mailbox) {
        self.buffer = Vec::new();
        if let Some(stored) = self.stored.take() {
            // If no actor answers, it goes when it expires.
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
