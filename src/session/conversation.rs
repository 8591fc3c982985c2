//! One session from its greeting to its end: read a line, take the step, send the reply.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pop3::{Listing, Policy, Reply, Session, Step, Verb};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span};
use wire::{Line, LineBuffer};

use super::idle_signal::IdleSignal;
use super::reader::Reader;
use super::transport::Transport;
use super::{ListenerKind, SessionContext};
use crate::registry::{Admission, EndReason, Permit, SessionHandle, State};
use crate::store::{Lease, Maildrop};
use crate::telemetry;
use crate::tls::HandshakeError;

/// Replies are sent when so many octets of them have gathered, or when no command is left.
pub(super) const GATHERED_OCTETS: usize = 64 * 1024;

/// How much of a LIST or UIDL is written at once: so much stays in the processor's cache.
const LISTED_OCTETS: usize = 32 * 1024;

/// How long a session keeps what it fetched ahead while the client says nothing.
const READ_AHEAD_KEPT: Duration = Duration::from_secs(2);

/// A logged-in client that has been silent for so long is idle: it does not use up the time that
/// others have when the server stops. Filters of spam and the like think for less.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// How long an idle client may go on all the same, and how often the others are looked at.
const DRAIN_LOOK: Duration = Duration::from_secs(5);

/// What a conversation works with.
pub(super) struct Conversation {
    pub(super) service: Arc<SessionContext>,
    pub(super) live: Arc<SessionHandle>,
    pub(super) admission: Admission,
    rest: Rc<IdleSignal>,
    /// Until when the client must have logged in, if it has not.
    pub(super) login_by: Option<Instant>,
    pub(super) transport: Option<Transport>,
    lines: LineBuffer,
    pub(super) out: Vec<u8>,
    pub(super) open: Option<Open>,
    in_tls: bool,
    pub(super) draining: Pin<Box<dyn Future<Output = ()>>>,
    /// When this session learnt that the server stops.
    stopping_since: Option<Instant>,
}

/// An open maildrop, and what is given back when it is closed.
pub(super) struct Open {
    pub(super) maildrop: Arc<dyn Maildrop>,
    pub(super) reader: Reader,
    pub(super) _permit: Permit,
    pub(super) _lease: Lease,
}

/// Why a conversation can't go on.
#[derive(Debug)]
pub(super) struct SessionEnded(pub(super) EndReason);

impl From<io::Error> for SessionEnded {
    fn from(error: io::Error) -> Self {
        let timed_out = error.kind() == io::ErrorKind::TimedOut;
        Self(if timed_out {
            EndReason::TimedOut
        } else {
            EndReason::Disconnected
        })
    }
}

/// What came of waiting for the client.
enum Waited {
    Received,
    Closed,
    TimedOut,
    LoginTimedOut,
    Draining,
    MakesRoom,
    MakesWay,
}

impl Conversation {
    pub(super) fn new(
        service: Arc<SessionContext>,
        admission: Admission,
        transport: Transport,
        rest: Rc<IdleSignal>,
    ) -> Self {
        let draining = service.drain.clone().cancelled_owned();
        Self {
            live: Arc::clone(admission.live()),
            admission,
            rest,
            login_by: Some(Instant::now() + service.login_timeout),
            service,
            transport: Some(transport),
            lines: LineBuffer::default(),
            out: Vec::new(),
            open: None,
            in_tls: false,
            draining: Box::pin(draining),
            stopping_since: None,
        }
    }

    /// Talks until the session ends, and says how it did.
    pub(super) async fn run(mut self, listener: ListenerKind) -> EndReason {
        let ending = match self.talk(listener).await {
            Ok(ending) | Err(SessionEnded(ending)) => ending,
        };
        self.report_sent();
        self.close_maildrop();
        if let Some(transport) = self.transport.take() {
            Box::pin(transport.close()).await;
        }
        ending
    }

