//! Listening sockets of both families.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::listener_kind::ListenerKind;
use super::peer::{ListenAddress, Peer};
use super::unix_socket::UnixSocket;

/// The number of connections that the system queues until they are accepted.
const BACKLOG: i32 = 1024;

/// The most unsent octets of a connection in the system's buffers. So a client that reads nothing
/// takes little memory there, and one that reads slowly is seen to read.
#[cfg(target_os = "linux")]
const MAX_UNSENT_OCTETS: u32 = 128 * 1024;

/// The silence after which the system probes whether the other end is still there. A phone that has
/// lost its network does not close its connection, and keeps its user's slot until then.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// The time between two such probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The number of unanswered probes that breaks a connection.
const KEEPALIVE_RETRIES: u32 = 4;

/// A socket that listens. Its queue of connections outlives the actor that accepts them.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: Family,
    kind: ListenerKind,
}

#[derive(Debug)]
enum Family {
    Tcp(StdTcpListener),
    Unix(UnixSocket),
}

impl ListeningSocket {
    /// Listens on this port of this address, or of all addresses.
    ///
    /// # Errors
    /// If the system refuses: the port is in use, or not for this user.
    pub fn tcp(address: Option<IpAddr>, port: u16, kind: ListenerKind) -> Result<Self, BindError> {
        let socket = listen_on(address, port).map_err(|reason| BindError {
            place: address.map_or_else(
                || format!("port {port}"),
                |ip| SocketAddr::new(ip, port).to_string(),
            ),
            reason,
            kind,
        })?;
        Ok(Self {
            socket: Family::Tcp(socket),
            kind,
        })
    }

    /// Listens on a Unix socket at this path, whose file gets this mode.
    ///
    /// # Errors
    /// If something else is at the path, or the system refuses.
    pub fn unix(path: &Path, mode: u32, kind: ListenerKind) -> Result<Self, BindError> {
        let socket = UnixSocket::new(path, mode).map_err(|reason| BindError {
            place: path.display().to_string(),
            reason,
            kind,
        })?;
        Ok(Self {
            socket: Family::Unix(socket),
            kind,
        })
    }

    /// Takes over a socket that listens already, which the parent process has made.
    ///
    /// # Errors
    /// If it can't be used as the others are.
    pub fn inherited(socket: StdTcpListener, kind: ListenerKind) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Family::Tcp(socket),
            kind,
        })
    }

    /// The address at which clients reach it.
    ///
    /// # Errors
    /// If the system can't tell.
    pub fn address(&self) -> io::Result<ListenAddress> {
        Ok(match &self.socket {
            Family::Tcp(socket) => ListenAddress::Tcp(socket.local_addr()?),
            Family::Unix(socket) => ListenAddress::Unix(socket.path().to_owned()),
        })
    }

    /// The kind of its sessions.
    pub fn kind(&self) -> ListenerKind {
        self.kind
    }

    /// The same socket, from which the current thread accepts.
    pub(super) fn listening(&self) -> io::Result<Listening> {
        Ok(match &self.socket {
            Family::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            Family::Unix(socket) => Listening::Unix(UnixListener::from_std(socket.try_clone()?)?),
        })
    }
}

/// A socket from which a thread accepts.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Accepts the next connection, which belongs to no thread yet.
    pub(super) async fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                (stream.into_std()?.into(), Peer::Tcp(peer))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                (stream.into_std()?.into(), Peer::Local)
            }
        })
    }
}

/// Sets the options of a TCP connection.
pub(super) fn prepare(connection: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(connection);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(MAX_UNSENT_OCTETS)?;
    Ok(())
}

/// A socket that can't listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {}", explain(.reason, *.kind))]
pub struct BindError {
    /// The port, with the address if one was asked for, or the path.
    pub place: String,
    /// The error of the system.
    pub reason: io::Error,
    /// The kind of listener.
    pub kind: ListenerKind,
}

/// Listens on this port of this address, or of all addresses; the socket does not block.
///
/// # Errors
/// If the system refuses: the port is in use, or not for this user.
pub(crate) fn listen_on(address: Option<IpAddr>, port: u16) -> io::Result<StdTcpListener> {
    if let Some(address) = address {
        return listen(SocketAddr::new(address, port));
    }
    // One socket for IPv6 serves IPv4 too, unless the machine has no IPv6.
    match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if lacks_ipv6(&error) => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        listening => listening,
    }
}

/// Listens on this address; the socket does not block.
fn listen(address: SocketAddr) -> io::Result<StdTcpListener> {
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

/// Returns true if this machine has no IPv6, as opposed to a port that is not available.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// The error of Linux if IPv6 is not compiled in or is disabled at boot.
const EAFNOSUPPORT: i32 = 97;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these have a fix that the system's text does not tell"
)]
fn explain(error: &io::Error, kind: ListenerKind) -> String {
    let settings = kind.settings();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program listens there; stop it, or set {settings}")
        }
        io::ErrorKind::PermissionDenied if kind.protocol() == super::ProtocolName::Pop3 => {
            format!("ports below 1024 need the capability CAP_NET_BIND_SERVICE, or set {settings}")
        }
        io::ErrorKind::AddrNotAvailable => {
            let setting = kind.address_setting();
            format!("this machine has no such address; check {setting}")
        }
        _ if kind == ListenerKind::Lmtp => format!("{error}; see {settings}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_dead_connection_is_noticed_within_two_minutes() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listening = Listening::Tcp(listener);
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listening.accept());
        let (connection, _) = accepted.unwrap();
        let _client = client.unwrap();
        prepare(&connection).unwrap();
        let socket = SockRef::from(&connection);
        assert!(socket.keepalive().unwrap());
        let time = socket.tcp_keepalive_time().unwrap();
        let interval = socket.tcp_keepalive_interval().unwrap();
        let retries = socket.tcp_keepalive_retries().unwrap();
        assert_eq!(time + interval * retries, Duration::from_secs(120));
    }
}
