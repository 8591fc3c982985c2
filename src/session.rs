//! Sessions of POP3.
//!
//! A session has two phases, one type each: `AuthorizationPhase` until the login, and
//! `TransactionPhase` until QUIT, which owns the open maildrop. Both read a line, let the crate `pop3`
//! decide what it means, and do that.

mod arrival;
mod authorization;
mod client;
mod login;
mod reader;
mod retrieval;
mod transaction;
mod update;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pop3::{Reply, ResponseCode};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing::field::Empty;

use crate::log_throttle::LogThrottle;
use crate::login_throttle::LoginThrottle;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::net::{AdmittedConnection, Protocol, SessionSignals};
use crate::registry::{AdmissionRefusal, EndReason, RegistryActor, SessionHandle};
use crate::settings::Config;
use crate::supervision::Supervised;
use crate::telemetry::SESSIONS;
use crate::tls::{Alpn, Tls};
use arrival::Arrival;
use client::ClientIo;

/// The settings and services of the POP3 sessions of a thread.
#[derive(Clone)]
pub(crate) struct SessionContext {
    /// The settings that were in force when the session began.
    pub settings: Arc<Config>,
    /// Delays logins after failed ones.
    pub login_throttle: Arc<LoginThrottle>,
    /// Limits the log lines on connections that contradict the settings of proxies.
    pub proxy_faults: Arc<LogThrottle>,
    /// The certificates, if there are any.
    pub tls: Option<Arc<Tls>>,
    /// The mailbox actor of the same thread.
    pub mailbox: Mailbox,
    /// The registry of sessions.
    pub registry: Supervised<RegistryActor>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the server begins to stop.
    pub drain: CancellationToken,
}

impl Protocol for SessionContext {
    async fn serve(
        self: Arc<Self>,
        connection: AdmittedConnection,
        signals: Rc<SessionSignals>,
    ) -> EndReason {
        // Boxed, it is not copied into each future around it.
        let session = Box::pin(converse(self, connection, Rc::clone(&signals)));
        let ending = signals.until_killed(session).await;
        ending.unwrap_or(EndReason::Killed)
    }

    fn refusal(&self, why: AdmissionRefusal) -> Vec<u8> {
        refusal_reply(why).as_bytes().to_vec()
    }

    fn tls(&self) -> Option<(Arc<Tls>, Alpn)> {
        Some((self.tls.clone()?, self.settings.pop3.alpn()))
    }

    fn write_timeout(&self) -> Duration {
        self.settings.pop3.write_timeout
    }

    fn evict_idle_after(&self) -> Duration {
        self.settings.pop3.evict_idle_after
    }

    fn span(&self, handle: &SessionHandle) -> Span {
        tracing::info_span!(
            target: SESSIONS,
            "pop3.session",
            session.id = handle.id(),
            peer = Empty,
            ending = Empty
        )
    }

    fn log_end(&self, handle: &SessionHandle, ending: &'static str, seconds: u64) {
        let report = handle.report();
        let handshake = handle.handshake_error();
        let deleted = handle.activity().committed();
        tracing::info!(
            session.id = report.id,
            user = report.user,
            key = report.key,
            peer = %report.peer,
            proxy = report.proxy.map(tracing::field::display),
            listener = report.listener,
            tls = report.tls_version,
            cipher = report.tls_cipher,
            tls_failure = handshake.map(|it| it.failure.as_str()),
            tls_error = handshake.map(tracing::field::display),
            ending,
            seconds,
            top = report.tops,
            retr = report.retrs,
            dele = report.deles,
            uidl = report.uidls,
            octets_sent = report.octets_sent,
            deleted,
            left = report.messages.saturating_sub(deleted),
            hidden = (report.hidden > 0).then_some(report.hidden),
            "session ended"
        );
    }

    fn counts_octets(&self) -> bool {
        true
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// Talks until the session ends.
async fn converse(
    context: Arc<SessionContext>,
    connection: AdmittedConnection,
    signals: Rc<SessionSignals>,
) -> EndReason {
    let AdmittedConnection {
        transport,
        listener,
        admission,
    } = connection;
    let handle = Arc::clone(admission.handle());
    let arrival = Arrival {
        client: ClientIo::new(context, handle, transport, signals),
        admission,
        listener,
    };
    let authorization = match Box::pin(arrival.run()).await {
        Ok(authorization) => authorization,
        Err(ending) => return ending,
    };
    // Boxed, one phase takes no memory during the other.
    match Box::pin(authorization.run()).await {
        Ok((transaction, state)) => Box::pin(transaction.run(state)).await,
        Err(ending) => ending,
    }
}

/// The reply to a connection that is refused. The client may come again later, hence the code.
fn refusal_reply(why: AdmissionRefusal) -> Reply {
    Reply::coded(ResponseCode::SysTemp, why)
}
