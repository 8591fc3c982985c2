//! One session from its greeting to its end: read a line, take the step, send the reply.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pop3::{
    Commit, Line, LineBuffer, Listing, Login, LoginRefusal, Part, Policy, Reply, Retrieve,
    RetrieveRefusal, Session, Step, Stuffing, Top, Verb,
};
use tokio::time::{Instant, timeout_at};

use super::reader::Reader;
use super::transport::Transport;
use super::{ListenerKind, Service};
use crate::mailbox::{CommitDeletions, Identified, Identify, KeyUsed, OpenMaildrop};
use crate::metrics::AuthFailure;
use crate::registry::{Claim, Ending, Live, Permit, State};
use crate::store::{CHUNK_OCTETS, Lease, Maildrop};

/// Replies are sent when so many octets of them have gathered, or when no command is left.
const GATHERED_OCTETS: usize = 64 * 1024;

/// A piece of a message of this size is sent from where it lies, a smaller one gathered.
const DIRECT_OCTETS: usize = 16 * 1024;

/// How long a session keeps what it fetched ahead while the client says nothing.
const READ_AHEAD_KEPT: Duration = Duration::from_secs(2);

/// How long a logged-in client may be silent while the server stops.
const DRAIN_SILENCE: Duration = Duration::from_secs(5);

/// What a conversation works with.
pub(super) struct Conversation {
    service: Arc<Service>,
    live: Arc<Live>,
    transport: Option<Transport>,
    lines: LineBuffer,
    out: Vec<u8>,
    open: Option<Open>,
    in_tls: bool,
    draining: Pin<Box<dyn Future<Output = ()>>>,
    /// When this session learnt that the server stops.
    stopping_since: Option<Instant>,
}

/// An open maildrop, and what is given back when it is closed.
struct Open {
    maildrop: Arc<Maildrop>,
    reader: Reader,
    _permit: Permit,
    _lease: Lease,
}

/// Why a conversation can't go on.
#[derive(Debug)]
struct Over(Ending);

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        let timed_out = error.kind() == io::ErrorKind::TimedOut;
        Self(if timed_out {
            Ending::TimedOut
        } else {
            Ending::Disconnected
        })
    }
}

/// What came of waiting for the client.
enum Waited {
    Received,
    Closed,
    TimedOut,
    Draining,
}