    async fn talk(&mut self, listener: ListenerKind) -> Result<EndReason, SessionEnded> {
        if self.live.client().is_none() {
            Box::pin(self.learn_client(listener)).await?;
        }
        if listener == ListenerKind::Tls {
            Box::pin(self.start_tls()).await?;
        }
        Box::pin(self.count_client()).await?;
        let greeting = Reply::greeting(&self.service.server_name);
        self.say(&greeting);
        let mut session = Session::new(self.policy());
        loop {
            while let Some(line) = self.lines.next_line(session.max_line_octets()) {
                let verb = verb(&session, &line);
                if let Some(verb) = verb {
                    self.live.begin_command(verb);
                    if !self.live.is_self_test() {
                        self.service.metrics.command(verb);
                    }
                }
                let span = verb.map_or_else(Span::none, telemetry::command);
                session = match session.receive(line) {
                    Step::Reply(reply, session) => {
                        self.note_marks(&session);
                        self.say(&reply);
                        session
                    }
                    Step::Login(login) => {
                        let answer = Box::pin(self.login(login).instrument(span)).await?;
                        self.answer(answer).await?
                    }
                    Step::Verifier(lookup) => {
                        let answer = Box::pin(self.look_up_verifier(lookup)).await?;
                        self.answer(answer).await?
                    }
                    Step::List(listing) => {
                        let began = Instant::now();
                        let session = Box::pin(self.list(listing)).await?;
                        self.note_duration(verb, began);
                        session
                    }
                    Step::Retrieve(retrieve) => {
                        let began = Instant::now();
                        let session = Box::pin(self.retrieve(retrieve)).await?;
                        self.note_duration(verb, began);
                        session
                    }
                    Step::StartTls(reply, _) => {
                        self.say(&reply);
                        self.flush().await?;
                        Box::pin(self.start_tls()).await?;
                        Session::new(self.policy())
                    }
                    Step::Commit(commit) => return Box::pin(self.commit(commit)).await,
                    Step::Close(reply) => {
                        let quit = reply.is_ok();
                        self.say(&reply);
                        self.close_maildrop();
                        self.flush().await?;
                        return Ok(if quit {
                            EndReason::Quit
                        } else {
                            EndReason::Refused
                        });
                    }
                };
                if self.out.len() >= GATHERED_OCTETS {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            self.out = Vec::new();
            self.live.wait_for_client();
            match self.wait(&session).await? {
                Waited::Received => {}
                Waited::Closed => return Ok(EndReason::Disconnected),
                Waited::TimedOut => return Ok(EndReason::TimedOut),
                Waited::LoginTimedOut => return Ok(Box::pin(self.end_login()).await),
                Waited::Draining => return Ok(EndReason::Shutdown),
                Waited::MakesWay => return Ok(Box::pin(self.make_way()).await),
                Waited::MakesRoom => return Ok(Box::pin(self.evict()).await),
            }
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            stls_offered: !self.in_tls && self.service.tls.is_some(),
            secrets_allowed: self.in_tls || self.service.plaintext_auth.allows(self.live.ip()),
            scram_offered: self.service.scram_offered,
            channel_bound: self.transport.as_ref().is_some_and(Transport::can_bind),
            mechanisms: self.service.mechanisms,
            channel_binding: self.service.channel_binding,
            certified: !self.certified_addresses().is_empty(),
            expire_days: self.service.expire_days,
            limits: self.service.limits,
        }
    }

    /// The addresses in the certificate that the client has shown.
    pub(super) fn certified_addresses(&self) -> &[String] {
        match &self.transport {
            Some(transport) => transport.client_addresses(),
            None => &[],
        }
    }

    /// What binds SCRAM to this connection.
    pub(super) fn channel_binding(&self, kind: &str) -> Option<Vec<u8>> {
        self.transport.as_ref()?.channel_binding(kind)
    }

    /// Says the answer to credentials; there may be no session any more.
    async fn answer(
        &mut self,
        (reply, session): (Reply, Option<Session>),
    ) -> Result<Session, SessionEnded> {
        self.say(&reply);
        if session.is_none() {
            self.flush().await?;
        }
        session.ok_or(SessionEnded(EndReason::Refused))
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        self.out.extend_from_slice(reply.as_bytes());
    }

    /// Waits until something has come from the client.
    ///
    /// The inactivity timer runs from the last command, not from the last octet: a line that is
    /// sent drop by drop is no activity (RFC 1939, section 3).
    async fn wait(&mut self, session: &Session) -> Result<Waited, SessionEnded> {
        let began = Instant::now();
        let inactive_at = began + self.service.session_timeout;
        let logged_in = matches!(session, Session::Transaction(_));
        let mut active_at = began;
        loop {
            let mut silent_at = match self.stopping_since {
                Some(since) => {
                    let idle_at = (active_at + IDLE_AFTER).max(since + DRAIN_LOOK);
                    inactive_at.min(idle_at).min(Instant::now() + DRAIN_LOOK)
                }
                None => inactive_at,
            };
            if let Some(login_by) = self.login_by {
                // A client that always has one more command to send would be read without end.
                if Instant::now() >= login_by {
                    return Ok(Waited::LoginTimedOut);
                }
                silent_at = silent_at.min(login_by);
            }
            let keeps = self
                .open
                .as_ref()
                .is_some_and(|open| open.reader.is_ahead());
            let wake_at = if keeps {
                silent_at.min(began + READ_AHEAD_KEPT)
            } else {
                silent_at
            };
            let Some(transport) = self.transport.as_mut() else {
                return Ok(Waited::Closed);
            };
            let read = tokio::select! {
                biased;
                () = self.rest.interrupted() => {
                    let waited = if logged_in { Waited::MakesWay } else { Waited::MakesRoom };
                    return Ok(waited);
                }
                read = timeout_at(wake_at, transport.read(&mut self.lines)) => Some(read),
                () = &mut self.draining, if self.stopping_since.is_none() => None,
            };
            match read {
                Some(Ok(octets)) => {
                    if octets? == 0 {
                        return Ok(Waited::Closed);
                    }
                    self.live.note_activity();
                    if transport.began_with_proxy_header() {
                        let fault = "no header of the PROXY protocol is taken from here";
                        return Box::pin(self.refuse_proxy(fault)).await;
                    }
                    if self.lines.has_line(session.max_line_octets()) {
                        return Ok(Waited::Received);
                    }
                }
                Some(Err(_)) if keeps && Instant::now() < silent_at => {
                    if let Some(open) = &mut self.open {
                        open.reader.forget_ahead();
                    }
                }
                Some(Err(_)) if self.goes_on(inactive_at, &mut active_at) => {}
                Some(Err(_)) if self.stopping_since.is_some() => return Ok(Waited::Draining),
                Some(Err(_)) if Some(silent_at) == self.login_by => {
                    return Ok(Waited::LoginTimedOut);
                }
                Some(Err(_)) => return Ok(Waited::TimedOut),
                None => self.stopping_since = Some(Instant::now()),
            }
            if self.stopping_since.is_some() && !logged_in {
                return Ok(Waited::Draining);
            }
        }
    }

    /// May a silent client go on although the server stops? One that has not read all that was sent
    /// to it is active, and any other until it is idle.
    fn goes_on(&self, inactive_at: Instant, active_at: &mut Instant) -> bool {
        let now = Instant::now();
        if self.stopping_since.is_none() || now >= inactive_at {
            return false;
        }
        if self.transport.as_ref().is_some_and(Transport::has_unread) {
            *active_at = now;
        }
        now < *active_at + IDLE_AFTER
    }

    async fn start_tls(&mut self) -> Result<(), SessionEnded> {
        let (Some(transport), Some(tls)) = (self.transport.take(), &self.service.tls) else {
            return Err(SessionEnded(EndReason::Handshake));
        };
        // Anyone on the path could have sent what came in clear, so it is forgotten.
        self.lines = LineBuffer::default();
        let shaken = tokio::select! {
            shaken = transport.start_tls(tls, self.service.alpn) => shaken,
            () = until(self.login_by) => Err(HandshakeError::timed_out()),
            () = &mut self.draining => return Err(SessionEnded(EndReason::Shutdown)),
        };
        match shaken {
            Ok(transport) => {
                self.transport = Some(transport);
                self.in_tls = true;
                Ok(())
            }
            Err(error) => {
                self.live.set_handshake_error(error);
                Err(SessionEnded(EndReason::Handshake))
            }
        }
    }

    /// Waits until then, whatever the client does; the server's end is not waited for.
    pub(super) async fn pause_until(
        &mut self,
        then: std::time::Instant,
    ) -> Result<(), SessionEnded> {
        tokio::select! {
            () = tokio::time::sleep_until(then.into()) => Ok(()),
            () = &mut self.draining => Err(SessionEnded(EndReason::Shutdown)),
        }
    }

    /// The client has logged in: it may take its time now, and is in nobody's way.
    pub(super) fn logged_in(&mut self) {
        self.login_by = None;
        self.admission.logged_in();
        self.live.set_state(State::Transaction);
    }

    async fn list(&mut self, mut listing: Listing) -> Result<Session, SessionEnded> {
        while !listing.write(&mut self.out, LISTED_OCTETS) {
            self.flush().await?;
            // A client that reads as fast as this writes is never waited for, and others wait.
            tokio::task::yield_now().await;
        }
        Ok(listing.finish())
    }

    /// Gives the slot back before the last reply: a client may log in again at once.
    pub(super) fn close_maildrop(&mut self) {
        self.open = None;
    }

    fn note_duration(&self, verb: Option<Verb>, began: Instant) {
        if let Some(verb) = verb {
            self.service.metrics.command_took(verb, began.elapsed());
        }
    }

    fn note_marks(&self, session: &Session) {
        if let Session::Transaction(transaction) = session {
            self.live.set_marked(transaction.marks().len());
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), SessionEnded> {
        self.write(&[]).await
    }

    /// Sends what has gathered, and then these octets.
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), SessionEnded> {
        if self.out.is_empty() && octets.is_empty() {
            return Ok(());
        }
        let transport = self
            .transport
            .as_mut()
            .ok_or(SessionEnded(EndReason::Disconnected))?;
        let write = transport.write_all(&self.out, octets);
        let written = match self.login_by {
            None => write.await,
            Some(login_by) => {
                let written = Box::pin(timeout_at(login_by, write)).await;
                written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        };
        self.out.clear();
        self.report_sent();
        Ok(written?)
    }

    fn report_sent(&mut self) {
        if let Some(transport) = &mut self.transport
            && !self.live.is_self_test()
        {
            self.service.metrics.octets_sent(transport.take_sent());
        }
    }
}

/// Waits until then; without a time, for ever.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// The command of a line; a response in an exchange of SASL is none.
fn verb(session: &Session, line: &Line<'_>) -> Option<Verb> {
    match (session, line) {
        (Session::Challenge(_), _) => None,
        (Session::Authorization(_) | Session::Transaction(_), Line::TooLong) => Some(Verb::Unknown),
        (Session::Authorization(_) | Session::Transaction(_), Line::Text(text)) => {
            Some(Verb::of(text))
        }
    }
}
