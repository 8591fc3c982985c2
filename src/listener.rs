//! The actor that accepts connections and gives each a session of its own.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_rt::ArbiterHandle;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::identity::new_name;
use crate::log_throttle::LogThrottle;
use crate::metrics::{Metrics, Refused};
use crate::networks::Networks;
use crate::open_files::{NO_ROOM, Reserve};
use crate::registry::{Admission, AdmissionRefusal, Admit, RegistryActor, SessionHandle};
use crate::self_test::SelfTests;
use crate::session::{Connection, ListenerKind, SessionActor, SessionContext, refuse};
use crate::supervision::Supervised;

/// How many connections the system holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// How long to wait when no connection could be accepted, as when the system has no memory for it.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How much of what a client has yet to be sent may wait in the system. So a client that reads
/// nothing costs no megabytes there, and one that reads slowly is seen to read.
#[cfg(target_os = "linux")]
const MAX_UNSENT_OCTETS: u32 = 128 * 1024;

/// How long a connection is silent before the system asks whether the other end is still there. A
/// phone that lost its network says no farewell, and keeps its user's slot until it is missed.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// How often the system asks then.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// After so many questions without an answer the connection is broken.
const KEEPALIVE_RETRIES: u32 = 4;

/// How many refused connections are told why at the same time. More are closed without a word.
const MAX_COURTESIES: usize = 100;

/// A socket that listens. Its queue of connections outlives the actor that accepts them.
#[derive(Debug)]
pub struct Bound {
    socket: StdListener,
    kind: ListenerKind,
}

impl Bound {
    /// Listens on this port of this address, or of all addresses.
    ///
    /// # Errors
    /// If the system refuses: the port is in use, or not for this user.
    pub fn new(address: Option<IpAddr>, port: u16, kind: ListenerKind) -> Result<Self, BindError> {
        let socket = match address {
            Some(address) => listen(SocketAddr::new(address, port)),
            // One socket for IPv6 serves IPv4 too, unless the machine has no IPv6.
            None => match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
                Err(error) if lacks_ipv6(&error) => {
                    listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                }
                listening => listening,
            },
        };
        let socket = socket.map_err(|reason| BindError {
            socket: address.map_or_else(
                || format!("port {port}"),
                |ip| SocketAddr::new(ip, port).to_string(),
            ),
            reason,
        })?;
        Ok(Self { socket, kind })
    }

    /// Takes a socket that listens already, as whoever started this process has made it.
    ///
    /// # Errors
    /// If it can't be used as the others are.
    pub fn inherited(socket: StdListener, kind: ListenerKind) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, kind })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system can't say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What is spoken there.
    pub fn kind(&self) -> ListenerKind {
        self.kind
    }
}

/// Why a socket can't listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {socket}: {}", explain(.reason))]
pub struct BindError {
    /// The port, with the address if one was asked for.
    pub socket: String,
    /// What the system says.
    pub reason: io::Error,
}

/// Listens on this address; the socket does not block.
///
/// # Errors
/// If the system refuses.
pub(crate) fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // The system may have another default.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // After a restart, connections of the last server may linger on the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Is it that this machine has no IPv6, rather than that the port is not to be had?
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// What Linux answers when IPv6 is not compiled in or is disabled at boot.
const EAFNOSUPPORT: i32 = 97;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these have a fix that the system's text does not tell"
)]
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or set Pop3__Port and Pop3__SecurePort".into()
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE, or set Pop3__Port and Pop3__SecurePort".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; check Pop3__BindAddress".into(),
        _ => error.to_string(),
    }
}

/// A thread on which sessions live, and what they share there.
pub struct Worker {
    /// The thread.
    pub arbiter: ArbiterHandle,
    service: Mutex<Arc<SessionContext>>,
}

impl Worker {
    /// Sessions live on this thread and work with this.
    pub fn new(arbiter: ArbiterHandle, service: SessionContext) -> Self {
        Self {
            arbiter,
            service: Mutex::new(Arc::new(service)),
        }
    }

