//! Assembles the actors of a server, starts them and stops them.

mod liveness;
mod parts;
mod shared;
mod sockets;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_rt::Arbiter;
use actix_web::dev::ServerHandle;
use tokio::time::Instant;

use crate::admin::{self, Admin, Endpoint, Health};
use crate::lmtp::LmtpContext;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::net::{ListenAddress, ListenerActor, ListenerKind, ListeningSocket, Worker};
use crate::registry::{End, EndReason, Inspect, RegistryActor, SessionReport};
use crate::session::SessionContext;
use crate::settings::{Config, ConfigError, Reloaded};
use crate::supervision::Supervised;
use crate::tls::{CertificateReport, Renew, RenewalActor};
use shared::Shared;

pub use liveness::Liveness;
pub use parts::{Parts, Preloaded};
pub use sockets::{bind, listeners, refuse_strangers};

/// How long a commit that has begun may take when the server stops.
const COMMIT_GRACE: Duration = Duration::from_secs(10);

/// How long the database may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a stopping server checks whether sessions are left.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// A server that accepts sessions.
pub struct Server {
    shared: Shared,
    addresses: Vec<SocketAddr>,
    lmtp_addresses: Vec<ListenAddress>,
    pub(crate) registry: Supervised<RegistryActor>,
    pub(crate) listener: Supervised<ListenerActor<SessionContext>>,
    lmtp_listener: Option<Supervised<ListenerActor<LmtpContext>>>,
    pub(crate) workers: Arc<Vec<Worker<SessionContext>>>,
    renewal: Option<Supervised<RenewalActor>>,
    /// The admin endpoint and the listener for health checks.
    http: Vec<ServerHandle>,
    arbiters: Vec<Arbiter>,
    maintenance: Arbiter,
}

impl Server {
    /// Starts a server of these parts.
    ///
    /// The listeners and the registry live on the calling thread's arbiter. Each core has one more,
    /// for sessions and the mailbox actor that they use, and the maintenance has its own.
    ///
    /// # Errors
    /// If the system can't tell where a socket listens, or refuses a thread.
    pub fn start(config: Config, parts: Parts) -> anyhow::Result<Self> {
        if let Some(locked_out) = config.pop3.locked_out_by_binding() {
            tracing::warn!("{locked_out}");
        }
        let mut listeners = listening_at(&parts.pop3)?;
        let addresses = listeners.iter().filter_map(|(address, _)| address.tcp());
        let addresses = addresses.collect();
        let of_lmtp = listening_at(&parts.lmtp)?;
        let lmtp_addresses = of_lmtp.iter().map(|(address, _)| address.clone()).collect();
        listeners.extend(of_lmtp);
        let mut shared = Shared::new(config, parts.preloaded, parts.store);
        let registry = shared.spawn_registry();
        let renewal = shared.spawn_renewal();
        let maintenance = shared.spawn_maintenance();
        // For operators, and to look for revoked keys.
        let mailbox = shared.spawn_mailbox(&Arbiter::current());
        shared.watch_revocations(&registry, &mailbox);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arbiters: Vec<_> = (0..cores).map(|_| Arbiter::new()).collect();
        let workers = shared.workers(&arbiters, &registry);
        let listener = shared.accept_pop3(parts.pop3, Arc::clone(&workers), registry.clone());
        let lmtp_listener = shared.accept_lmtp(parts.lmtp, &workers, registry.clone());
        let health = Arc::new(Health::new(
            listeners,
            shared.self_tests.clone(),
            mailbox.clone(),
            shared.tls.clone(),
        ));
        let mut http = Vec::new();
        if let Some(listener) = parts.health {
            http.push(listener.serve(Arc::clone(&health))?);
        }
        if let Some(endpoint) = parts.admin {
            http.push(serve_admin(endpoint, &shared, &registry, mailbox, health)?);
        }
        Ok(Self {
            shared,
            addresses,
            lmtp_addresses,
            registry,
            listener,
            lmtp_listener,
            workers,
            renewal,
            http,
            arbiters,
            maintenance,
        })
    }

    /// Returns where it accepts POP3, in the order of its sockets.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns where it accepts LMTP.
    pub fn lmtp_addresses(&self) -> &[ListenAddress] {
        &self.lmtp_addresses
    }

