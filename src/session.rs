//! The actor that owns one connection.
//!
//! It has an address, so that it can be ended from outside; the talking is one straight future in
//! `conversation`. When the actor stops, the future is dropped, and everything that the session
//! had taken is given back by what it owned.

mod arrival;
mod conversation;
mod farewell;
mod idle_signal;
mod login;
pub(crate) mod proxy;
mod reader;
mod refusal;
mod retrieval;
mod transport;
mod unread;
mod update;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use pop3::{ChannelBinding, Limits, Mechanisms};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::log_throttle::LogThrottle;
use crate::login_throttle::LoginThrottle;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::registry::{Admission, EndReason, Kill, RegistryActor, SessionHandle, State};
use crate::settings::{Domain, PlaintextAuth};
use crate::supervision::Supervised;
use crate::tls::{Alpn, Tls};
use conversation::Conversation;
use idle_signal::IdleSignal;
use transport::{Transport, WriteDeadline};

pub(crate) use refusal::refuse;
pub(crate) use transport::poll_read;

/// What all sessions of a thread share.
#[derive(Clone)]
pub struct SessionContext {
    /// The name in the greeting.
    pub server_name: String,
    /// How long a client may be inactive.
    pub session_timeout: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a client may read nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Delays logins after failed ones.
    pub login_throttle: Arc<LoginThrottle>,
    /// When it was last told that the proxies and the settings do not agree.
    pub proxy_faults: Arc<LogThrottle>,
    /// The domain of a login name that has none.
    pub default_domain: Option<Domain>,
    /// Where a key may be sent in clear.
    pub plaintext_auth: PlaintextAuth,
    /// May a client prove its key by SCRAM? Not where any key will do: then there is none to prove.
    pub scram_offered: bool,
    /// Which mechanisms AUTH may offer and accept.
    pub mechanisms: Mechanisms,
    /// Whether the bound form of SCRAM is announced, and whether it is accepted.
    pub channel_binding: ChannelBinding,
    /// After how many whole days a message may expire; none is never.
    pub expire_days: Option<u64>,
    /// How long a session must have been idle to make way for its device's next one; 0 is never.
    pub evict_idle_after: Duration,
    /// How much a client may do.
    pub limits: Limits,
    /// A session that deletes more messages is told in the log; 0 is none.
    pub max_deletions: u32,
    /// How to shake hands, if there is a certificate.
    pub tls: Option<Arc<Tls>>,
    /// Whether a client may ask for another protocol in its handshake.
    pub alpn: Alpn,
    /// Where maildrops are opened and read; it lives on the same thread.
    pub mailbox: Mailbox,
    /// Where sessions are admitted.
    pub registry: Supervised<RegistryActor>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the server begins to stop.
    pub drain: CancellationToken,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// POP3, with STLS if there is a certificate.
    Plain,
    /// POP3S: TLS from the first octet on.
    Tls,
}

impl ListenerKind {
    /// The name of the service, as IANA registers it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "pop3",
            Self::Tls => "pop3s",
        }
    }
}

/// A connection that has been accepted and not yet greeted.
pub struct Connection {
    /// The connection itself.
    pub stream: TcpStream,
    /// Which listener accepted it.
    pub listener: ListenerKind,
    /// Its place among the live sessions.
    pub admission: Admission,
}

/// How many messages wait for a session: it only ever gets [`Kill`].
const MAILBOX_CAPACITY: usize = 4;

/// Owns one connection.
pub struct SessionActor {
    service: Arc<SessionContext>,
    live: Arc<SessionHandle>,
    connection: Option<Connection>,
    rest: Rc<IdleSignal>,
    _end: EndOfSession,
}

impl SessionActor {
    /// For a connection of this server.
    pub fn new(service: Arc<SessionContext>, connection: Connection) -> Self {
        let live = Arc::clone(connection.admission.live());
        Self {
            _end: EndOfSession {
                live: Arc::clone(&live),
                metrics: Arc::clone(&service.metrics),
                began: Instant::now(),
            },
            service,
            live,
            connection: Some(connection),
            rest: Rc::default(),
        }
    }
}

