//! Mail that comes in.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{MailService, Query};
use crate::store::{
    Addressee, Delivered, IncomingMessage, Outcome, Recipient, StoreError, ask_once,
};

/// Finds the user whom mail for an address reaches.
#[derive(Debug, Clone)]
pub(crate) struct FindRecipient {
    /// The addresses that may be meant, the likeliest first.
    pub addresses: Vec<String>,
    /// The size of the message in octets; 0 if it is not known.
    pub octets: u64,
}

/// The answer to a look-up of a recipient.
#[derive(Debug)]
pub(crate) enum AddresseeLookup {
    /// The user.
    User(Addressee),
    /// No user has such an address.
    Nobody,
    /// The store has no room for the message.
    NoSpace,
    /// The store failed.
    Unavailable,
}

impl Query for FindRecipient {
    type Answer = AddresseeLookup;

    async fn run(self, service: Arc<MailService>) -> AddresseeLookup {
        if !service.has_room_for(self.octets).await {
            return AddresseeLookup::NoSpace;
        }
        let find = async || service.store.intake.find_recipient(&self.addresses).await;
        match service.ask("looking up a recipient", find).await {
            Ok(Some(user)) => AddresseeLookup::User(user),
            Ok(None) => AddresseeLookup::Nobody,
            Err(_) => AddresseeLookup::Unavailable,
        }
    }
}

/// Reasons why a message can't be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntakeFault {
    /// The store is full.
    NoSpace,
    /// The store failed.
    Unavailable,
}

/// Takes octets of a message in; answers the message, to go on with.
pub(crate) struct WriteMessage {
    /// The message; none before its first octets.
    pub message: Option<Box<dyn IncomingMessage>>,
    /// The next octets, as they came.
    pub octets: Vec<u8>,
}

impl Query for WriteMessage {
    type Answer = Result<Box<dyn IncomingMessage>, IntakeFault>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        // Clients need not say beforehand how large a message is.
        if service.has_room_for(0).await {
            return service.write(self.message, &self.octets).await;
        }
        if let Some(message) = self.message {
            service.discard(message).await;
        }
        Err(IntakeFault::NoSpace)
    }
}

/// Stores a message for its recipients; answers what became of each copy, in their order.
pub(crate) struct Deliver {
    /// The part of it that was taken in; none if these are its first octets.
    pub message: Option<Box<dyn IncomingMessage>>,
    /// Its last octets.
    pub octets: Vec<u8>,
    /// The recipients.
    pub recipients: Vec<Recipient>,
}

impl Query for Deliver {
    type Answer = Result<Vec<Outcome>, IntakeFault>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let message = service.write(self.message, &self.octets).await?;
        let delivered = message.deliver(self.recipients).await;
        let Delivered { outcomes, fault } =
            delivered.map_err(|error| service.intake_fault("delivering mail", &error))?;
        if let Some(fault) = fault {
            service.note_fault("delivering mail to some of its recipients", &fault);
        }
        Ok(outcomes)
    }
}

/// Throws a message away that is not to be stored.
pub(crate) struct DiscardMessage(pub Box<dyn IncomingMessage>);

impl Query for DiscardMessage {
    type Answer = ();

    async fn run(self, service: Arc<MailService>) {
        service.discard(self.0).await;
    }
}

impl MailService {
    async fn write(
        &self,
        message: Option<Box<dyn IncomingMessage>>,
        octets: &[u8],
    ) -> Result<Box<dyn IncomingMessage>, IntakeFault> {
        let mut message = message.unwrap_or_else(|| self.store.intake.new_message());
        let Err(error) = ask_once(message.write(octets)).await else {
            return Ok(message);
        };
        let fault = self.intake_fault("taking a message in", &error);
        // A store that does not answer is not asked again: what it has of the message expires.
        if !matches!(error, StoreError::TimedOut(_)) {
            self.discard(message).await;
        }
        Err(fault)
    }

    async fn discard(&self, message: Box<dyn IncomingMessage>) {
        if let Err(error) = ask_once(message.discard()).await {
            self.note_fault("throwing a message away", &error);
        }
    }

    fn intake_fault(&self, while_doing: &str, error: &StoreError) -> IntakeFault {
        self.note_fault(while_doing, error);
        if self.store.intake.is_full(error) {
            IntakeFault::NoSpace
        } else {
            IntakeFault::Unavailable
        }
    }

    async fn has_room_for(&self, octets: u64) -> bool {
        let has_room = self.store.intake.has_room_for(octets).await;
        if !has_room && let Some(before) = self.no_room.allow() {
            tracing::warn!(
                before,
                "no mail is taken in: there is too little room on the disk of the database"
            );
        }
        has_room
    }
}