    /// Returns a probe for a watchdog.
    pub fn liveness(&self) -> Liveness {
        Liveness {
            registry: self.registry.clone(),
            threads: self.workers.iter().map(|it| it.arbiter.clone()).collect(),
        }
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Returns the certificates that are shown to clients.
    pub fn certificates(&self) -> Vec<CertificateReport> {
        let tls = self.shared.tls.as_ref();
        tls.map(|tls| tls.certificates()).unwrap_or_default()
    }

    /// Reads certificates, keys and revocation lists again. Files with a mistake are logged, and the
    /// old ones stay in force.
    pub async fn renew_certificates(&self) {
        if let Some(renewal) = &self.renewal
            && let Err(error) = renewal.ask(|| Renew).await
        {
            tracing::error!(error = %error, "the certificates were not read again");
        }
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> &Arc<Config> {
        self.shared.settings.current()
    }

    /// Puts those of the wanted settings in force that can change while the server runs. Sessions
    /// that are open go on with those that they began with.
    ///
    /// # Errors
    /// If they do not go together with a setting that needs a restart; then nothing changes.
    pub fn reload(&mut self, wanted: &Config) -> Result<Reloaded, ConfigError> {
        let was_locked_out = self.settings().pop3.locked_out_by_binding().is_some();
        let reloaded = self.shared.settings.reload(wanted)?;
        if let Some(locked_out) = self.settings().pop3.locked_out_by_binding()
            && !was_locked_out
        {
            tracing::warn!("{locked_out}");
        }
        Ok(reloaded)
    }

    /// Returns what the live sessions are doing.
    pub async fn sessions(&self) -> Vec<SessionReport> {
        let sessions = self.registry.ask(|| Inspect).await.unwrap_or_default();
        sessions.iter().map(|live| live.report()).collect()
    }

    /// Ends a session without committing its deletions; returns whether there was one with this name.
    pub async fn end_session(&self, id: &str) -> bool {
        self.end(id, EndReason::Killed).await
    }

    async fn end(&self, session: &str, why: EndReason) -> bool {
        let end = || End {
            session: session.to_owned(),
            why,
        };
        self.registry.ask(end).await.unwrap_or(false)
    }

    /// Stops: no new sessions, and so long for those that are open to reach their QUIT.
    pub async fn stop(self, timeout: Duration) {
        let stops = &self.shared.stops;
        stops.listening.cancel();
        self.listener.ended().await;
        if let Some(lmtp_listener) = &self.lmtp_listener {
            lmtp_listener.ended().await;
        }
        stops.drain.cancel();
        if !self.wait_until_empty(timeout).await {
            for session in self.sessions().await {
                self.end(&session.id, EndReason::Shutdown).await;
            }
            self.wait_until_empty(COMMIT_GRACE).await;
        }
        // First the actors, so that none works on a database that is being closed.
        stops.working.cancel();
        for endpoint in &self.http {
            endpoint.stop(true).await;
        }
        let closing = Arc::clone(&self.shared.mail).close();
        match tokio::time::timeout(CLOSE_TIMEOUT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the database was not closed cleanly"),
            Err(_) => tracing::warn!("timed out closing the database"),
        }
        for arbiter in self.arbiters.iter().chain([&self.maintenance]) {
            arbiter.stop();
        }
    }

    async fn wait_until_empty(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        while !self.shared.table.is_empty() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        true
    }
}

/// Returns the address and the kind of each socket.
fn listening_at(
    sockets: &[ListeningSocket],
) -> std::io::Result<Vec<(ListenAddress, ListenerKind)>> {
    let at = |socket: &ListeningSocket| Ok((socket.address()?, socket.kind()));
    sockets.iter().map(at).collect()
}

/// Begins to answer operators.
fn serve_admin(
    endpoint: Endpoint,
    shared: &Shared,
    registry: &Supervised<RegistryActor>,
    mailbox: Mailbox,
    health: Arc<Health>,
) -> std::io::Result<ServerHandle> {
    endpoint.serve(Admin {
        registry: registry.clone(),
        mailbox,
        metrics: Arc::clone(&shared.metrics),
        health,
        table: shared.table.clone(),
        drain: shared.stops.drain.clone(),
        closing: shared.stops.working.clone(),
        since: SystemTime::now(),
        streams: admin::streams(),
    })
}
