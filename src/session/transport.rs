//! The octets of one connection, in clear or inside TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use wire::LineBuffer;

use super::proxy::begins_header;
use super::unread::has_unread;
use crate::registry::SessionHandle;
use crate::tls::{Alpn, HandshakeError, Secured, Tls};

/// How long a TLS handshake may take.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much is read at once. One such buffer serves all sessions of a thread, so that an idle one
/// holds none.
const READ_OCTETS: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_OCTETS]);
}

/// Reads what is there into the thread's buffer and hands it over; returns how much it was.
pub(crate) fn poll_read(
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

/// A connection whose every read and write has a deadline.
pub(super) struct Transport {
    stream: Stream,
    write_deadline: WriteDeadline,
    live: Arc<SessionHandle>,
    unreported: u64,
    heard: FirstOctets,
}

/// What the client has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstOctets {
    Nothing,
    /// What a proxy says first.
    ProxyHeader,
    /// Anything else.
    Something,
}

/// How long a client may read nothing of what is sent to it.
pub(super) struct WriteDeadline {
    pub(super) write_timeout: Duration,
}

impl WriteDeadline {
    async fn wait_for<T>(&self, write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut write = pin!(write);
        let at_once = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        match at_once {
            Poll::Ready(written) => written,
            // Rare and large: boxed, the timers take no room in a idle session.
            Poll::Pending => Box::pin(self.wait_longer(write)).await,
        }
    }

    async fn wait_longer<T>(&self, write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::select! {
            biased;
            written = write => written,
            () = tokio::time::sleep(self.write_timeout) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

impl Transport {
    pub(super) fn new(
        stream: TcpStream,
        write_deadline: WriteDeadline,
        live: Arc<SessionHandle>,
    ) -> Self {
        Self {
            stream: Stream::Plain(stream),
            write_deadline,
            live,
            unreported: 0,
            heard: FirstOctets::Nothing,
        }
    }

    /// The client's connection, before TLS.
    pub(super) fn in_clear(&mut self) -> Option<&mut TcpStream> {
        match &mut self.stream {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) => None,
        }
    }

    /// Has the client not acknowledged all that was sent to it?
    pub(super) fn has_unread(&self) -> bool {
        has_unread(match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(secured) => secured.stream.get_ref().0,
        })
    }

    /// Is the first that was read what a proxy says about its client?
    pub(super) fn began_with_proxy_header(&self) -> bool {
        self.heard == FirstOctets::ProxyHeader
    }

    /// Shakes hands. What was read in clear before this must have been thrown away.
    pub(super) async fn start_tls(self, tls: &Tls, alpn: Alpn) -> Result<Self, HandshakeError> {
        let Stream::Plain(stream) = self.stream else {
            return Err(io::Error::other("TLS has begun already").into());
        };
        // The handshake is large and rare: boxed, it takes no room in a idle session.
        let handshake = Box::pin(tls.accept(stream, alpn));
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
        let secured = handshake.map_err(|_| HandshakeError::timed_out())??;
        let (version, cipher) = secured.protocol();
        self.live.set_tls(version, cipher);
        let addresses = secured.client_addresses();
        if !addresses.is_empty() {
            tracing::info!(?addresses, "the client has shown a certificate");
        }
        Ok(Self {
            stream: Stream::Tls(Box::new(secured)),
            ..self
        })
    }

    /// Is there anything that a login can be bound to?
    pub(super) fn can_bind(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(secured) => secured.can_bind(),
        }
    }

    /// What a login can be bound to: `tls-exporter` or `tls-server-end-point`, if there is one.
    pub(super) fn channel_binding(&self, name: &str) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(secured) => secured.channel_binding(name),
        }
    }

    /// The addresses that the client's certificate is for; it has been verified.
    pub(super) fn client_addresses(&self) -> &[String] {
        match &self.stream {
            Stream::Plain(_) => &[],
            Stream::Tls(secured) => secured.client_addresses(),
        }
    }

    /// Adds what the client sends next to the buffer; 0 octets mean that it has closed.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn read(&mut self, lines: &mut LineBuffer) -> io::Result<usize> {
        let Self { stream, heard, .. } = self;
        poll_fn(|context| {
            let take = |octets: &[u8]| {
                if *heard == FirstOctets::Nothing {
                    *heard = if begins_header(octets) {
                        FirstOctets::ProxyHeader
                    } else {
                        FirstOctets::Something
                    };
                }
                lines.push(octets);
            };
            match stream {
                Stream::Plain(stream) => poll_read(stream, context, take),
                Stream::Tls(secured) => poll_read(&mut secured.stream, context, take),
            }
        })
        .await
    }

    /// Sends all octets, first those of `head` and then those of `body`.
    ///
    /// # Errors
    /// If the connection breaks, or nothing could be sent for as long as the timeout.
    pub(super) async fn write_all(&mut self, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        while !(head.is_empty() && body.is_empty()) {
            let slices = [io::IoSlice::new(head), io::IoSlice::new(body)];
            let write = match &mut self.stream {
                Stream::Plain(stream) => {
                    self.write_deadline
                        .wait_for(stream.write_vectored(&slices))
                        .await
                }
                Stream::Tls(secured) => {
                    let write = secured.stream.write_vectored(&slices);
                    self.write_deadline.wait_for(write).await
                }
            };
            let written = write?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unreported += written as u64;
            self.live.add_sent(written as u64);
            let of_head = written.min(head.len());
            head = head.get(of_head..).unwrap_or_default();
            body = body.get(written - of_head..).unwrap_or_default();
        }
        self.flush().await
    }

    /// Ends the connection in order, as far as the client lets it.
    pub(super) async fn close(self) {
        let ending = async {
            match self.stream {
                Stream::Plain(stream) => linger(stream).await,
                Stream::Tls(mut secured) => {
                    secured.stream.shutdown().await?;
                    linger(secured.stream.into_inner().0).await
                }
            }
        };
        // The client may be gone already; then there is nobody to tell.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, ending).await;
    }

    /// How many octets were sent since this was last asked.
    pub(super) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.unreported)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Stream::Tls(secured) = &mut self.stream else {
            return Ok(());
        };
        self.write_deadline.wait_for(secured.stream.flush()).await
    }
}

/// Reads off what the client has sent beyond the end. If it were left unread, the system would
/// reset the connection, and the last reply might be lost on its way.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    let mut left = LINGER_OCTETS;
    if stream.try_read(&mut [0]).is_ok_and(|octets| octets > 0) {
        let mut unread = vec![0; READ_OCTETS];
        stream.shutdown().await?;
        while left > 0 {
            match stream.read(&mut unread).await? {
                0 => break,
                octets => left = left.saturating_sub(octets),
            }
        }
    }
    Ok(())
}

/// How much is read off at the end of a connection.
const LINGER_OCTETS: usize = 1024 * 1024;

/// How long a client may take to read the last reply when the connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
