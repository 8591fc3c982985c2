//! Where an MTA reaches us: a port, a Unix socket, or both.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::listener::listen;
use crate::open_files::{NO_ROOM, Reserve};
use crate::settings::LmtpSettings;

/// A socket that listens. Its queue of connections outlives the actor that accepts them.
#[derive(Debug)]
pub enum LmtpSocket {
    /// On a port.
    Tcp(StdTcpListener),
    /// At a path.
    Unix(UnixSocket),
}

/// A Unix socket, whose file is removed with it.
#[derive(Debug)]
pub struct UnixSocket {
    socket: StdUnixListener,
    path: PathBuf,
    /// Which file it made: another server may have put its own there since.
    inode: u64,
}

/// Where a client reaches a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// At a port.
    Tcp(SocketAddr),
    /// At a path.
    Unix(PathBuf),
}

/// Why a socket can't listen.
#[derive(Debug, thiserror::Error)]
#[error("LMTP cannot listen on {place}: {reason} (see Lmtp__Port and Lmtp__SocketPath)")]
pub struct LmtpSocketError {
    /// The address or path.
    pub place: String,
    /// What the system says.
    pub reason: io::Error,
}

/// A client that has connected.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
}

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

/// Who a client is, as far as the connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// A machine.
    Tcp(SocketAddr),
    /// A program of this machine.
    Local,
}

impl Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Listens on the port that the settings ask for; `None` if it is off.
///
/// # Errors
/// If it can't be had.
pub fn bind_port(settings: &LmtpSettings) -> Result<Option<LmtpSocket>, LmtpSocketError> {
    if settings.port == 0 {
        return Ok(None);
    }
    let address = SocketAddr::new(settings.bind_address, settings.port);
    let socket = listen(address).map_err(|reason| LmtpSocketError {
        place: address.to_string(),
        reason,
    })?;
    if !settings.bind_address.is_loopback() {
        tracing::warn!("any host that reaches {address} may deliver mail to every user by LMTP");
    }
    Ok(Some(LmtpSocket::Tcp(socket)))
}

/// Listens on the Unix socket that the settings ask for; `None` if there is none.
///
/// # Errors
/// If it can't be had.
pub fn bind_path(settings: &LmtpSettings) -> Result<Option<LmtpSocket>, LmtpSocketError> {
    let Some(path) = &settings.socket_path else {
        return Ok(None);
    };
    let socket = UnixSocket::new(path, settings.socket_mode.0);
    let socket = socket.map_err(|reason| LmtpSocketError {
        place: path.display().to_string(),
        reason,
    })?;
    Ok(Some(LmtpSocket::Unix(socket)))
}

/// Could a server listen at this path?
///
/// # Errors
/// If something else is there, or the path can't be one of a socket.
pub fn probe(path: &Path) -> io::Result<()> {
    std::os::unix::net::SocketAddr::from_pathname(path)?;
    refuse_other_owner(path)
}

impl UnixSocket {
    fn new(path: &Path, mode: u32) -> io::Result<Self> {
        refuse_other_owner(path)?;
        // It gets its name when its mode is right, in the place of a dead server's.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        let socket = StdUnixListener::bind(&hidden)?;
        let named = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode))
            .and_then(|()| std::fs::rename(&hidden, path));
        if let Err(error) = named {
            let _ = std::fs::remove_file(&hidden);
            return Err(error);
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            inode: std::fs::symlink_metadata(path)?.ino(),
        })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path);
        if ours.is_ok_and(|file| file.ino() == self.inode) {
            // If it stays, the next server finds that nobody listens there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Only the socket of a server that has ended may be there; whatever else is stays.
fn refuse_other_owner(path: &Path) -> io::Result<()> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        let what = "something else than a socket is there; remove it, or set Lmtp__SocketPath";
        return Err(io::Error::new(ErrorKind::AlreadyExists, what));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let what = "another program listens there; stop it, or set Lmtp__SocketPath";
            Err(io::Error::new(ErrorKind::AddrInUse, what))
        }
    }
}

impl LmtpSocket {
    /// Where clients reach it.
    ///
    /// # Errors
    /// If the system can't say.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(socket) => Ok(Endpoint::Tcp(socket.local_addr()?)),
            Self::Unix(socket) => Ok(Endpoint::Unix(socket.path.clone())),
        }
    }

    pub(super) fn listen(&self) -> io::Result<Listening> {
        match self {
            Self::Tcp(socket) => Ok(Listening::Tcp(TcpListener::from_std(socket.try_clone()?)?)),
            Self::Unix(unix) => {
                let socket = unix.socket.try_clone()?;
                Ok(Listening::Unix(UnixListener::from_std(socket)?))
            }
        }
    }
}

/// A socket from which an actor accepts.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Accepts a connection that leaves the files of the reserve to others.
    pub(super) async fn accept(
        &self,
        reserve: Reserve,
        complain: impl Fn(&dyn Display),
    ) -> io::Result<Accepted> {
        let (held, peer): (OwnedFd, _) = match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                (stream.into_std()?.into(), Peer::Tcp(peer))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                (stream.into_std()?.into(), Peer::Local)
            }
        };
        let stream = if reserve.is_left_by(&held) {
            held
        } else {
            reserve.wait_for_room(held, || complain(&NO_ROOM)).await
        };
        let stream = match peer {
            Peer::Tcp(_) => Stream::Tcp(stream.into()),
            Peer::Local => Stream::Unix(stream.into()),
        };
        Ok(Accepted { stream, peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_server_s_socket_is_taken_over_and_a_live_one_s_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lmtp.sock");
        let live = UnixSocket::new(&path, 0o600).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = UnixSocket::new(&path, 0o600).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
        // As after kill -9: the file stays, and nobody listens.
        drop(StdUnixListener::bind(&path).unwrap());
        let next = UnixSocket::new(&path, 0o660).unwrap();
        drop(next);
        std::fs::write(&path, "a file").unwrap();
        let refused = UnixSocket::new(&path, 0o600).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }
}
