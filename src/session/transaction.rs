//! TRANSACTION: from the login to QUIT.

use std::sync::Arc;
use std::time::Duration;

use pop3::{Commit, Listing, Reply, ResponseCode, Transaction, TransactionStep, Verb};
use tokio::time::{Instant, timeout_at};

use super::client::{ClientIo, verb_of};
use super::reader::Reader;
use super::retrieval::Retrieval;
use super::update::Update;
use crate::registry::{Admission, EndReason, Permit};
use crate::store::{Lease, Maildrop};

/// The octets of a LIST or UIDL that are written at once: so many stay in the processor's cache.
const LISTED_OCTETS: usize = 32 * 1024;

/// The time for which a session keeps what it has read ahead while the client is silent.
const READ_AHEAD_KEPT: Duration = Duration::from_secs(2);

/// The silence after which a client is idle, and does not delay the stop of the server. Spam filters
/// and the like think for less.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// The time that an idle client gets when the server stops, and between two looks at the others.
const DRAIN_LOOK: Duration = Duration::from_secs(5);

/// A store that wants to know which messages were retrieved is told of so many at once, unless the
/// client waits before.
const RETRIEVED_AT_ONCE: usize = 256;

/// An open maildrop, and what is given back when it is closed.
pub(super) struct OpenedMaildrop {
    pub(super) maildrop: Arc<dyn Maildrop>,
    pub(super) reader: Reader,
    pub(super) _permit: Permit,
    pub(super) _lease: Lease,
}

/// A session that has a maildrop open.
pub(super) struct TransactionPhase {
    client: ClientIo,
    maildrop: OpenedMaildrop,
    /// The time at which this session learned that the server stops.
    stopping_since: Option<Instant>,
    _admission: Admission,
}

/// How the phase ends.
enum TransactionEnd {
    /// UPDATE: delete the marked messages, and end.
    Commit(Commit),
    /// Send this and end.
    Close(Reply, EndReason),
    /// End for a new login of the same device, and send why if the client reads it soon.
    Superseded,
}

impl TransactionPhase {
    /// The client has logged in.
    pub(super) fn new(
        mut client: ClientIo,
        admission: Admission,
        maildrop: OpenedMaildrop,
    ) -> Self {
        // From here on, the inactivity timer alone limits the time.
        client.login_by = None;
        Self {
            client,
            maildrop,
            stopping_since: None,
            _admission: admission,
        }
    }

    /// Talks until the session ends.
    pub(super) async fn run(mut self, state: Transaction) -> EndReason {
        let next = self.talk(state).await;
        // Boxed, it takes no memory in an idle session.
        Box::pin(self.end(next)).await
    }

    /// Commits, or says why the session ends, and closes the connection.
    async fn end(self, next: Result<TransactionEnd, EndReason>) -> EndReason {
        let Self {
            mut client,
            maildrop,
            _admission,
            ..
        } = self;
        let ending = match next {
            Ok(TransactionEnd::Commit(commit)) => {
                Update::new(&mut client, maildrop).run(commit).await
            }
            Ok(TransactionEnd::Close(reply, ending)) => {
                // The slot is free before the last reply: a client may log in again at once.
                drop(maildrop);
                client.say(&reply);
                client.flush().await.err().unwrap_or(ending)
            }
            Ok(TransactionEnd::Superseded) => {
                drop(maildrop);
                let goodbye = Reply::coded(
                    ResponseCode::SysTemp,
                    "idle session ended by a new login with the same key; nothing was deleted",
                );
                client.say_goodbye(&goodbye).await;
                EndReason::Superseded
            }
            Err(ending) => {
                drop(maildrop);
                ending
            }
        };
        client.close().await;
        ending
    }

