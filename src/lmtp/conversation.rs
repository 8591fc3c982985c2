//! One session from its greeting to its end: read a line, take the step, send the reply.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use lmtp::{Answer, Chunk, Envelope, Incoming, Lookup, MAX_LINE_OCTETS, Reply, ReversePath, Step};
use wire::LineBuffer;
use wire::Unstuffing;

use super::LmtpService;
use super::head::{Trace, head};
use super::message::Message;
use super::recipient::meant;
use super::socket::Peer;
use super::wire::{Ending, Wire};
use crate::mailbox::{FindRecipient, Found, Mailbox};
use crate::store::{Addressee, Recipient};

/// Replies are sent when so many octets of them have gathered, or when no command is left.
const GATHERED_OCTETS: usize = 16 * 1024;

/// What the protocol is asked to remember of a recipient.
type Session = lmtp::Session<Addressee>;

/// What a conversation works with.
pub(super) struct Conversation {
    service: Arc<LmtpService>,
    mailbox: Mailbox,
    wire: Wire,
    peer: Peer,
    id: String,
    lines: LineBuffer,
    out: Vec<u8>,
    /// What BDAT has brought of a message, or what DATA is bringing.
    message: Option<Message>,
    began: Instant,
    stored: u64,
    refused: u64,
}

impl Conversation {
    pub(super) fn new(
        service: Arc<LmtpService>,
        mailbox: Mailbox,
        wire: Wire,
        peer: Peer,
        id: String,
    ) -> Self {
        Self {
            service,
            mailbox,
            wire,
            peer,
            id,
            lines: LineBuffer::default(),
            out: Vec::new(),
            message: None,
            began: Instant::now(),
            stored: 0,
            refused: 0,
        }
    }

    /// Talks until the session ends, and says in the log how it did.
    pub(super) async fn run(mut self) {
        let Err(ending) = self.talk().await;
        if let Some(mut broken_off) = self.message.take() {
            broken_off.discard(&self.mailbox).await;
        }
        let (seconds, stored, refused) =
            (self.began.elapsed().as_secs(), self.stored, self.refused);
        let ending = ending.as_str();
        // Health checks come all the time.
        if stored + refused == 0 {
            tracing::debug!(ending, seconds, "LMTP session ended, which brought nothing");
        } else {
            tracing::info!(ending, seconds, stored, refused, "LMTP session ended");
        }
    }

