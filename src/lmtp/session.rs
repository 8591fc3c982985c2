//! One session from its greeting to its end: read a line, take the step, send the reply.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use lmtp::{Answer, Chunk, Envelope, Incoming, Lookup, MAX_LINE_OCTETS, Reply, ReversePath, Step};
use wire::{LineBuffer, Unstuffing};

use super::LmtpContext;
use super::message::ReceivedMessage;
use super::recipient::meant;
use super::trace_headers::{Trace, trace_headers};
use crate::mailbox::{AddresseeLookup, FindRecipient};
use crate::net::{AdmittedConnection, SessionSignals, Transport};
use crate::registry::{Admission, EndReason, SessionHandle};
use crate::store::{Addressee, Recipient};

/// The octets of replies that are sent at once, unless no command is left before.
const GATHERED_OCTETS: usize = 16 * 1024;

/// The longest silence of a client inside a message while the server stops.
const DRAIN_SILENCE: Duration = Duration::from_secs(5);

/// The state of the protocol, which keeps the user of each recipient.
type Session = lmtp::Session<Addressee>;

/// One session.
pub(super) struct LmtpSession {
    context: Arc<LmtpContext>,
    handle: Arc<SessionHandle>,
    signals: Rc<SessionSignals>,
    transport: Transport,
    lines: LineBuffer,
    out: Vec<u8>,
    /// The message that DATA brings, or of which BDAT has brought a part.
    message: Option<ReceivedMessage>,
    _admission: Admission,
}

impl LmtpSession {
    pub(super) fn new(
        context: Arc<LmtpContext>,
        connection: AdmittedConnection,
        signals: Rc<SessionSignals>,
    ) -> Self {
        Self {
            context,
            handle: Arc::clone(connection.admission.handle()),
            signals,
            transport: connection.transport,
            lines: LineBuffer::default(),
            out: Vec::new(),
            message: None,
            _admission: connection.admission,
        }
    }

    /// Talks until the session ends. It is killed only while it waits for its client, so that no part of
    /// a message is lost between here and the store, and the client learns the outcome of a commit.
    pub(super) async fn run(mut self) -> EndReason {
        let Err(ending) = self.talk().await;
        if let Some(mut broken_off) = self.message.take() {
            broken_off.discard(&self.context.mailbox).await;
        }
        if ending != EndReason::Killed {
            Box::pin(self.transport.close()).await;
        }
        ending
    }