    /// What sessions that begin now work with.
    pub fn service(&self) -> Arc<SessionContext> {
        // Whoever holds the lock reads or writes one pointer.
        let service = self.service.lock();
        Arc::clone(&service.unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives another one to sessions that begin from now on.
    pub fn change(&self, service: SessionContext) {
        let held = self.service.lock();
        *held.unwrap_or_else(PoisonError::into_inner) = Arc::new(service);
    }
}

/// Accepts connections on all sockets and spreads the sessions over the workers.
pub struct ListenerActor {
    sockets: Arc<Vec<Bound>>,
    acceptor: Arc<Acceptor>,
}

/// What all sockets share: how a connection is received.
pub struct Acceptor {
    workers: Arc<Vec<Worker>>,
    next: AtomicUsize,
    registry: Supervised<RegistryActor>,
    proxies: Networks,
    self_tests: SelfTests,
    metrics: Arc<Metrics>,
    courtesies: Arc<Semaphore>,
    refusals: [LogThrottle; Refused::ALL.len()],
    reserve: Reserve,
}

impl Acceptor {
    /// Receives connections for sessions at these workers. The proxies say who their clients are.
    pub fn new(
        workers: Arc<Vec<Worker>>,
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
            courtesies: Arc::new(Semaphore::new(MAX_COURTESIES)),
            refusals: Default::default(),
            reserve,
        }
    }

    /// Accepts a connection that leaves the files of the reserve to others.
    async fn accept(
        &self,
        socket: &TcpListener,
        complain: impl Fn(&dyn Display),
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = socket.accept().await?;
        if self.reserve.is_left_by(&stream) {
            return Ok((stream, peer));
        }
        let held = stream.into_std()?.into();
        let stream = self
            .reserve
            .wait_for_room(held, || complain(&NO_ROOM))
            .await;
        Ok((TcpStream::from_std(stream.into())?, peer))
    }

    async fn receive(&self, stream: TcpStream, peer: SocketAddr, listener: ListenerKind) {
        let self_test = self.self_tests.expect(peer);
        let from_proxy = !self_test && self.proxies.contain(peer.ip());
        let live = if from_proxy {
            SessionHandle::behind_proxy(new_name(), peer)
        } else {
            SessionHandle::new(new_name(), peer)
        };
        let live = Arc::new(live.on(listener).for_self_test(self_test));
        // The registry has been built anew if it did not answer; the client comes again.
        let Ok(admitted) = self.registry.ask(|| Admit(Arc::clone(&live))).await else {
            return;
        };
        let at = self.next.fetch_add(1, Relaxed) % self.workers.len().max(1);
        let Some(worker) = self.workers.get(at) else {
            return;
        };
        match admitted {
            Ok(admission) => begin_session(worker, stream, listener, admission),
            Err(refusal) => self.refuse(worker, stream, listener, live, refusal),
        }
    }

    fn refuse(
        &self,
        worker: &Worker,
        stream: TcpStream,
        listener: ListenerKind,
        live: Arc<SessionHandle>,
        refusal: AdmissionRefusal,
    ) {
        let reason = Refused::from(refusal);
        self.metrics.connection_refused(reason);
        let throttle = self.refusals.get(reason as usize);
        if let Some(before) = throttle.and_then(LogThrottle::allow) {
            let (peer, reason) = (live.ip(), reason.as_str());
            tracing::warn!(%peer, reason, before, "connections are refused: a limit is reached");
        }
        if let Ok(courtesy) = Arc::clone(&self.courtesies).try_acquire_owned() {
            let service = worker.service();
            hand_over(worker, stream, move |stream| {
                actix_rt::spawn(async move {
                    refuse(&service, stream, listener, live, refusal).await;
                    drop(courtesy);
                });
            });
        }
    }
}

impl ListenerActor {
    /// Accepts on these sockets.
    pub fn new(sockets: Arc<Vec<Bound>>, acceptor: Arc<Acceptor>) -> Self {
        Self { sockets, acceptor }
    }

    fn accept_on(&self, bound: &Bound) -> io::Result<impl Future<Output = ()> + 'static> {
        let socket = TcpListener::from_std(bound.socket.try_clone()?)?;
        let address = bound.address()?;
        let (acceptor, kind) = (Arc::clone(&self.acceptor), bound.kind);
        let faults = LogThrottle::default();
        let complain = move |error: &dyn Display| {
            if let Some(before) = faults.allow() {
                tracing::error!(%error, before, %address, "no connection could be accepted");
            }
        };
        Ok(async move {
            loop {
                match acceptor.accept(&socket, &complain).await {
                    Ok((stream, peer)) => acceptor.receive(stream, peer, kind).await,
                    Err(error) => {
                        complain(&error);
                        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                    }
                }
            }
        })
    }
}

impl Actor for ListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        for bound in self.sockets.iter() {
            match self.accept_on(bound) {
                Ok(accepting) => {
                    let accepting = accepting.into_actor(self);
                    context.spawn(accepting.map(|(), _, context| context.stop()));
                }
                Err(error) => {
                    tracing::error!(error = %error, "a listening socket can't be used");
                    context.stop();
                }
            }
        }
    }
}

fn begin_session(worker: &Worker, stream: TcpStream, listener: ListenerKind, admission: Admission) {
    let service = worker.service();
    hand_over(worker, stream, move |stream| {
        let connection = Connection {
            stream,
            listener,
            admission,
        };
        SessionActor::new(service, connection).start();
    });
}

/// Hands the connection over to the thread on which its session will live.
fn hand_over(worker: &Worker, stream: TcpStream, take: impl FnOnce(TcpStream) + Send + 'static) {
    let handed_over = prepare(&stream).and_then(|()| stream.into_std());
    let stream = match handed_over {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(error = %error, "the client has gone again"),
    };
    worker
        .arbiter
        .spawn_fn(move || match TcpStream::from_std(stream) {
            Ok(stream) => take(stream),
            Err(error) => tracing::error!(error = %error, "a connection could not be taken over"),
        });
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT_OCTETS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_dead_is_noticed_within_two_minutes() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (_client, accepted) = tokio::join!(client, listener.accept());
        let (stream, _) = accepted.unwrap();
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let time = socket.tcp_keepalive_time().unwrap();
        let interval = socket.tcp_keepalive_interval().unwrap();
        let retries = socket.tcp_keepalive_retries().unwrap();
        assert_eq!(time + interval * retries, Duration::from_secs(120));
    }
}
