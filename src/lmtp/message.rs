//! A message that is arriving, or what is left of one that can't be taken.

use lmtp::Answer;

use super::LmtpService;
use crate::store::{MessageWriter, StagedMessage};

/// After so many octets of a message it is asked again whether there is room.
const LOOK_AGAIN_OCTETS: u64 = 1 << 20;

/// Takes the octets of a message in, and counts them.
pub(super) struct Message {
    /// None once it is clear that it can't be stored; what follows is thrown away.
    delivery: Option<MessageWriter>,
    octets: u64,
    refused: Option<Answer>,
}

impl Message {
    pub(super) fn new(service: &LmtpService) -> Self {
        Self {
            delivery: Some(MessageWriter::new(service.database.clone())),
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

    /// Takes the next octets, as they are without the dots that were put in.
    pub(super) async fn write(&mut self, service: &LmtpService, octets: &[u8]) {
        let before = self.octets;
        self.octets += octets.len() as u64;
        let Some(delivery) = &mut self.delivery else {
            return;
        };
        if self.octets > service.rules.max_octets {
            return self.refuse(service, Answer::TooLarge).await;
        }
        if let Err(error) = delivery.write(octets).await {
            let answer = service.note_fault("taking a message in", &error);
            return self.refuse(service, answer).await;
        }
        // Nobody has to say beforehand how large a message is.
        let looks = |octets: u64| octets / LOOK_AGAIN_OCTETS;
        if looks(self.octets) > looks(before) && !service.has_room_for(0).await {
            self.refuse(service, Answer::NoSpace).await;
        }
    }

    /// The message is complete.
    ///
    /// # Errors
    /// Why it can't be stored.
    pub(super) fn finish(self) -> Result<StagedMessage, Answer> {
        let delivery = self.delivery.ok_or(Answer::Unavailable);
        match self.refused {
            Some(why) => Err(why),
            None => Ok(delivery?.finish()),
        }
    }

    /// Throws away what has been stored of it.
    pub(super) async fn abandon(&mut self, service: &LmtpService) {
        if let Some(delivery) = self.delivery.take() {
            discard(service, &delivery.finish()).await;
        }
    }

    async fn refuse(&mut self, service: &LmtpService, why: Answer) {
        self.refused = Some(why);
        self.abandon(service).await;
    }
}

/// Removes what a message left in the database; if that fails, it goes when it expires.
async fn discard(service: &LmtpService, message: &StagedMessage) {
    if let Err(error) = service.database.abandon(message).await {
        service.note_fault("throwing a message away", &error);
    }
}
