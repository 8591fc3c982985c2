//! Gives an accepted connection a session on one of the threads, or refuses it.

use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actix::Actor;
use actix_rt::ArbiterHandle;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::listener_kind::ListenerKind;
use super::peer::Peer;
use super::refusal::refuse;
use super::self_test::SelfTests;
use super::session_actor::SessionActor;
use super::socket::{Listening, prepare};
use super::stream::NetStream;
use super::transport::Transport;
use super::{AdmittedConnection, Protocol};
use crate::identity::new_name;
use crate::log_throttle::LogThrottle;
use crate::metrics::{Metrics, Refused};
use crate::networks::Networks;
use crate::open_files::{NO_ROOM, Reserve};
use crate::registry::{Admission, AdmissionRefusal, Admit, RegistryActor, SessionHandle};
use crate::supervision::Supervised;

/// The most refused connections that are told why at the same time. Others are closed silently.
const MAX_REFUSALS: usize = 100;

/// A thread of sessions, and the settings of those that begin there.
pub struct Worker<P> {
    arbiter: ArbiterHandle,
    protocol: RwLock<Arc<P>>,
}

impl<P> Worker<P> {
    /// A worker on this thread.
    pub fn new(arbiter: ArbiterHandle, protocol: P) -> Self {
        Self {
            arbiter,
            protocol: RwLock::new(Arc::new(protocol)),
        }
    }

    /// The settings of sessions that begin now.
    pub fn protocol(&self) -> Arc<P> {
        Arc::clone(&self.protocol.read())
    }

    /// Changes the settings of sessions that begin from now on.
    pub fn change(&self, protocol: P) {
        *self.protocol.write() = Arc::new(protocol);
    }
}

/// Admits connections of one protocol and spreads their sessions over the workers.
pub struct Acceptor<P> {
    workers: Arc<Vec<Worker<P>>>,
    next: AtomicUsize,
    registry: Supervised<RegistryActor>,
    proxies: Networks,
    self_tests: SelfTests,
    metrics: Arc<Metrics>,
    telling: Arc<Semaphore>,
    refusals: [LogThrottle; Refused::ALL.len()],
    reserve: Reserve,
}

impl<P: Protocol> Acceptor<P> {
    /// An acceptor for sessions at these workers. Clients in the networks of `proxies` begin with a
    /// PROXY header.
    pub fn new(
        workers: Arc<Vec<Worker<P>>>,
        registry: Supervised<RegistryActor>,
        proxies: Networks,
        self_tests: SelfTests,
        metrics: Arc<Metrics>,
        reserve: Reserve,
    ) -> Self {
        Self {
            workers,
            next: AtomicUsize::new(0),
            registry,
            proxies,
            self_tests,
            metrics,
            telling: Arc::new(Semaphore::new(MAX_REFUSALS)),
            refusals: Default::default(),
            reserve,
        }
    }

    /// Accepts a connection that leaves the files of the reserve to others.
    pub(super) async fn accept(
        &self,
        socket: &Listening,
        complain: impl Fn(&dyn Display),
    ) -> io::Result<(OwnedFd, Peer)> {
        let (connection, peer) = socket.accept().await?;
        if self.reserve.is_left_by(&connection) {
            return Ok((connection, peer));
        }
        let waited = self
            .reserve
            .wait_for_room(connection, || complain(&NO_ROOM));
        Ok((waited.await, peer))
    }

    /// Begins a session, or refuses the connection.
    pub(super) async fn receive(&self, connection: OwnedFd, peer: Peer, listener: ListenerKind) {
        if matches!(peer, Peer::Tcp(_))
            && let Err(error) = prepare(&connection)
        {
            return tracing::debug!(error = %error, "the client has gone again");
        }
        let self_test = self.self_tests.expect(peer);
        let handle = if !self_test && self.proxies.contain(peer.ip()) {
            SessionHandle::behind_proxy(new_name(), peer)
        } else {
            SessionHandle::new(new_name(), peer)
        };
        let handle = Arc::new(handle.on(listener).for_self_test(self_test));
        // Without an answer the registry is being built again; the client tries again later.
        let Ok(admitted) = self.registry.ask(|| Admit(Arc::clone(&handle))).await else {
            return;
        };
        let at = self.next.fetch_add(1, Relaxed) % self.workers.len().max(1);
        let Some(worker) = self.workers.get(at) else {
            return;
        };
        match admitted {
            Ok(admission) => begin_session(worker, connection, peer, listener, admission),
            Err(why) => self.refuse(worker, connection, peer, listener, handle, why),
        }
    }

    fn refuse(
        &self,
        worker: &Worker<P>,
        connection: OwnedFd,
        peer: Peer,
        listener: ListenerKind,
        handle: Arc<SessionHandle>,
        why: AdmissionRefusal,
    ) {
        let reason = Refused::from(why);
        self.metrics.connection_refused(listener.protocol(), reason);
        let throttle = self.refusals.get(reason as usize);
        if let Some(before) = throttle.and_then(LogThrottle::allow) {
            let (peer, reason) = (handle.client_or_peer().host(), reason.as_str());
            let protocol = listener.protocol().as_str();
            tracing::warn!(%peer, protocol, reason, before, "connections are refused: a limit is reached");
        }
        let Ok(telling) = Arc::clone(&self.telling).try_acquire_owned() else {
            return;
        };
        let protocol = worker.protocol();
        hand_over(&worker.arbiter, connection, peer, move |stream| {
            actix_rt::spawn(async move {
                refuse(&*protocol, stream, listener, handle, why).await;
                drop(telling);
            });
        });
    }
}

fn begin_session<P: Protocol>(
    worker: &Worker<P>,
    connection: OwnedFd,
    peer: Peer,
    listener: ListenerKind,
    admission: Admission,
) {
    let protocol = worker.protocol();
    hand_over(&worker.arbiter, connection, peer, move |stream| {
        let handle = Arc::clone(admission.handle());
        let transport = Transport::new(stream, protocol.write_timeout(), handle);
        let connection = AdmittedConnection {
            transport,
            listener,
            admission,
        };
        SessionActor::new(protocol, connection).start();
    });
}

/// Hands a connection over to the thread of its session.
fn hand_over(
    arbiter: &ArbiterHandle,
    connection: OwnedFd,
    peer: Peer,
    take: impl FnOnce(NetStream) + Send + 'static,
) {
    arbiter.spawn_fn(move || match NetStream::new(connection, peer) {
        Ok(stream) => take(stream),
        Err(error) => tracing::error!(error = %error, "a connection could not be taken over"),
    });
}
