//! The octets of one connection, each read and write with a deadline.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use wire::LineBuffer;

use super::LmtpService;
use super::socket::{Accepted, Stream};
use crate::session::poll_read;

/// How long a client may be silent while the server stops.
const DRAIN_SILENCE: Duration = Duration::from_secs(5);

/// A connection with an MTA.
pub(super) struct Wire {
    stream: Either<TcpStream, UnixStream>,
    timeout: Duration,
    drain: CancellationToken,
    end: CancellationToken,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client said QUIT.
    Quit,
    /// The client said what ends a session.
    Refused,
    /// The connection broke, or the client closed it.
    Disconnected,
    /// The client said nothing for too long, or read nothing.
    TimedOut,
    /// The server stops.
    Shutdown,
}

impl Ending {
    /// As the log says it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "QUIT",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed out",
            Self::Shutdown => "shutdown",
        }
    }
}

impl From<io::Error> for Ending {
    fn from(_: io::Error) -> Self {
        Self::Disconnected
    }
}

impl Wire {
    /// Takes a connection over, on the thread where its session lives.
    pub(super) fn new(accepted: Accepted, service: &Arc<LmtpService>) -> io::Result<Self> {
        let stream = match accepted.stream {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                Either::Left(TcpStream::from_std(stream)?)
            }
            Stream::Unix(stream) => Either::Right(UnixStream::from_std(stream)?),
        };
        Ok(Self {
            stream,
            timeout: service.settings.current().session_timeout,
            drain: service.drain.clone(),
            end: service.end.clone(),
        })
    }

    /// Waits for the next command. A server that stops waits for none, also if there is one.
    ///
    /// # Errors
    /// Why there will be none.
    pub(super) async fn wait(&mut self, lines: &mut LineBuffer) -> Result<(), Ending> {
        let (drain, timeout) = (self.drain.clone(), self.timeout);
        tokio::select! {
            biased;
            () = drain.cancelled() => Err(Ending::Shutdown),
            read = self.next(lines) => read,
            () = tokio::time::sleep(timeout) => Err(Ending::TimedOut),
        }
    }

    /// Reads more of a message.
    ///
    /// # Errors
    /// Why there is no more.
    pub(super) async fn read(&mut self, lines: &mut LineBuffer) -> Result<(), Ending> {
        let (drain, end, timeout) = (self.drain.clone(), self.end.clone(), self.timeout);
        let stopping = async {
            drain.cancelled().await;
            tokio::time::sleep(DRAIN_SILENCE).await;
        };
        tokio::select! {
            biased;
            () = end.cancelled() => Err(Ending::Shutdown),
            read = self.next(lines) => read,
            () = tokio::time::sleep(timeout) => Err(Ending::TimedOut),
            () = stopping => Err(Ending::Shutdown),
        }
    }

    /// Sends all octets.
    ///
    /// # Errors
    /// Why the client did not get them.
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), Ending> {
        let end = self.end.clone();
        tokio::select! {
            biased;
            written = self.stream.write_all(octets) => Ok(written?),
            () = end.cancelled() => Err(Ending::Shutdown),
            () = tokio::time::sleep(self.timeout) => Err(Ending::TimedOut),
        }
    }

    async fn next(&mut self, lines: &mut LineBuffer) -> Result<(), Ending> {
        let stream = &mut self.stream;
        let read = poll_fn(|context| poll_read(stream, context, |octets| lines.push(octets)));
        match read.await? {
            0 => Err(Ending::Disconnected),
            _ => Ok(()),
        }
    }
}
