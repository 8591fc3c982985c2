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

use pop3::{ChannelBinding, Limits, Mechanisms, Reply, ResponseCode};
use tokio_util::sync::CancellationToken;

use crate::log_throttle::LogThrottle;
use crate::login_throttle::LoginThrottle;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::net::{AdmittedConnection, Protocol, SessionSignals};
use crate::registry::{AdmissionRefusal, EndReason, RegistryActor};
use crate::settings::{Domain, PlaintextAuth};
use crate::supervision::Supervised;
use crate::tls::{Alpn, Tls};
use arrival::Arrival;
use client::ClientIo;

/// The settings and services of the POP3 sessions of a thread.
#[derive(Clone)]
pub struct SessionContext {
    /// The name in the greeting.
    pub server_name: String,
    /// The longest inactivity of a client.
    pub session_timeout: Duration,
    /// The longest time of a login.
    pub login_timeout: Duration,
    /// The longest time in which a client may read nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Delays logins after failed ones.
    pub login_throttle: Arc<LoginThrottle>,
    /// Limits the log lines on connections that contradict the settings of proxies.
    pub proxy_faults: Arc<LogThrottle>,
    /// The domain of a login name that has none.
    pub default_domain: Option<Domain>,
    /// The clients that may send a secret in clear.
    pub plaintext_auth: PlaintextAuth,
    /// Whether a client may prove its key by SCRAM. Not if any key is accepted: then none can be proven.
    pub scram_offered: bool,
    /// The mechanisms that AUTH may offer and accept.
    pub mechanisms: Mechanisms,
    /// Whether the bound form of SCRAM is announced, and whether it is accepted.
    pub channel_binding: ChannelBinding,
    /// The number of whole days after which messages expire; `None` if they never do.
    pub expire_days: Option<u64>,
    /// The idle time after which a session ends for the next one of its device; 0 is never.
    pub evict_idle_after: Duration,
    /// How much a client may do.
    pub limits: Limits,
    /// The number of deletions above which a session is logged as a warning; 0 is no limit.
    pub max_deletions: u32,
    /// The certificates, if there are any.
    pub tls: Option<Arc<Tls>>,
    /// Whether a client may ask for another protocol in its handshake.
    pub alpn: Alpn,
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
        let session = converse(self, connection, Rc::clone(&signals));
        let ending = signals.until_killed(session).await;
        ending.unwrap_or(EndReason::Killed)
    }

    fn refusal(&self, why: AdmissionRefusal) -> Vec<u8> {
        refusal_reply(why).as_bytes().to_vec()
    }

    fn tls(&self) -> Option<(Arc<Tls>, Alpn)> {
        Some((self.tls.clone()?, self.alpn))
    }

    fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    fn evict_idle_after(&self) -> Duration {
        self.evict_idle_after
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
    // Boxed, the first phase takes no memory during the second.
    match Box::pin(authorization.run()).await {
        Ok((transaction, state)) => transaction.run(state).await,
        Err(ending) => ending,
    }
}

/// The reply to a connection that is refused. The client may come again later, hence the code.
fn refusal_reply(why: AdmissionRefusal) -> Reply {
    Reply::coded(ResponseCode::SysTemp, why)
}
