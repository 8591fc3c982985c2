//! The client of a POP3 session: its connection, and what is read from and written to it.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pop3::{Reply, Verb};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Span;
use wire::{Line, LineBuffer};

use super::SessionContext;
use crate::metrics::Refused;
use crate::net::{ProtocolName, SessionSignals, Transport};
use crate::registry::{EndReason, SessionHandle};
use crate::telemetry;
use crate::tls::HandshakeError;

/// The octets of replies that are sent at once, unless no command is left before.
pub(super) const GATHERED_OCTETS: usize = 64 * 1024;

/// The longest time in which a client may read why its session ends.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// The client of a session, in both of its phases.
pub(super) struct ClientIo {
    pub(super) context: Arc<SessionContext>,
    pub(super) handle: Arc<SessionHandle>,
    pub(super) signals: Rc<SessionSignals>,
    pub(super) transport: Transport,
    pub(super) lines: LineBuffer,
    pub(super) out: Vec<u8>,
    /// Ready once the server begins to stop.
    pub(super) draining: Pin<Box<dyn Future<Output = ()>>>,
    /// The end of the time to log in, after which nothing is written; `None` once logged in.
    pub(super) login_by: Option<Instant>,
}

impl ClientIo {
    /// A client that has just connected.
    pub(super) fn new(
        context: Arc<SessionContext>,
        handle: Arc<SessionHandle>,
        transport: Transport,
        signals: Rc<SessionSignals>,
    ) -> Self {
        Self {
            login_by: Some(Instant::now() + context.settings.pop3.login_timeout),
            draining: Box::pin(context.drain.clone().cancelled_owned()),
            context,
            handle,
            signals,
            transport,
            lines: LineBuffer::default(),
            out: Vec::new(),
        }
    }

    /// Counts a command; returns its span. A response in an exchange of SASL is no command.
    pub(super) fn begin_command(&self, verb: Option<Verb>) -> Span {
        let Some(verb) = verb else {
            return Span::none();
        };
        self.handle.activity().begin_command(verb);
        if !self.handle.is_self_test() {
            self.context.metrics.command(verb);
        }
        telemetry::command(verb)
    }

    /// Shakes hands. What came in clear is forgotten, as anyone on the path could have sent it.
    pub(super) async fn start_tls(self) -> Result<Self, EndReason> {
        let Self {
            transport,
            mut draining,
            login_by,
            context,
            ..
        } = self;
        let Some(tls) = &context.tls else {
            return Err(EndReason::Handshake);
        };
        let secured = tokio::select! {
            secured = transport.start_tls(tls, context.settings.pop3.alpn()) => secured,
            () = until(login_by) => Err(HandshakeError::timed_out()),
            () = &mut draining => return Err(EndReason::Shutdown),
        };
        match secured {
            Ok(transport) => Ok(Self {
                transport,
                lines: LineBuffer::default(),
                draining,
                context,
                ..self
            }),
            Err(error) => {
                self.handle.set_handshake_error(error);
                Err(EndReason::Handshake)
            }
        }
    }

    /// Waits until this time without reading; a stopping server is not kept waiting.
    pub(super) async fn pause_until(&mut self, then: std::time::Instant) -> Result<(), EndReason> {
        tokio::select! {
            () = tokio::time::sleep_until(then.into()) => Ok(()),
            () = &mut self.draining => Err(EndReason::Shutdown),
        }
    }

    /// Adds a reply to what is sent next.
    pub(super) fn say(&mut self, reply: &Reply) {
        self.out.extend_from_slice(reply.as_bytes());
    }

    /// Sends the gathered replies if there are many.
    pub(super) async fn flush_if_many(&mut self) -> Result<(), EndReason> {
        if self.out.len() >= GATHERED_OCTETS {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends the gathered replies, and frees their memory while the client is waited for.
    pub(super) async fn flush_and_wait(&mut self) -> Result<(), EndReason> {
        self.flush().await?;
        self.out = Vec::new();
        self.handle.activity().wait_for_client();
        Ok(())
    }

    /// Sends the gathered replies.
    pub(super) async fn flush(&mut self) -> Result<(), EndReason> {
        self.write(&[]).await
    }

    /// Sends the gathered replies, and then these octets.
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), EndReason> {
        if self.out.is_empty() && octets.is_empty() {
            return Ok(());
        }
        let write = self.transport.write_all(&self.out, octets);
        let written = match self.login_by {
            None => write.await,
            Some(login_by) => {
                let written = Box::pin(timeout_at(login_by, write)).await;
                written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        };
        self.out.clear();
        self.report_sent();
        Ok(written?)
    }

    /// Sends the reason for which the session ends, if the client reads it soon.
    pub(super) async fn say_goodbye(&mut self, reply: &Reply) {
        self.say(reply);
        // The time to log in may be over, and this has its own limit.
        self.login_by = None;
        let _ = timeout(GOODBYE_TIMEOUT, self.flush()).await;
    }

    /// Counts and logs a PROXY header that is missing, wrong or unexpected.
    pub(super) fn note_proxy_fault(&self, fault: &dyn Display) {
        let metrics = &self.context.metrics;
        metrics.connection_refused(ProtocolName::Pop3, Refused::Proxy);
        let peer = self.handle.peer().host();
        if let Some(before) = self.context.proxy_faults.allow() {
            tracing::warn!(%peer, before, "connection contradicts Pop3__ProxyNetworks: {fault}");
        }
    }

    /// Sends the fault of a PROXY header, and ends the session.
    pub(super) async fn refuse_proxy(&mut self, fault: &dyn Display) -> Result<(), EndReason> {
        self.note_proxy_fault(fault);
        self.say(&Reply::err(fault));
        self.flush().await?;
        Err(EndReason::Refused)
    }

    /// Closes the connection in order.
    pub(super) async fn close(mut self) {
        self.report_sent();
        Box::pin(self.transport.close()).await;
    }

    fn report_sent(&mut self) {
        let sent = self.transport.take_sent();
        if !self.handle.is_self_test() {
            self.context.metrics.octets_sent(sent);
        }
    }
}

/// Waits until this time; never resolves without one.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// The verb of a command line.
pub(super) fn verb_of(line: &Line<'_>) -> Verb {
    match line {
        Line::TooLong => Verb::Unknown,
        Line::Text(text) => Verb::of(text),
    }
}