    /// Talks until the session ends, which is told as an error.
    async fn talk(&mut self) -> Result<Infallible, Ending> {
        let rules = Arc::clone(&self.service.rules);
        self.say(&Reply::greeting(&rules.server_name));
        let mut session = Session::new(Arc::clone(&rules));
        loop {
            loop {
                let bare = self.lines.next_ends_with_lf_alone();
                let Some(line) = self.lines.next_line(MAX_LINE_OCTETS) else {
                    break;
                };
                let step = if bare {
                    session.refuse_bare_line_feed()
                } else {
                    session.receive(line)
                };
                session = self.take(step).await?;
                if self.out.len() >= GATHERED_OCTETS {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            if let Err(ending) = self.wire.wait(&mut self.lines).await {
                match ending {
                    Ending::TimedOut => self.say(&Reply::timed_out(&rules.server_name)),
                    Ending::Shutdown => {
                        self.say(&Reply::closing(&rules.server_name, "is stopping"));
                    }
                    Ending::Quit | Ending::Refused | Ending::Disconnected => {}
                }
                self.flush().await?;
                return Err(ending);
            }
        }
    }

    /// Does what a step says.
    async fn take(&mut self, step: Step<Addressee>) -> Result<Session, Ending> {
        let session = match step {
            Step::Reply(reply, session) => {
                self.say(&reply);
                session
            }
            Step::Lookup(lookup) => self.look_up(lookup).await,
            Step::Receive(reply, incoming) => {
                self.say(&reply);
                self.flush().await?;
                self.receive(incoming).await?
            }
            Step::Chunk(chunk) => self.take_chunk(chunk).await?,
            Step::Skip(octets, reply, session) => {
                self.read_octets(octets).await?;
                self.say(&reply);
                session
            }
            Step::Close(reply) => {
                self.say(&reply);
                self.flush().await?;
                let quit = reply.code() == 221;
                return Err(if quit { Ending::Quit } else { Ending::Refused });
            }
        };
        // After RSET, LHLO or a refusal, what BDAT has brought is of no use any more.
        if !session.is_in_transaction()
            && let Some(mut forgotten) = self.message.take()
        {
            forgotten.discard(&self.mailbox).await;
        }
        Ok(session)
    }

    async fn look_up(&mut self, lookup: Lookup<Addressee>) -> Session {
        let find = FindRecipient {
            addresses: meant(lookup.address(), &self.service),
            octets: lookup.octets().unwrap_or_default(),
        };
        let found = self.mailbox.ask(find).await;
        let (reply, session) = match found.unwrap_or(Found::Unavailable) {
            Found::NoSpace => {
                self.service.metrics.lmtp.no_space();
                lookup.no_space()
            }
            Found::User(addressee) if !addressee.room.fits(lookup.octets().unwrap_or(1).max(1)) => {
                self.service.metrics.lmtp.delivered(Answer::OverQuota);
                let (user, octets) = (&addressee.address, lookup.octets());
                tracing::warn!(user, octets, "recipient refused: the maildrop is full");
                // No message is empty: a header of ours will stand in front of it.
                if addressee.room.fits(1) {
                    lookup.too_large()
                } else {
                    lookup.full()
                }
            }
            Found::User(addressee) => lookup.found(addressee),
            Found::Nobody => {
                self.service.metrics.lmtp.recipient_unknown();
                lookup.unknown()
            }
            Found::Unavailable => lookup.failed(),
        };
        self.say(&reply);
        session
    }

    /// Takes a message in by DATA.
    async fn receive(&mut self, incoming: Incoming<Addressee>) -> Result<Session, Ending> {
        self.message = Some(Message::new());
        let mut unstuffing = Unstuffing::default();
        let mut piece = Vec::new();
        loop {
            let taken = unstuffing.take(self.lines.octets(), &mut piece);
            self.lines.consume(taken);
            self.add(&piece).await;
            piece.clear();
            if unstuffing.has_ended() {
                break;
            }
            self.wire.read(&mut self.lines).await?;
        }
        let answers = self.deliver(incoming.envelope()).await;
        let (replies, session) = incoming.answered(&answers);
        self.say_all(&replies);
        Ok(session)
    }

    /// Takes a part of a message in by BDAT.
    async fn take_chunk(&mut self, chunk: Chunk<Addressee>) -> Result<Session, Ending> {
        if chunk.is_first() {
            self.message = Some(Message::new());
        }
        self.read_octets(chunk.octets()).await?;
        let refused = self.message.as_ref().and_then(Message::refused);
        let (replies, session) = match refused {
            Some(why) => {
                self.count_refused(chunk.envelope(), why);
                chunk.refused(why)
            }
            None if chunk.is_last() => {
                let answers = self.deliver(chunk.envelope()).await;
                chunk.answered(&answers)
            }
            None => {
                let (reply, session) = chunk.taken();
                (vec![reply], session)
            }
        };
        self.say_all(&replies);
        Ok(session)
    }

    /// Reads exactly so many octets, into the message if there is one.
    async fn read_octets(&mut self, octets: u64) -> Result<(), Ending> {
        let mut left = octets;
        while left > 0 {
            let here = self.lines.octets();
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
            let piece = here.get(..some).unwrap_or_default().to_vec();
            self.lines.consume(some);
            self.add(&piece).await;
            left -= some as u64;
            if left > 0 {
                self.wire.read(&mut self.lines).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, octets: &[u8]) {
        self.service
            .metrics
            .lmtp
            .octets_received(octets.len() as u64);
        if let Some(message) = &mut self.message {
            message.write(&self.service, &self.mailbox, octets).await;
        }
    }

    /// Stores the message; an answer for each recipient, in their order.
    async fn deliver(&mut self, envelope: &Envelope<Addressee>) -> Vec<Answer> {
        let Some(message) = self.message.take() else {
            return vec![Answer::Unavailable; envelope.recipients.len()];
        };
        let octets = message.octets();
        let trace = Trace {
            peer: &self.peer,
            server_name: &self.service.rules.server_name,
            id: &self.id,
            received_at: SystemTime::now(),
        };
        let recipient = |(address, known): &(lmtp::Address, Addressee)| Recipient {
            user: known.user,
            head: head(envelope, &trace, address, &known.address),
        };
        let recipients = envelope.recipients.iter().map(recipient).collect();
        let answers = message.deliver(&self.mailbox, recipients).await;
        self.note(envelope, octets, &answers);
        answers
    }

    /// Says in the log what became of a message, and counts it.
    fn note(&mut self, envelope: &Envelope<Addressee>, octets: u64, answers: &[Answer]) {
        let from = envelope.sender.as_ref().map(ReversePath::to_string);
        let from = from.unwrap_or_default();
        for ((recipient, known), answer) in envelope.recipients.iter().zip(answers) {
            self.service.metrics.lmtp.delivered(*answer);
            let (to, user) = (recipient.to_string(), &known.address);
            match answer {
                Answer::Stored => {
                    self.stored += 1;
                    tracing::info!(from, to, user, octets, "message delivered");
                }
                Answer::OverQuota => {
                    self.refused += 1;
                    tracing::warn!(
                        from,
                        to,
                        user,
                        octets,
                        "message refused: the maildrop is full"
                    );
                }
                Answer::Locked => {
                    self.refused += 1;
                    tracing::warn!(
                        from,
                        to,
                        user,
                        octets,
                        "message deferred: another transaction keeps the maildrop locked"
                    );
                }
                Answer::NoSuchUser | Answer::TooLarge | Answer::NoSpace | Answer::Unavailable => {
                    self.refused += 1;
                    tracing::info!(from, to, user, octets, why = ?answer, "message refused");
                }
            }
        }
    }

    fn count_refused(&mut self, envelope: &Envelope<Addressee>, why: Answer) {
        let octets = self.message.as_ref().map_or(0, Message::octets);
        self.note(envelope, octets, &vec![why; envelope.recipients.len()]);
    }

    fn say(&mut self, reply: &Reply) {
        self.out.extend_from_slice(reply.to_string().as_bytes());
    }

    fn say_all(&mut self, replies: &[Reply]) {
        for reply in replies {
            self.say(reply);
        }
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return Ok(());
        }
        self.wire.write(&out).await
    }
}