impl SessionActor {
    /// Lets the session say farewell, unless its client has sent something since it was looked at.
    fn make_way_if_idle(&self) {
        let least = self.service.evict_idle_after;
        let idle = self.live.idle().is_some_and(|idle| idle >= least);
        if idle && !least.is_zero() {
            self.rest.interrupt();
        }
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
        let Some(connection) = self.connection.take() else {
            return;
        };
        if let Some(why) = self.live.set_actor(context.address().recipient()) {
            self.live.set_ending(why);
            return context.stop();
        }
        let Connection {
            stream,
            listener,
            admission,
        } = connection;
        let live = Arc::clone(&self.live);
        let peer = tracing::field::Empty;
        let ending = tracing::field::Empty;
        let span = tracing::info_span!("pop3.session", session.id = live.id(), peer, ending);
        if let Some(client) = live.client() {
            span.record("peer", tracing::field::display(client));
        }
        let write_deadline = WriteDeadline {
            write_timeout: self.service.write_timeout,
        };
        let transport = Transport::new(stream, write_deadline, live);
        let service = Arc::clone(&self.service);
        let conversation = Conversation::new(service, admission, transport, Rc::clone(&self.rest));
        let session = async move {
            let ending = conversation.run(listener).await;
            tracing::Span::current().record("ending", ending.as_str());
            ending
        };
        let session = session.instrument(span).into_actor(self);
        context.spawn(session.map(|ending, actor, context| {
            actor.live.set_ending(ending);
            context.stop();
        }));
    }
}

impl Handler<Kill> for SessionActor {
    type Result = ();

    fn handle(&mut self, Kill(why): Kill, context: &mut Self::Context) {
        #[cfg(test)]
        crate::faults::panic_if_doomed(self.live.id());
        // Once deletions are being committed the session ends by itself, and its client is to
        // learn whether they were.
        let goes_on = match self.live.state() {
            State::Update => true,
            State::Transaction if why == EndReason::Superseded => {
                self.make_way_if_idle();
                true
            }
            // It may have logged in meanwhile, and is in nobody's way then.
            State::Transaction => why == EndReason::Evicted,
            // While it rests it can say farewell.
            State::Authorization => why == EndReason::Evicted && self.rest.interrupt(),
        };
        if !goes_on {
            self.live.set_ending(why);
            context.stop();
        }
    }
}

/// Says in the log how a session ended, whichever way it did.
struct EndOfSession {
    live: Arc<SessionHandle>,
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Drop for EndOfSession {
    fn drop(&mut self) {
        let report = self.live.report();
        let ending = match self.live.ending() {
            Some(ending) => ending.as_str(),
            None if std::thread::panicking() => {
                self.metrics.session_panicked();
                tracing::error!(
                    session.id = report.id,
                    "a session has ended by a fault of the program"
                );
                "panic"
            }
            None => "stopped",
        };
        if self.live.is_self_test() {
            return tracing::debug!(session.id = report.id, ending, "self-test ended");
        }
        if let Some(ending) = self.live.ending() {
            self.metrics.session_ended_by(ending);
        }
        let handshake = self.live.handshake_error();
        if let Some(handshake) = handshake {
            self.metrics.handshake_failed(handshake.failure);
        }
        let deleted = self.live.committed();
        tracing::info!(
            session.id = report.id,
            user = report.user,
            key = report.key,
            peer = %report.peer,
            proxy = report.proxy.map(tracing::field::display),
            listener = report.listener,
            tls = report.tls_version,
            cipher = report.tls_cipher,
            tls_failure = handshake.map(|it| it.failure.as_str()),
            tls_error = handshake.map(tracing::field::display),
            ending,
            seconds = self.began.elapsed().as_secs(),
            top = report.tops,
            retr = report.retrs,
            dele = report.deles,
            uidl = report.uidls,
            octets_sent = report.octets_sent,
            deleted,
            left = report.messages.saturating_sub(deleted),
            hidden = (report.hidden > 0).then_some(report.hidden),
            "session ended"
        );
    }
}
