//! The octets of one connection, in clear or inside TLS.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use wire::LineBuffer;

use super::proxy::begins_header;
use super::stream::NetStream;
use crate::registry::{EndReason, SessionHandle};
use crate::tls::{Alpn, HandshakeError, Tls};

/// The longest time of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time in which a client may read the last reply when the connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection whose writes have a deadline.
pub struct Transport {
    stream: NetStream,
    write_deadline: WriteDeadline,
    handle: Arc<SessionHandle>,
    unreported: u64,
    first: FirstOctets,
}

/// The first octets of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstOctets {
    Missing,
    ProxyHeader,
    Other,
}

/// The longest time in which a client may read nothing of what is sent to it.
struct WriteDeadline {
    timeout: Duration,
}

impl WriteDeadline {
    async fn wait_for<T>(&self, write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut write = pin!(write);
        let at_once = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        match at_once {
            Poll::Ready(written) => written,
            // Rare and large: boxed, the timer takes no memory in an idle session.
            Poll::Pending => Box::pin(self.wait_longer(write)).await,
        }
    }

    async fn wait_longer<T>(&self, write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::select! {
            biased;
            written = write => written,
            () = tokio::time::sleep(self.timeout) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Transport {
    pub(super) fn new(
        stream: NetStream,
        write_timeout: Duration,
        handle: Arc<SessionHandle>,
    ) -> Self {
        Self {
            stream,
            write_deadline: WriteDeadline {
                timeout: write_timeout,
            },
            handle,
            unreported: 0,
            first: FirstOctets::Missing,
        }
    }

    /// The TCP connection, before TLS.
    pub(crate) fn in_clear(&mut self) -> Option<&mut TcpStream> {
        match &mut self.stream {
            NetStream::Tcp(stream) => Some(stream),
            NetStream::Unix(_) | NetStream::Tls(_) => None,
        }
    }

    /// Returns true if the client has yet to acknowledge octets that were sent to it.
    pub(crate) fn has_unread(&self) -> bool {
        self.stream.has_unread()
    }

    /// Returns true if the first octets were a PROXY header.
    pub(crate) fn began_with_proxy_header(&self) -> bool {
        self.first == FirstOctets::ProxyHeader
    }

    /// Shakes hands. What was read in clear before this must have been thrown away.
    pub(crate) async fn start_tls(self, tls: &Tls, alpn: Alpn) -> Result<Self, HandshakeError> {
        let NetStream::Tcp(stream) = self.stream else {
            return Err(io::Error::other("TLS has begun already").into());
        };
        // The handshake is large and rare: boxed, it takes no memory in an idle session.
        let handshake = Box::pin(tls.accept(stream, alpn));
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
        let secured = handshake.map_err(|_| HandshakeError::timed_out())??;
        let (version, cipher) = secured.protocol();
        self.handle.set_tls(version, cipher);
        let addresses = secured.client_addresses();
        if !addresses.is_empty() {
            tracing::info!(?addresses, "the client has presented a certificate");
        }
        Ok(Self {
            stream: NetStream::Tls(Box::new(secured)),
            ..self
        })
    }

    /// Returns true if the connection is inside TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, NetStream::Tls(_))
    }

    /// Returns true if a login can be bound to the connection.
    pub(crate) fn can_bind(&self) -> bool {
        match &self.stream {
            NetStream::Tcp(_) | NetStream::Unix(_) => false,
            NetStream::Tls(secured) => secured.can_bind(),
        }
    }

    /// The channel binding of this name, `tls-exporter` or `tls-server-end-point`, if there is one.
    pub(crate) fn channel_binding(&self, name: &str) -> Option<Vec<u8>> {
        match &self.stream {
            NetStream::Tcp(_) | NetStream::Unix(_) => None,
            NetStream::Tls(secured) => secured.channel_binding(name),
        }
    }

    /// The addresses in the client's certificate, which has been verified.
    pub(crate) fn client_addresses(&self) -> &[String] {
        match &self.stream {
            NetStream::Tcp(_) | NetStream::Unix(_) => &[],
            NetStream::Tls(secured) => secured.client_addresses(),
        }
    }

    /// Adds the next octets of the client to the buffer, and notes that it is active. A client that
    /// has closed is an error.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn read(&mut self, lines: &mut LineBuffer) -> Result<(), EndReason> {
        let Self { stream, first, .. } = self;
        let read = poll_fn(|context| {
            stream.poll_read(context, |octets| {
                if *first == FirstOctets::Missing {
                    *first = if begins_header(octets) {
                        FirstOctets::ProxyHeader
                    } else {
                        FirstOctets::Other
                    };
                }
                lines.push(octets);
            })
        });
        if read.await? == 0 {
            return Err(EndReason::Disconnected);
        }
        self.handle.activity().note();
        Ok(())
    }

    /// Sends all octets, first those of `head` and then those of `body`.
    ///
    /// # Errors
    /// If the connection breaks, or nothing could be sent for as long as the timeout.
    pub(crate) async fn write_all(&mut self, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        let Self {
            stream,
            write_deadline,
            ..
        } = self;
        while !(head.is_empty() && body.is_empty()) {
            let slices = [io::IoSlice::new(head), io::IoSlice::new(body)];
            let write = poll_fn(|context| stream.poll_write(context, &slices));
            let written = write_deadline.wait_for(write).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unreported += written as u64;
            self.handle.activity().add_sent(written as u64);
            let of_head = written.min(head.len());
            head = head.get(of_head..).unwrap_or_default();
            body = body.get(written - of_head..).unwrap_or_default();
        }
        let flush = poll_fn(|context| stream.poll_flush(context));
        write_deadline.wait_for(flush).await
    }

    /// Ends the connection in order, as far as the client lets it.
    pub(crate) async fn close(self) {
        // The client may have gone already; the result does not matter then.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.stream.close()).await;
    }

    /// Returns the number of octets that were sent since the last call.
    pub(crate) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.unreported)
    }
}
