//! Pending steps, each with the session that goes on after its result.

use super::{
    Answer, Chunk, Envelope, FULL, Incoming, Lookup, NO_SPACE, Session, State, UNKNOWN, about,
};
use crate::reply::Reply;

impl<R> Lookup<R> {
    /// Returns the address to look up. It has no `@` if the client named no domain.
    pub fn address(&self) -> &str {
        self.recipient.meaning()
    }

    /// Returns the approximate size of the message in octets, if the client has announced it.
    pub fn octets(&self) -> Option<u64> {
        self.envelope().and_then(|envelope| envelope.octets)
    }

    /// Accepts the recipient, with the caller's data about the user.
    pub fn found(mut self, known: R) -> (Reply, Session<R>) {
        let reply = self.about(250, "2.1.5", "accepted");
        if let State::Envelope(envelope) = &mut self.session.state {
            envelope.recipients.push((self.recipient.clone(), known));
        }
        self.say(reply)
    }

    /// Refuses the recipient: the maildrop is full.
    pub fn full(self) -> (Reply, Session<R>) {
        let reply = self.about(552, "5.2.2", FULL);
        self.say(reply)
    }

    /// Refuses the recipient: the maildrop has no room for the announced size.
    pub fn too_large(self) -> (Reply, Session<R>) {
        let octets = self.octets().unwrap_or_default();
        let text = format!("the maildrop has no room for {octets} octets");
        let reply = self.about(552, "5.2.2", &text);
        self.say(reply)
    }

    /// Refuses the recipient: no user has this address.
    pub fn unknown(self) -> (Reply, Session<R>) {
        let text = if self.address().contains('@') {
            UNKNOWN
        } else {
            "No such user without a domain"
        };
        let reply = self.about(550, "5.1.1", text);
        self.say(reply)
    }

    /// Refuses the recipient for now: the server's disk is full.
    pub fn no_space(self) -> (Reply, Session<R>) {
        let reply = self.about(452, "4.3.1", NO_SPACE);
        self.say(reply)
    }

    /// Refuses the recipient for now: the lookup failed.
    pub fn failed(self) -> (Reply, Session<R>) {
        let reply = self.about(451, "4.3.0", "cannot look up the user now, try again later");
        self.say(reply)
    }

    fn envelope(&self) -> Option<&Envelope<R>> {
        match &self.session.state {
            State::Envelope(envelope) => Some(envelope),
            State::Greeted | State::Ready { .. } | State::Chunks(_) => None,
        }
    }

    fn about(&self, code: u16, status: &'static str, text: &str) -> Reply {
        let utf8 = self.envelope().is_some_and(|envelope| envelope.utf8);
        about(&self.recipient, utf8, code, status, text)
    }

    fn say(mut self, reply: Reply) -> (Reply, Session<R>) {
        self.session.bad_commands = 0;
        (reply, self.session)
    }
}

impl<R> Incoming<R> {
    /// Returns the sender and the recipients.
    pub fn envelope(&self) -> &Envelope<R> {
        &self.envelope
    }

    /// Completes the message, with an answer for each recipient in their order.
    pub fn answered(self, answers: &[Answer]) -> (Vec<Reply>, Session<R>) {
        let replies = self.session.replies(&self.envelope, answers);
        (replies, self.session)
    }
}

impl<R> Chunk<R> {
    /// Returns the sender and the recipients.
    pub fn envelope(&self) -> &Envelope<R> {
        &self.envelope
    }

    /// Returns the size of the chunk in octets.
    pub fn octets(&self) -> u64 {
        self.size.octets
    }

    /// Returns true if the message begins with this chunk.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// Returns true if the message ends with this chunk.
    pub fn is_last(&self) -> bool {
        self.size.last
    }

    /// Accepts a chunk after which more follow.
    pub fn taken(mut self) -> (Reply, Session<R>) {
        let text = format!("{} octets received", self.size.octets);
        self.session.bad_commands = 0;
        self.session.state = State::Chunks(self.envelope);
        (Reply::new(250, "2.0.0", text), self.session)
    }

    /// Refuses the message; the rest of it is discarded.
    pub fn refused(self, why: Answer) -> (Vec<Reply>, Session<R>) {
        let mut replies = self
            .session
            .replies(&self.envelope, &vec![why; self.envelope.recipients.len()]);
        if !self.size.last {
            // The reply answers the command and not the recipients.
            replies.truncate(1);
        }
        (replies, self.session)
    }

    /// Completes the message, with an answer for each recipient in their order.
    pub fn answered(self, answers: &[Answer]) -> (Vec<Reply>, Session<R>) {
        let replies = self.session.replies(&self.envelope, answers);
        (replies, self.session)
    }
}
