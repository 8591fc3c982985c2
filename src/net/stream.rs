//! The stream of a connection: TCP, a Unix socket or TLS.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::peer::Peer;
use super::unread::has_unread;
use crate::tls::Secured;

/// The octets that are read at once. One such buffer serves all sessions of a thread, so that an idle
/// one needs none.
const READ_OCTETS: usize = 16 * 1024;

/// The most octets that are read and discarded at the end of a connection.
const LINGER_OCTETS: usize = 1024 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_OCTETS]);
}

/// The stream of a connection.
pub(super) enum NetStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secured>),
}

impl NetStream {
    /// Takes over an accepted connection, on the thread of its session.
    pub(super) fn new(connection: OwnedFd, peer: Peer) -> io::Result<Self> {
        Ok(match peer {
            Peer::Tcp(_) => Self::Tcp(TcpStream::from_std(connection.into())?),
            Peer::Local => Self::Unix(UnixStream::from_std(connection.into())?),
        })
    }

    /// Returns true if the client has yet to acknowledge octets that were sent to it.
    pub(super) fn has_unread(&self) -> bool {
        match self {
            Self::Tcp(stream) => has_unread(stream),
            Self::Unix(_) => false,
            Self::Tls(secured) => has_unread(secured.stream.get_ref().0),
        }
    }

    /// Reads the next octets into the thread's buffer and hands them over; returns their number.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => poll_read(stream, context, take),
            Self::Unix(stream) => poll_read(stream, context, take),
            Self::Tls(secured) => poll_read(&mut secured.stream, context, take),
        }
    }

    /// Writes some of these octets; returns their number.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, octets),
            Self::Tls(secured) => {
                Pin::new(&mut secured.stream).poll_write_vectored(context, octets)
            }
        }
    }

    /// Sends what TLS has buffered.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_flush(context),
        }
    }

    /// Ends the connection in order.
    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => linger(stream).await,
            // Unread octets do not reset a Unix socket, and its last reply is not lost.
            Self::Unix(mut stream) => stream.shutdown().await,
            Self::Tls(mut secured) => {
                secured.stream.shutdown().await?;
                linger(secured.stream.into_inner().0).await
            }
        }
    }
}

fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut read = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(context, &mut read))?;
        take(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
}

/// Reads and discards what the client has sent beyond the end. Left unread, it would make the system
/// reset the connection, and the last reply might be lost on its way.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    if !stream.try_read(&mut [0]).is_ok_and(|octets| octets > 0) {
        return Ok(());
    }
    let mut unread = vec![0; READ_OCTETS];
    stream.shutdown().await?;
    let mut left = LINGER_OCTETS;
    while left > 0 {
        match stream.read(&mut unread).await? {
            0 => break,
            octets => left = left.saturating_sub(octets),
        }
    }
    Ok(())
}
