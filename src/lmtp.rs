//! Takes mail in from an MTA, by LMTP.
//!
//! A listener actor accepts connections and gives each a session actor of its own, on one of the
//! threads where the POP3 sessions live. What a command means is decided in the crate `lmtp`; the
//! talking is one straight future in `conversation`. The mailbox actor stores messages; there,
//! the deliveries of all sessions share commits.

mod conversation;
mod head;
mod message;
mod recipient;
mod self_test;
mod socket;
mod wire;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_rt::ArbiterHandle;
use lmtp::{Reply, Rules};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::identity::new_name;
use crate::log_throttle::LogThrottle;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::open_files::Reserve;
use crate::settings::Config;
use conversation::Conversation;
use socket::{Accepted, Peer};
use wire::Wire;

pub(crate) use head::return_path;

pub use self_test::test;
pub use socket::{Endpoint, LmtpSocket, LmtpSocketError, bind_path, bind_port, probe};

/// How long to wait when no connection could be accepted.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How long a client that is sent away may take to read why.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// How many refused clients are told why at the same time. More are closed without a word.
const MAX_COURTESIES: usize = 100;

/// What all LMTP sessions share.
pub struct LmtpService {
    rules: Arc<Rules>,
    /// The domain of a recipient that has none.
    default_domain: Option<String>,
    session_timeout: Duration,
    metrics: Arc<Metrics>,
    room: Arc<Semaphore>,
    courtesies: Arc<Semaphore>,
    max_connections: u32,
    refusals: LogThrottle,
    /// Cancelled when the server begins to stop.
    drain: CancellationToken,
    /// Cancelled when whoever is still here must go.
    end: CancellationToken,
}

impl LmtpService {
    /// With these settings.
    pub fn new(config: &Config, metrics: Arc<Metrics>, drain: CancellationToken) -> Self {
        let max_connections = config.lmtp.max_connections;
        Self {
            rules: Arc::new(Rules {
                server_name: config.pop3.server_name.clone(),
                max_octets: config.lmtp.max_message_size,
            }),
            default_domain: config
                .pop3
                .default_domain
                .as_ref()
                .map(|domain| domain.as_str().to_owned()),
            session_timeout: config.lmtp.session_timeout,
            metrics,
            room: Arc::new(Semaphore::new(max_connections as usize)),
            courtesies: Arc::new(Semaphore::new(MAX_COURTESIES)),
            max_connections,
            refusals: LogThrottle::default(),
            drain,
            end: CancellationToken::new(),
        }
    }

    /// Is no session here?
    pub fn is_empty(&self) -> bool {
        self.room.available_permits() == self.max_connections as usize
    }

    /// Ends all sessions, but for commits that have begun.
    pub fn end_sessions(&self) {
        self.end.cancel();
    }
}

/// Accepts connections on all sockets and spreads the sessions over threads.
pub struct LmtpListenerActor {
    service: Arc<LmtpService>,
    sockets: Arc<Vec<LmtpSocket>>,
    threads: Arc<Vec<(ArbiterHandle, Mailbox)>>,
    next: Arc<AtomicUsize>,
}

impl LmtpListenerActor {
    /// Accepts on these sockets, for sessions on these threads, each with its mailbox actor.
    pub fn new(
        service: Arc<LmtpService>,
        sockets: Arc<Vec<LmtpSocket>>,
        threads: Arc<Vec<(ArbiterHandle, Mailbox)>>,
    ) -> Self {
        Self {
            service,
            sockets,
            threads,
            next: Arc::default(),
        }
    }
}

impl Actor for LmtpListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        for socket in self.sockets.iter() {
            let listening = match socket.listen() {
                Ok(listening) => listening,
                Err(error) => {
                    tracing::error!(error = %error, "an LMTP socket can't be used");
                    return context.stop();
                }
            };
            let service = Arc::clone(&self.service);
            let (threads, next) = (Arc::clone(&self.threads), Arc::clone(&self.next));
            let (faults, at) = (LogThrottle::default(), socket.endpoint());
            let at = at.map_or_else(|error| error.to_string(), |at| at.to_string());
            let complain = move |error: &dyn Display| {
                if let Some(before) = faults.allow() {
                    tracing::error!(%error, before, at, "no LMTP connection could be accepted");
                }
            };
            let accepting = async move {
                loop {
                    match listening.accept(Reserve::of_lmtp(), &complain).await {
                        Ok(accepted) => {
                            let at = next.fetch_add(1, Relaxed) % threads.len().max(1);
                            if let Some((thread, mailbox)) = threads.get(at) {
                                receive(&service, thread, mailbox.clone(), accepted);
                            }
                        }
                        Err(error) => {
                            complain(&error);
                            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                        }
                    }
                }
            };
            context.spawn(accepting.into_actor(self));
        }
    }
}

/// Begins a session on a thread, or sends the client away if there is no room.
fn receive(
    service: &Arc<LmtpService>,
    thread: &ArbiterHandle,
    mailbox: Mailbox,
    accepted: Accepted,
) {
    let room = Arc::clone(&service.room).try_acquire_owned().ok();
    if room.is_none() {
        service.metrics.lmtp.refused();
        if let Some(before) = service.refusals.allow() {
            let peer = accepted.peer.to_string();
            tracing::warn!(
                peer,
                before,
                "LMTP connections are refused: a limit is reached"
            );
        }
    }
    let service = Arc::clone(service);
    thread.spawn_fn(move || {
        let peer = accepted.peer.clone();
        let wire = match Wire::new(accepted, &service) {
            Ok(wire) => wire,
            Err(error) => return tracing::debug!(error = %error, "the client has gone again"),
        };
        match room {
            Some(room) => {
                LmtpSessionActor::new((service, mailbox, wire, peer), room).start();
            }
            None => {
                if let Ok(courtesy) = Arc::clone(&service.courtesies).try_acquire_owned() {
                    actix_rt::spawn(async move {
                        send_away(service, wire).await;
                        drop(courtesy);
                    });
                }
            }
        }
    });
}

async fn send_away(service: Arc<LmtpService>, mut wire: Wire) {
    let why = "has no room for another session";
    let reply = Reply::closing(&service.rules.server_name, why).to_string();
    // Whoever does not want to know why is gone all the same.
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, wire.write(reply.as_bytes())).await;
}

/// What a session talks with.
type Talk = (Arc<LmtpService>, Mailbox, Wire, Peer);

/// Owns one connection.
pub struct LmtpSessionActor {
    talk: Option<Talk>,
    /// Given back when the session has ended, however it did.
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Counts as a session while it lives.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lmtp.session_ended();
    }
}

impl LmtpSessionActor {
    fn new(talk: Talk, room: OwnedSemaphorePermit) -> Self {
        let (service, ..) = &talk;
        service.metrics.lmtp.session_began();
        Self {
            _counted: Counted(Arc::clone(&service.metrics)),
            talk: Some(talk),
            _room: room,
        }
    }
}

impl Actor for LmtpSessionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some((service, mailbox, wire, peer)) = self.talk.take() else {
            return;
        };
        let id = new_name();
        let span = tracing::info_span!("lmtp.session", session.id = id, %peer);
        let conversation = Conversation::new(service, mailbox, wire, peer, id).run();
        let session = conversation.instrument(span).into_actor(self);
        context.spawn(session.map(|(), _, context| context.stop()));
    }
}
