//! Sessions of LMTP, by which an MTA delivers mail.
//!
//! The crate `lmtp` decides what a command means. The mailbox actor stores messages; there, the
//! deliveries of all sessions share commits.

mod message;
mod recipient;
mod session;
mod trace_headers;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lmtp::{Reply, Rules};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing::field::Empty;

use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::net::{AdmittedConnection, ListenerKind, ListeningSocket, Protocol, SessionSignals};
use crate::registry::{AdmissionRefusal, EndReason, SessionHandle};
use crate::settings::{Config, LmtpSettings};
use session::LmtpSession;

pub(crate) use trace_headers::return_path;

/// The settings and services of the LMTP sessions of a thread.
pub(crate) struct LmtpContext {
    rules: Arc<Rules>,
    /// The domain of a recipient that has none.
    default_domain: Option<String>,
    session_timeout: Duration,
    mailbox: Mailbox,
    metrics: Arc<Metrics>,
    /// Cancelled when the server begins to stop.
    drain: CancellationToken,
}

impl LmtpContext {
    /// The context of a thread with this mailbox actor.
    pub(crate) fn new(
        config: &Config,
        mailbox: Mailbox,
        metrics: Arc<Metrics>,
        drain: CancellationToken,
    ) -> Self {
        let domain = config.pop3.default_domain.as_ref();
        Self {
            rules: Arc::new(Rules {
                server_name: config.pop3.server_name.clone(),
                max_octets: config.lmtp.max_message_size,
            }),
            default_domain: domain.map(|domain| domain.as_str().to_owned()),
            session_timeout: config.lmtp.session_timeout,
            mailbox,
            metrics,
            drain,
        }
    }
}

impl Protocol for LmtpContext {
    async fn serve(
        self: Arc<Self>,
        connection: AdmittedConnection,
        signals: Rc<SessionSignals>,
    ) -> EndReason {
        LmtpSession::new(self, connection, signals).run().await
    }

    fn refusal(&self, _: AdmissionRefusal) -> Vec<u8> {
        let reply = Reply::closing(&self.rules.server_name, "has too many connections");
        reply.to_string().into_bytes()
    }

    fn write_timeout(&self) -> Duration {
        self.session_timeout
    }

    fn span(&self, handle: &SessionHandle) -> Span {
        tracing::info_span!(
            "lmtp.session",
            session.id = handle.id(),
            peer = Empty,
            ending = Empty
        )
    }

    fn log_end(&self, handle: &SessionHandle, ending: &'static str, seconds: u64) {
        let (id, peer) = (handle.id(), handle.client_or_peer().host());
        let (delivered, refused) = handle.activity().deliveries();
        // Health checks of an MTA come all the time.
        if delivered + refused == 0 {
            return tracing::debug!(session.id = id, %peer, ending, seconds, "LMTP session ended without a message");
        }
        tracing::info!(
            session.id = id,
            %peer,
            ending,
            seconds,
            stored = delivered,
            refused,
            "LMTP session ended"
        );
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// Listens on the port of the settings; `None` if it is off.
///
/// # Errors
/// If the system refuses.
pub(crate) fn bind_port(settings: &LmtpSettings) -> anyhow::Result<Option<ListeningSocket>> {
    if settings.port == 0 {
        return Ok(None);
    }
    let address = settings.bind_address;
    let socket = ListeningSocket::tcp(Some(address), settings.port, ListenerKind::Lmtp)?;
    if !address.is_loopback() {
        tracing::warn!("any host that reaches {address} may deliver mail to every user by LMTP");
    }
    Ok(Some(socket))
}

/// Listens on the Unix socket of the settings; `None` if there is none.
///
/// # Errors
/// If something else is at its path, or the system refuses.
pub(crate) fn bind_path(settings: &LmtpSettings) -> anyhow::Result<Option<ListeningSocket>> {
    let Some(path) = &settings.socket_path else {
        return Ok(None);
    };
    let mode = settings.socket_mode.0;
    Ok(Some(ListeningSocket::unix(path, mode, ListenerKind::Lmtp)?))
}
