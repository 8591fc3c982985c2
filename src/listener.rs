//! The actor that accepts connections and gives each a session of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_rt::ArbiterHandle;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::identity::new_name;
use crate::registry::{Admission, Admit, Live, RegistryActor};
use crate::session::{Connection, ListenerKind, Service, SessionActor};
use crate::supervision::Post;

/// How many connections the system holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// How long to wait when no connection could be accepted, as when all file descriptors are used.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

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
    pub fn new(address: Option<IpAddr>, port: u16, kind: ListenerKind) -> anyhow::Result<Self> {
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
        let socket = socket.map_err(|error| {
            let place = address.map_or_else(
                || format!("port {port}"),
                |ip| SocketAddr::new(ip, port).to_string(),
            );
            anyhow::anyhow!("cannot listen on {place}: {}", explain(&error))
        })?;
        Ok(Self { socket, kind })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system can't say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
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
    reason = "only these have a mend that the system's text does not tell"
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
pub struct Place {
    /// The thread.
    pub arbiter: ArbiterHandle,
    /// What its sessions work with.
    pub service: Arc<Service>,
}

/// Accepts connections on all sockets and spreads the sessions over the places.
pub struct ListenerActor {
    sockets: Arc<Vec<Bound>>,
    places: Arc<Vec<Place>>,
    registry: Post<RegistryActor>,
    next: Arc<AtomicUsize>,
}

impl ListenerActor {
    /// Accepts on these sockets for sessions at these places.
    pub fn new(
        sockets: Arc<Vec<Bound>>,
        places: Arc<Vec<Place>>,
        registry: Post<RegistryActor>,
    ) -> Self {
        Self {
            sockets,
            places,
            registry,
            next: Arc::default(),
        }
    }

    fn accept_on(&self, bound: &Bound) -> io::Result<impl Future<Output = ()> + 'static> {
        let socket = TcpListener::from_std(bound.socket.try_clone()?)?;
        let (places, registry) = (Arc::clone(&self.places), self.registry.clone());
        let (next, kind) = (Arc::clone(&self.next), bound.kind);
        Ok(async move {
            loop {
                let (stream, peer) = match socket.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::error!(error = %error, "no connection could be accepted");
                        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                        continue;
                    }
                };
                let live = Arc::new(Live::new(new_name(), peer));
                let Ok(admission) = registry.ask(|| Admit(Arc::clone(&live))).await else {
                    continue;
                };
                let at = next.fetch_add(1, Relaxed) % places.len().max(1);
                if let Some(place) = places.get(at) {
                    begin_session(place, stream, kind, admission);
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

/// Hands the connection over to the thread on which its session will live.
fn begin_session(place: &Place, stream: TcpStream, listener: ListenerKind, admission: Admission) {
    let handed_over = stream.set_nodelay(true).and_then(|()| stream.into_std());
    let stream = match handed_over {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(error = %error, "the client has gone again"),
    };
    let service = Arc::clone(&place.service);
    place
        .arbiter
        .spawn_fn(move || match TcpStream::from_std(stream) {
            Ok(stream) => {
                let connection = Connection {
                    stream,
                    listener,
                    admission,
                };
                SessionActor::new(service, connection).start();
            }
            Err(error) => tracing::error!(error = %error, "a connection could not be taken over"),
        });
}