    /// Talks until the session ends, for which the error is the reason.
    async fn talk(&mut self) -> Result<Infallible, EndReason> {
        let rules = Arc::clone(&self.context.rules);
        self.say(&Reply::greeting(&rules.server_name));
        let mut session = Session::new(Arc::clone(&rules));
        loop {
            loop {
                // It may have been killed while a message was stored: what follows is not taken.
                if self.signals.is_killed() {
                    return Err(self.say_killed());
                }
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
            if let Err(ending) = self.wait().await {
                self.say_goodbye(ending).await?;
                return Err(ending);
            }
        }
    }

    /// Waits for the next command. A server that stops takes no further one.
    async fn wait(&mut self) -> Result<(), EndReason> {
        tokio::select! {
            biased;
            () = self.signals.killed() => Err(self.say_killed()),
            () = self.context.drain.cancelled() => Err(EndReason::Shutdown),
            read = self.transport.read(&mut self.lines) => read,
            () = tokio::time::sleep(self.context.session_timeout) => Err(EndReason::TimedOut),
        }
    }

    /// Reads more of a message.
    async fn read(&mut self) -> Result<(), EndReason> {
        let drain = &self.context.drain;
        let stopping = async {
            drain.cancelled().await;
            tokio::time::sleep(DRAIN_SILENCE).await;
        };
        tokio::select! {
            biased;
            () = self.signals.killed() => Err(self.say_killed()),
            read = self.transport.read(&mut self.lines) => read,
            () = tokio::time::sleep(self.context.session_timeout) => Err(EndReason::TimedOut),
            () = stopping => Err(EndReason::Shutdown),
        }
    }

    /// Sends the reason for which the server ends the session.
    async fn say_goodbye(&mut self, ending: EndReason) -> Result<(), EndReason> {
        let server_name = &self.context.rules.server_name;
        let reply = if ending == EndReason::TimedOut {
            Reply::timed_out(server_name)
        } else if ending == EndReason::Shutdown {
            Reply::closing(server_name, "is stopping")
        } else {
            return Ok(());
        };
        self.say(&reply);
        self.flush().await
    }

    /// Tells the client that the session is killed, if that can be sent at once.
    fn say_killed(&mut self) -> EndReason {
        let why = match self.handle.ending() {
            Some(EndReason::Shutdown) => "is stopping",
            _ => "ends this session",
        };
        self.say(&Reply::closing(&self.context.rules.server_name, why));
        let out = std::mem::take(&mut self.out);
        // A client that reads nothing must not hold the end up.
        let _ = self.transport.write_all(&out, &[]).now_or_never();
        EndReason::Killed
    }

    /// Does what a step says.
    async fn take(&mut self, step: Step<Addressee>) -> Result<Session, EndReason> {
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
                return Err(if quit {
                    EndReason::Quit
                } else {
                    EndReason::Refused
                });
            }
        };
        // After RSET, LHLO or a refusal, what BDAT has brought is of no use any more.
        if !session.is_in_transaction()
            && let Some(mut forgotten) = self.message.take()
        {
            forgotten.discard(&self.context.mailbox).await;
        }
        Ok(session)
    }

    async fn look_up(&mut self, lookup: Lookup<Addressee>) -> Session {
        let find = FindRecipient {
            addresses: meant(lookup.address(), &self.context),
            octets: lookup.octets().unwrap_or_default(),
        };
        let found = self.context.mailbox.ask(find).await;
        let (reply, session) = match found.unwrap_or(AddresseeLookup::Unavailable) {
            AddresseeLookup::NoSpace => {
                self.context.metrics.lmtp.no_space();
                lookup.no_space()
            }
            AddresseeLookup::User(addressee)
                if !addressee.room.fits(lookup.octets().unwrap_or(1).max(1)) =>
            {
                self.context.metrics.lmtp.delivered(Answer::OverQuota);
                let (user, octets) = (&addressee.address, lookup.octets());
                tracing::warn!(user, octets, "recipient refused: the maildrop is full");
                // No message is empty: trace headers stand in front of it.
                if addressee.room.fits(1) {
                    lookup.too_large()
                } else {
                    lookup.full()
                }
            }
            AddresseeLookup::User(addressee) => lookup.found(addressee),
            AddresseeLookup::Nobody => {
                self.context.metrics.lmtp.recipient_unknown();
                lookup.unknown()
            }
            AddresseeLookup::Unavailable => lookup.failed(),
        };
        self.say(&reply);
        session
    }

    /// Receives a message by DATA.
    async fn receive(&mut self, incoming: Incoming<Addressee>) -> Result<Session, EndReason> {
        self.message = Some(ReceivedMessage::new());
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
            self.read().await?;
        }
        let answers = self.deliver(incoming.envelope()).await;
        let (replies, session) = incoming.answered(&answers);
        self.say_all(&replies);
        Ok(session)
    }

    /// Receives a part of a message by BDAT.
    async fn take_chunk(&mut self, chunk: Chunk<Addressee>) -> Result<Session, EndReason> {
        if chunk.is_first() {
            self.message = Some(ReceivedMessage::new());
        }
        self.read_octets(chunk.octets()).await?;
        let refused = self.message.as_ref().and_then(ReceivedMessage::refused);
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
    async fn read_octets(&mut self, octets: u64) -> Result<(), EndReason> {
        let mut left = octets;
        while left > 0 {
            let here = self.lines.octets();
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
            let piece = here.get(..some).unwrap_or_default().to_vec();
            self.lines.consume(some);
            self.add(&piece).await;
            left -= some as u64;
            if left > 0 {
                self.read().await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, octets: &[u8]) {
        self.context
            .metrics
            .lmtp
            .octets_received(octets.len() as u64);
        if let Some(message) = &mut self.message {
            let max_octets = self.context.rules.max_octets;
            let mailbox = &self.context.mailbox;
            message.write(max_octets, mailbox, octets).await;
        }
    }

    /// Stores the message; returns an answer for each recipient, in their order.
    async fn deliver(&mut self, envelope: &Envelope<Addressee>) -> Vec<Answer> {
        let Some(message) = self.message.take() else {
            return vec![Answer::Unavailable; envelope.recipients.len()];
        };
        let octets = message.octets();
        let trace = Trace {
            peer: self.handle.peer(),
            server_name: &self.context.rules.server_name,
            id: self.handle.id(),
            received_at: SystemTime::now(),
        };
        let recipient = |(address, known): &(lmtp::Address, Addressee)| Recipient {
            user: known.user,
            trace_headers: trace_headers(envelope, &trace, address, &known.address),
        };
        let recipients = envelope.recipients.iter().map(recipient).collect();
        // A commit that has begun is not broken off: the client learns its outcome.
        self.handle.set_updating(true);
        let answers = message.deliver(&self.context.mailbox, recipients).await;
        self.handle.set_updating(false);
        self.note(envelope, octets, &answers);
        answers
    }

    /// Counts and logs the outcome of a message.
    fn note(&mut self, envelope: &Envelope<Addressee>, octets: u64, answers: &[Answer]) {
        let from = envelope.sender.as_ref().map(ReversePath::to_string);
        let from = from.unwrap_or_default();
        for ((recipient, known), answer) in envelope.recipients.iter().zip(answers) {
            self.context.metrics.lmtp.delivered(*answer);
            let (to, user) = (recipient.to_string(), &known.address);
            match answer {
                Answer::Stored => {
                    self.handle.activity().add_delivered();
                    tracing::info!(from, to, user, octets, "message delivered");
                }
                Answer::OverQuota => {
                    self.handle.activity().add_refused();
                    tracing::warn!(
                        from,
                        to,
                        user,
                        octets,
                        "message refused: the maildrop is full"
                    );
                }
                Answer::Locked => {
                    self.handle.activity().add_refused();
                    tracing::warn!(
                        from,
                        to,
                        user,
                        octets,
                        "message deferred: another transaction keeps the maildrop locked"
                    );
                }
                Answer::NoSuchUser | Answer::TooLarge | Answer::NoSpace | Answer::Unavailable => {
                    self.handle.activity().add_refused();
                    tracing::info!(from, to, user, octets, why = ?answer, "message refused");
                }
            }
        }
    }

    fn count_refused(&mut self, envelope: &Envelope<Addressee>, why: Answer) {
        let octets = self.message.as_ref().map_or(0, ReceivedMessage::octets);
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

    async fn flush(&mut self) -> Result<(), EndReason> {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            written = self.transport.write_all(&out, &[]) => Ok(written?),
            () = self.signals.killed() => Err(EndReason::Killed),
        }
    }
}