    async fn talk(&mut self, mut state: Transaction) -> Result<TransactionEnd, EndReason> {
        let max_octets = state.max_line_octets();
        loop {
            while let Some(line) = self.client.lines.next_line(max_octets) {
                let verb = verb_of(&line);
                let step = state.receive(line);
                self.client.begin_command(Some(verb));
                state = match step {
                    TransactionStep::Reply(reply, state) => {
                        let marked = state.marks().len();
                        self.client.handle.activity().set_marked(marked);
                        self.client.say(&reply);
                        state
                    }
                    TransactionStep::List(listing) => {
                        let began = Instant::now();
                        let state = Box::pin(self.list(listing)).await?;
                        self.note_duration(verb, began);
                        state
                    }
                    TransactionStep::Retrieve(retrieve) => {
                        let began = Instant::now();
                        let reader = &mut self.maildrop.reader;
                        let retrieval = Retrieval::new(&mut self.client, reader);
                        let state = Box::pin(retrieval.run(retrieve)).await?;
                        self.note_duration(verb, began);
                        if self.maildrop.reader.retrieved() >= RETRIEVED_AT_ONCE {
                            self.report_retrieved().await?;
                        }
                        state
                    }
                    TransactionStep::Commit(commit) => {
                        self.report_retrieved().await?;
                        return Ok(TransactionEnd::Commit(commit));
                    }
                    TransactionStep::Quit(reply) => {
                        self.report_retrieved().await?;
                        return Ok(TransactionEnd::Close(reply, EndReason::Quit));
                    }
                    TransactionStep::Close(reply) => {
                        return Ok(TransactionEnd::Close(reply, EndReason::Refused));
                    }
                };
                self.client.flush_if_many().await?;
            }
            self.client.flush_and_wait().await?;
            let mailbox = &self.client.context.mailbox;
            self.maildrop.reader.report_retrieved(mailbox);
            if let Some(next) = self.wait(max_octets).await? {
                return Ok(next);
            }
        }
    }

    /// Tells the store which messages were retrieved, once they are sent.
    async fn report_retrieved(&mut self) -> Result<(), EndReason> {
        if self.maildrop.reader.retrieved() > 0 {
            self.client.flush().await?;
            let mailbox = &self.client.context.mailbox;
            self.maildrop.reader.report_retrieved(mailbox);
        }
        Ok(())
    }

    /// Sends a listing piece by piece.
    async fn list(&mut self, mut listing: Listing) -> Result<Transaction, EndReason> {
        while !listing.write(&mut self.client.out, LISTED_OCTETS) {
            self.client.flush().await?;
            // A client that reads as fast as this writes is never waited for, and others wait.
            tokio::task::yield_now().await;
        }
        Ok(listing.finish())
    }

    fn note_duration(&self, verb: Verb, began: Instant) {
        let metrics = &self.client.context.metrics;
        metrics.command_took(verb, began.elapsed());
    }

    /// Waits until a line is there, or for what ends the phase.
    ///
    /// The inactivity timer runs from the last command, not from the last octet: a line that is
    /// sent drop by drop is no activity (RFC 1939, section 3).
    async fn wait(&mut self, max_octets: usize) -> Result<Option<TransactionEnd>, EndReason> {
        let began = Instant::now();
        let inactive_at = began + self.client.context.settings.pop3.session_timeout;
        let mut active_at = began;
        loop {
            let silent_at = self.silent_at(inactive_at, active_at);
            let is_ahead = self.maildrop.reader.is_ahead();
            let wake_at = if is_ahead {
                silent_at.min(began + READ_AHEAD_KEPT)
            } else {
                silent_at
            };
            let client = &mut self.client;
            let read = tokio::select! {
                biased;
                () = client.signals.interrupted() => return Ok(Some(TransactionEnd::Superseded)),
                read = timeout_at(wake_at, client.transport.read(&mut client.lines)) => read,
                () = &mut client.draining, if self.stopping_since.is_none() => {
                    self.stopping_since = Some(Instant::now());
                    continue;
                }
            };
            match read {
                Ok(read) => {
                    read?;
                    if client.lines.has_line(max_octets) {
                        return Ok(None);
                    }
                }
                Err(_) if is_ahead && Instant::now() < silent_at => {
                    self.maildrop.reader.forget_ahead();
                }
                Err(_) if self.goes_on(inactive_at, &mut active_at) => {}
                Err(_) if self.stopping_since.is_some() => return Err(EndReason::Shutdown),
                Err(_) => return Err(EndReason::TimedOut),
            }
        }
    }

    /// The time at which a silent client is looked at again.
    fn silent_at(&self, inactive_at: Instant, active_at: Instant) -> Instant {
        let Some(since) = self.stopping_since else {
            return inactive_at;
        };
        let idle_at = (active_at + IDLE_AFTER).max(since + DRAIN_LOOK);
        inactive_at.min(idle_at).min(Instant::now() + DRAIN_LOOK)
    }

    /// Whether a silent client may go on although the server stops. One that has not read all that
    /// was sent to it is active, and any other until it is idle.
    fn goes_on(&self, inactive_at: Instant, active_at: &mut Instant) -> bool {
        let now = Instant::now();
        if self.stopping_since.is_none() || now >= inactive_at {
            return false;
        }
        if self.client.transport.has_unread() {
            *active_at = now;
        }
        now < *active_at + IDLE_AFTER
    }
}