impl Conversation {
    pub(super) fn new(service: Arc<Service>, live: Arc<Live>, transport: Transport) -> Self {
        let draining = service.drain.clone().cancelled_owned();
        Self {
            service,
            live,
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
    pub(super) async fn run(mut self, listener: ListenerKind) -> Ending {
        let ending = match self.talk(listener).await {
            Ok(ending) | Err(Over(ending)) => ending,
        };
        self.report_sent();
        if let Some(transport) = self.transport.take() {
            Box::pin(transport.close()).await;
        }
        ending
    }

    async fn talk(&mut self, listener: ListenerKind) -> Result<Ending, Over> {
        if listener == ListenerKind::Tls {
            self.start_tls().await?;
        }
        let greeting = Reply::greeting(&self.service.server_name);
        self.say(&greeting);
        let mut session = Session::new(self.policy());
        loop {
            while let Some(line) = self.lines.next_line() {
                self.service.metrics.command(verb(&line));
                session = match session.receive(line) {
                    Step::Reply(reply, session) => {
                        self.note_marks(&session);
                        self.say(&reply);
                        session
                    }
                    Step::Login(login) => {
                        let (reply, next) = Box::pin(self.login(login)).await;
                        self.say(&reply);
                        let Some(session) = next else {
                            self.flush().await?;
                            return Ok(Ending::Refused);
                        };
                        session
                    }
                    Step::List(listing) => Box::pin(self.list(listing)).await?,
                    Step::Retrieve(retrieve) => Box::pin(self.retrieve(retrieve)).await?,
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
                        return Ok(if quit { Ending::Quit } else { Ending::Refused });
                    }
                };
                if self.out.len() >= GATHERED_OCTETS {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            self.out = Vec::new();
            match self.wait(&session).await? {
                Waited::Received => {}
                Waited::Closed => return Ok(Ending::Disconnected),
                Waited::TimedOut => return Ok(Ending::TimedOut),
                Waited::Draining => return Ok(Ending::Shutdown),
            }
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            stls_offered: !self.in_tls && self.service.tls.is_some(),
            secrets_allowed: self.in_tls || self.service.plaintext_allowed(self.live.ip()),
        }
    }

    fn say(&mut self, reply: &Reply) {
        self.out.extend_from_slice(reply.as_bytes());
    }

    /// Waits until something has come from the client.
    ///
    /// The inactivity timer runs from the last command, not from the last octet: a line that is
    /// sent drop by drop is no activity (RFC 1939, section 3).
    async fn wait(&mut self, session: &Session) -> Result<Waited, Over> {
        let began = Instant::now();
        let inactive_at = began + self.service.session_timeout;
        let logged_in = matches!(session, Session::Transaction(_));
        loop {
            let silent_at = match self.stopping_since {
                Some(since) => inactive_at.min(began.max(since) + DRAIN_SILENCE),
                None => inactive_at,
            };
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
                read = timeout_at(wake_at, transport.read(&mut self.lines)) => Some(read),
                () = &mut self.draining, if self.stopping_since.is_none() => None,
            };
            match read {
                Some(Ok(octets)) => {
                    if octets? == 0 {
                        return Ok(Waited::Closed);
                    }
                    if self.lines.has_line() {
                        return Ok(Waited::Received);
                    }
                }
                Some(Err(_)) if keeps && Instant::now() < silent_at => {
                    if let Some(open) = &mut self.open {
                        open.reader.forget_ahead();
                    }
                }
                Some(Err(_)) if self.stopping_since.is_some() => return Ok(Waited::Draining),
                Some(Err(_)) => return Ok(Waited::TimedOut),
                None => self.stopping_since = Some(Instant::now()),
            }
            if self.stopping_since.is_some() && !logged_in {
                return Ok(Waited::Draining);
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), Over> {
        let (Some(transport), Some(acceptor)) = (self.transport.take(), &self.service.tls) else {
            return Err(Over(Ending::Handshake));
        };
        // Anyone on the path could have sent what came in clear, so it is forgotten.
        self.lines = LineBuffer::default();
        let shaken = tokio::select! {
            shaken = transport.start_tls(acceptor) => shaken,
            () = &mut self.draining => return Err(Over(Ending::Shutdown)),
        };
        match shaken {
            Ok(transport) => {
                self.transport = Some(transport);
                self.in_tls = true;
                Ok(())
            }
            Err(error) => {
                tracing::debug!(error = %error, "TLS handshake failed");
                Err(Over(Ending::Handshake))
            }
        }
    }

    async fn login(&mut self, login: Login) -> (Reply, Option<Session>) {
        self.service.metrics.auth_attempt();
        match self.open_maildrop(&login).await {
            Ok(snapshot) => {
                let (reply, session) = login.granted(snapshot);
                (reply, Some(session))
            }
            Err(why) => {
                self.service.metrics.auth_failure(why.into());
                tracing::info!(reason = ?why, user = ?login.address(), "login refused");
                login.refused(why)
            }
        }
    }

    async fn open_maildrop(&mut self, login: &Login) -> Result<Arc<pop3::Snapshot>, LoginRefusal> {
        let service = Arc::clone(&self.service);
        let identify = || Identify {
            address: login.address().to_owned(),
            secret: login.secret().clone(),
        };
        let identified = service.mailbox.ask(identify).await;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let identified = identified.map_err(|_| LoginRefusal::Unavailable)?;
        let Identified {
            user,
            maildrop,
            lease,
        } = identified.map_err(|_| LoginRefusal::Credentials)?;
        let permit = service.registry.ask(|| Claim(user.user)).await;
        let permit = permit.map_err(|_| LoginRefusal::Unavailable)?;
        let permit = permit.ok_or(LoginRefusal::TooManySessions)?;
        let maildrop = match maildrop {
            Some(maildrop) => maildrop,
            None => {
                let open = OpenMaildrop {
                    user: user.user,
                    version: user.version,
                };
                let opened = service.mailbox.ask(|| open).await;
                let opened = opened.map_err(|_| LoginRefusal::Unavailable)?;
                opened.map_err(|_| LoginRefusal::Unavailable)?
            }
        };
        if let Some(key) = user.key {
            service.mailbox.tell(KeyUsed(key));
        }
        self.live
            .set_login(&user.address, &user.key_name, maildrop.snapshot.len());
        self.live.set_state(State::Transaction);
        let snapshot = Arc::clone(&maildrop.snapshot);
        self.open = Some(Open {
            reader: Reader::new(Arc::clone(&maildrop)),
            maildrop,
            _permit: permit,
            _lease: lease,
        });
        Ok(snapshot)
    }

    async fn list(&mut self, mut listing: Listing) -> Result<Session, Over> {
        while !listing.write(&mut self.out, GATHERED_OCTETS) {
            self.flush().await?;
        }
        Ok(listing.finish())
    }

    async fn retrieve(&mut self, retrieve: Retrieve) -> Result<Session, Over> {
        match retrieve.part() {
            Part::Whole => self.retrieve_whole(retrieve).await,
            Part::Top(lines) => self.retrieve_top(retrieve, Top::new(lines)).await,
        }
    }

    async fn retrieve_whole(&mut self, retrieve: Retrieve) -> Result<Session, Over> {
        let (number, octets) = (retrieve.number(), retrieve.octets());
        let Some(open) = &mut self.open else {
            return Ok(self.refuse_message(retrieve, RetrieveRefusal::Unavailable));
        };
        let first = match open.reader.first_chunk(&self.service.mailbox, number).await {
            Ok(first) => first,
            Err(why) => return Ok(self.refuse_message(retrieve, why)),
        };
        let (heading, session) = retrieve.found();
        self.out
            .reserve(heading.as_bytes().len() + first.len().min(DIRECT_OCTETS) + ROOM_FOR_DOTS);
        self.say(&heading);
        let mut stuffing = Stuffing::default();
        let mut sent = first.len() as u64;
        self.send(&mut stuffing, &first).await?;
        drop(first);
        let mut next = 1;
        while sent < octets {
            let chunks = self.next_chunks(number, next).await?;
            for chunk in &chunks {
                sent += chunk.len() as u64;
                next += 1;
                self.send(&mut stuffing, chunk).await?;
            }
        }
        self.out.extend_from_slice(stuffing.finish());
        self.service.metrics.message_retrieved();
        self.live.add_retrieved();
        Ok(session)
    }

    async fn retrieve_top(&mut self, retrieve: Retrieve, mut top: Top) -> Result<Session, Over> {
        let (number, octets) = (retrieve.number(), retrieve.octets());
        let Some(open) = &mut self.open else {
            return Ok(self.refuse_message(retrieve, RetrieveRefusal::Unavailable));
        };
        let beginning = match open.reader.beginning(&self.service.mailbox, number).await {
            Ok(beginning) => beginning,
            Err(why) => return Ok(self.refuse_message(retrieve, why)),
        };
        let (heading, session) = retrieve.found();
        self.say(&heading);
        let mut stuffing = Stuffing::default();
        let mut seen = beginning.len() as u64;
        self.send(&mut stuffing, top.take(&beginning)).await?;
        while !top.is_done() && seen < octets {
            let (number_of_chunk, within) = chunk_at(seen);
            let chunks = self.next_chunks(number, number_of_chunk).await?;
            for (at, chunk) in chunks.iter().enumerate() {
                let unseen = chunk
                    .get(if at == 0 { within } else { 0 }..)
                    .unwrap_or_default();
                seen += unseen.len() as u64;
                self.send(&mut stuffing, top.take(unseen)).await?;
            }
        }
        self.out.extend_from_slice(stuffing.finish());
        Ok(session)
    }

    /// Chunks from the middle of a message. There is no way to tell the client that they are
    /// missing, but to break the connection: a shortened message would pass for a whole one.
    async fn next_chunks(
        &mut self,
        number: pop3::MessageNumber,
        from: u32,
    ) -> Result<Vec<Bytes>, Over> {
        let open = self.open.as_ref().ok_or(Over(Ending::Storage))?;
        let chunks = open
            .reader
            .next_chunks(&self.service.mailbox, number, from)
            .await;
        let chunks = chunks.map_err(|_| Over(Ending::Storage))?;
        if chunks.iter().all(Bytes::is_empty) {
            tracing::error!(message = %number, "a message ends before its last chunk");
            return Err(Over(Ending::Storage));
        }
        Ok(chunks)
    }

    fn refuse_message(&mut self, retrieve: Retrieve, why: RetrieveRefusal) -> Session {
        let (reply, session) = retrieve.refused(why);
        self.say(&reply);
        session
    }

    /// Sends octets of a message, stuffed; large pieces from where they lie.
    async fn send(&mut self, stuffing: &mut Stuffing, octets: &[u8]) -> Result<(), Over> {
        for piece in stuffing.pieces(octets) {
            if piece.len() >= DIRECT_OCTETS {
                self.write(piece).await?;
            } else {
                self.out.extend_from_slice(piece);
                if self.out.len() >= GATHERED_OCTETS {
                    self.flush().await?;
                }
            }
        }
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<Ending, Over> {
        self.live.set_state(State::Update);
        let (reply, ending) = match self.delete(&commit).await {
            Ok(()) => (commit.done(), Ending::Quit),
            Err(()) => (commit.failed(), Ending::CommitFailed),
        };
        self.say(&reply);
        self.close_maildrop();
        self.flush().await?;
        Ok(ending)
    }

    async fn delete(&mut self, commit: &Commit) -> Result<(), ()> {
        let maildrop = Arc::clone(&self.open.as_ref().ok_or(())?.maildrop);
        let messages: Vec<_> = commit
            .marked()
            .filter_map(|n| maildrop.message(n))
            .collect();
        let mailbox = self.service.mailbox.clone();
        let user = maildrop.user;
        // A task of its own: what has been asked for is asked, even if this session ends now.
        let deletion = async move {
            let delete = || CommitDeletions {
                user,
                messages: messages.clone(),
            };
            mailbox.ask(delete).await
        };
        let deleted = actix_rt::spawn(deletion).await;
        match deleted {
            Ok(Ok(Ok(()))) => {
                self.log_deletions(commit, &maildrop);
                Ok(())
            }
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(()),
        }
    }

    fn log_deletions(&self, commit: &Commit, maildrop: &Maildrop) {
        for number in commit.marked() {
            let unique_id = maildrop.snapshot.unique_id_of(number).unwrap_or_default();
            tracing::debug!(unique_id, "message deleted");
        }
    }

    /// Gives the slot back before the last reply: a client may log in again at once.
    fn close_maildrop(&mut self) {
        self.open = None;
    }

    fn note_marks(&self, session: &Session) {
        if let Session::Transaction(transaction) = session {
            self.live.set_marked(transaction.marks().len());
        }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        self.write(&[]).await
    }

    /// Sends what has gathered, and then these octets.
    async fn write(&mut self, octets: &[u8]) -> Result<(), Over> {
        if self.out.is_empty() && octets.is_empty() {
            return Ok(());
        }
        let transport = self.transport.as_mut().ok_or(Over(Ending::Disconnected))?;
        let written = transport.write_all(&self.out, octets).await;
        self.out.clear();
        self.report_sent();
        Ok(written?)
    }

    fn report_sent(&mut self) {
        if let Some(transport) = &mut self.transport {
            self.service.metrics.octets_sent(transport.take_sent());
        }
    }
}

/// Room for the final dot and some stuffed ones, so that a small message is copied once.
const ROOM_FOR_DOTS: usize = 64;

impl From<LoginRefusal> for AuthFailure {
    fn from(why: LoginRefusal) -> Self {
        match why {
            LoginRefusal::Credentials => Self::Credentials,
            LoginRefusal::TooManySessions => Self::TooManySessions,
            LoginRefusal::Unavailable => Self::Unavailable,
        }
    }
}

fn verb(line: &Line<'_>) -> Verb {
    match line {
        Line::Text(text) => Verb::of(text),
        Line::TooLong => Verb::Unknown,
    }
}

/// The chunk in which an octet of a message lies, and where in it.
fn chunk_at(octet: u64) -> (u32, usize) {
    let chunk = CHUNK_OCTETS as u64;
    let number = u32::try_from(octet / chunk).unwrap_or(u32::MAX);
    (number, usize::try_from(octet % chunk).unwrap_or(usize::MAX))
}
