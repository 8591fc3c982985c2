//! Puts the actors together, starts them and stops them.

mod liveness;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_rt::Arbiter;
use actix_web::dev::ServerHandle;
use pop3::Limits;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, Endpoint, Health};
use crate::identity::new_name;
use crate::lmtp::LmtpContext;
use crate::log_throttle::LogThrottle;
use crate::login_throttle::{Delays, LoginThrottle};
#[cfg(test)]
use crate::mailbox::MailboxActor;
use crate::mailbox::{MailService, Mailbox};
use crate::maintenance::MaintenanceActor;
use crate::metrics::Metrics;
use crate::net::{
    Acceptor, ListenAddress, ListenerActor, ListenerKind, ListeningSocket, SelfTests, Worker,
};
use crate::networks::Networks;
use crate::open_files::Reserve;
use crate::registry::{
    AdmissionLimits, End, EndReason, Inspect, RegistryActor, SessionReport, Table,
};
use crate::revocation;
use crate::session::SessionContext;
use crate::settings::{Config, Pop3};
use crate::store::{Database, Retention, SqlStore, Store};
use crate::supervision::Supervised;
use crate::tls::{CertificateReport, Renew, RenewalActor, Tls};

pub use liveness::Liveness;

/// How long a commit that has begun may take when the server stops.
const COMMIT_GRACE: Duration = Duration::from_secs(10);

/// How long the database may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// CAPA tells the time until messages expire in days.
const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// How often a stopping server looks whether sessions are left.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// A server that accepts sessions.
pub struct Server {
    addresses: Vec<SocketAddr>,
    listeners: Vec<(ListenAddress, ListenerKind)>,
    self_tests: SelfTests,
    since: SystemTime,
    admin: Option<ServerHandle>,
    lmtp_addresses: Vec<ListenAddress>,
    table: Table,
    metrics: Arc<Metrics>,
    mail: Arc<MailService>,
    mailbox: Mailbox,
    tls: Option<Arc<Tls>>,
    renewal: Option<Supervised<RenewalActor>>,
    pub(crate) registry: Supervised<RegistryActor>,
    #[cfg(test)]
    pub(crate) listener: Supervised<ListenerActor<SessionContext>>,
    workers: Arc<Vec<Worker<SessionContext>>>,
    arbiters: Vec<Arbiter>,
    maintenance_arbiter: Arbiter,
    listening: CancellationToken,
    drain: CancellationToken,
    working: CancellationToken,
}

/// What a server reads before it opens its database: its certificates.
pub struct Preloaded {
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
}

impl Preloaded {
    /// Reads the certificates and their keys.
    ///
    /// # Errors
    /// If a certificate can't be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::exporting_to(config.otel.endpoint.as_deref())?);
        let tls = Tls::load(&config.pop3, Arc::clone(&metrics))?.map(Arc::new);
        Ok(Self { metrics, tls })
    }

    /// The files that the keys of the certificates are in.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let tls = self.tls.as_ref();
        tls.map(|tls| tls.key_files()).unwrap_or_default()
    }
}

/// The sockets that the settings ask for.
///
/// # Errors
/// If one can't be had, or there would be none, or anybody could reach maildrops without a key.
pub fn bind(settings: &Pop3) -> anyhow::Result<Vec<ListeningSocket>> {
    let address = settings.bind_address;
    refuse_strangers(settings, address)?;
    let listeners = listeners(settings)?.into_iter();
    let sockets = listeners.map(|(port, kind)| ListeningSocket::tcp(address, port, kind));
    let sockets = sockets.collect::<Result<_, _>>()?;
    if settings.secure_port != 0 && settings.certificate_path.is_empty() {
        tracing::warn!(
            "no POP3S on port {}: Pop3__CertificatePath is not set",
            settings.secure_port
        );
    }
    Ok(sockets)
}

/// The ports that the settings ask for, and what is spoken there.
///
/// # Errors
/// If there is none.
pub fn listeners(settings: &Pop3) -> anyhow::Result<Vec<(u16, ListenerKind)>> {
    let has_certificate = !settings.certificate_path.is_empty();
    let secure_port = settings.secure_port * u16::from(has_certificate);
    let listeners: Vec<_> = [
        (settings.port, ListenerKind::Pop3),
        (secure_port, ListenerKind::Pop3s),
    ]
    .into_iter()
    .filter(|(port, _)| *port != 0)
    .collect();
    anyhow::ensure!(
        !listeners.is_empty(),
        "nothing to listen on: set Pop3__Port, or Pop3__SecurePort and Pop3__CertificatePath"
    );
    Ok(listeners)
}

/// Refuses to serve other machines where maildrops need no key.
///
/// # Errors
/// If keys are not looked at, and this address is none of loopback.
pub fn refuse_strangers(settings: &Pop3, address: Option<IpAddr>) -> anyhow::Result<()> {
    if settings.require_authentication {
        return Ok(());
    }
    anyhow::ensure!(
        address.is_some_and(|address| address.is_loopback()),
        "Pop3__RequireAuthentication=false opens every maildrop to every client, \
         so it needs Pop3__BindAddress=127.0.0.1 (or ::1)"
    );
    tracing::warn!("any key opens any maildrop: Pop3__RequireAuthentication is false");
    Ok(())
}

/// The address and kind of each socket.
fn listening_at(
    sockets: &[ListeningSocket],
) -> std::io::Result<Vec<(ListenAddress, ListenerKind)>> {
    let at = |socket: &ListeningSocket| Ok((socket.address()?, socket.kind()));
    sockets.iter().map(at).collect()
}

/// Our own schema in this database, with its metrics and its upkeep.
fn own_store(config: &Config, database: Database, metrics: &Metrics) -> Store {
    watch::watch_database(metrics.observables(), &database);
    database.set_min_free_space(config.database.min_free_space);
    database.maintain();
    let store = SqlStore::new(database, new_name()).with_retention(Retention {
        deleted: config.pop3.deleted_retention,
        expire_after: config.pop3.expire_after.duration(),
    });
    watch::watch_clock(metrics.observables(), store.clock_guard());
    store.into()
}

/// How much a client may do in a session.
fn session_limits(settings: &Pop3) -> Limits {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Limits {
        bad_commands: settings.max_bad_commands,
        line_octets: count(settings.max_line_octets),
    }
}

impl Server {
    /// The mailbox actors of the sessions.
    #[cfg(test)]
    pub(crate) fn mailboxes(&self) -> Vec<Supervised<MailboxActor>> {
        let actor = |it: &Worker<SessionContext>| it.protocol().mailbox.actor().clone();
        self.workers.iter().map(actor).collect()
    }

    /// Starts to accept sessions on these sockets.
    ///
    /// The listener and the registry live on the calling thread's arbiter. Each core has one more,
    /// for sessions and the mailbox that they use.
    ///
    /// # Errors
    /// If a certificate can't be used.
    pub fn start(
        config: &Config,
        database: Database,
        sockets: Vec<ListeningSocket>,
    ) -> anyhow::Result<Self> {
        Self::start_with(config, Preloaded::new(config)?, database, sockets)
    }

    /// As [`Server::start`], with certificates that were read before.
    ///
    /// # Errors
    /// If a socket can't be used.
    pub fn start_with(
        config: &Config,
        preloaded: Preloaded,
        database: Database,
        sockets: Vec<ListeningSocket>,
    ) -> anyhow::Result<Self> {
        let store = own_store(config, database, &preloaded.metrics);
        Self::start_on(config, preloaded, store, sockets)
    }

    /// As [`Server::start_with`], on a store of any kind.
    ///
    /// # Errors
    /// If a socket can't be used.
    pub fn start_on(
        config: &Config,
        Preloaded { metrics, tls }: Preloaded,
        store: Store,
        sockets: Vec<ListeningSocket>,
    ) -> anyhow::Result<Self> {
        if let Some(locked_out) = config.pop3.locked_out_by_binding() {
            tracing::warn!("{locked_out}");
        }
        let limits = AdmissionLimits::from(&config.pop3);
        let table = Table::new(limits, config.lmtp.max_connections, Arc::clone(&metrics));
        let proxy_faults = Arc::<LogThrottle>::default();
        let login_throttle = Arc::new(LoginThrottle::new(Delays::from(&config.pop3)));
        let mail = MailService::new(
            store,
            Arc::clone(&metrics),
            config.pop3.require_authentication,
            config.pop3.max_messages_per_session,
        );
        let [listening, drain, working] = std::array::from_fn(|_| CancellationToken::new());
        let here = Arbiter::current();
        let registry_of = table.clone();
        let registry = Supervised::spawn(
            "registry",
            &here,
            Arc::clone(&metrics),
            working.clone(),
            move || RegistryActor::new(registry_of.clone()),
        );
        let renewal = tls.clone().map(|tls| {
            let stop = working.clone();
            let build = move || RenewalActor::new(Arc::clone(&tls));
            Supervised::spawn("renewal", &here, Arc::clone(&metrics), stop, build)
        });
        let listeners = listening_at(&sockets)?;
        let addresses = listeners.iter().filter_map(|(address, _)| address.tcp());
        let addresses = addresses.collect();
        let self_tests = SelfTests::default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arbiters: Vec<Arbiter> = (0..cores).map(|_| Arbiter::new()).collect();
        let maintenance_arbiter = Arbiter::new();
        let upkeep = Mailbox::spawn(&mail, &maintenance_arbiter.handle(), working.clone());
        Supervised::spawn(
            "maintenance",
            &maintenance_arbiter.handle(),
            Arc::clone(&metrics),
            working.clone(),
            move || MaintenanceActor::new(upkeep.clone()),
        );
        // For operators, and to look for revoked keys.
        let mailbox = Mailbox::spawn(&mail, &here, working.clone());
        let service_of = |arbiter: &Arbiter| {
            let arbiter = arbiter.handle();
            let service = SessionContext {
                server_name: config.pop3.server_name.clone(),
                session_timeout: config.pop3.session_timeout,
                login_timeout: config.pop3.login_timeout,
                write_timeout: config.pop3.write_timeout,
                login_throttle: Arc::clone(&login_throttle),
                proxy_faults: Arc::clone(&proxy_faults),
                default_domain: config.pop3.default_domain.clone(),
                plaintext_auth: config.pop3.plaintext_auth.clone(),
                scram_offered: config.pop3.require_authentication,
                mechanisms: config.pop3.auth_mechanisms.allowed(),
                channel_binding: config.pop3.channel_binding,
                // A message is kept for a part of a day more, and never for less than is told.
                expire_days: config
                    .pop3
                    .expire_after
                    .duration()
                    .map(|it| it.as_secs() / SECONDS_OF_A_DAY),
                evict_idle_after: config.pop3.evict_idle_after,
                limits: session_limits(&config.pop3),
                max_deletions: config.pop3.max_deletions_per_session,
                tls: tls.clone(),
                alpn: config.pop3.alpn(),
                mailbox: Mailbox::spawn(&mail, &arbiter, working.clone()),
                registry: registry.clone(),
                metrics: Arc::clone(&metrics),
                drain: drain.clone(),
            };
            Worker::new(arbiter, service)
        };
        let workers: Vec<Worker<_>> = arbiters.iter().map(service_of).collect();
        let (sockets, workers) = (Arc::new(sockets), Arc::new(workers));
        let acceptor = Arc::new(Acceptor::new(
            Arc::clone(&workers),
            registry.clone(),
            config.pop3.proxy_networks.clone(),
            self_tests.clone(),
            Arc::clone(&metrics),
            Reserve::of_pop3(config),
        ));
        let listener = Supervised::spawn(
            "listener",
            &here,
            Arc::clone(&metrics),
            listening.clone(),
            move || ListenerActor::new(Arc::clone(&sockets), Arc::clone(&acceptor)),
        );
        #[cfg(not(test))]
        drop(listener);
        let (watch, stop) = (
            revocation::watch(registry.clone(), mailbox.clone()),
            working.clone(),
        );
        actix_rt::spawn(async move { stop.run_until_cancelled(watch).await });
        Ok(Self {
            addresses,
            listeners,
            self_tests,
            since: SystemTime::now(),
            admin: None,
            lmtp_addresses: Vec::new(),
            table,
            metrics,
            mail,
            mailbox,
            tls,
            renewal,
            registry,
            #[cfg(test)]
            listener,
            workers,
            arbiters,
            maintenance_arbiter,
            listening,
            drain,
            working,
        })
    }

    /// Begins to accept mail by LMTP on these sockets, until the server stops.
    ///
    /// # Errors
    /// If the system can't tell where a socket listens.
    pub fn serve_lmtp(
        &mut self,
        config: &Config,
        sockets: Vec<ListeningSocket>,
    ) -> std::io::Result<()> {
        if sockets.is_empty() {
            return Ok(());
        }
        let listeners = listening_at(&sockets)?;
        self.lmtp_addresses = listeners.iter().map(|(at, _)| at.clone()).collect();
        self.listeners.extend(listeners);
        let pairs = self.arbiters.iter().zip(self.workers.iter());
        let workers = pairs.map(|(arbiter, pop3)| {
            let mailbox = pop3.protocol().mailbox.clone();
            let metrics = Arc::clone(&self.metrics);
            let context = LmtpContext::new(config, mailbox, metrics, self.drain.clone());
            Worker::new(arbiter.handle(), context)
        });
        let acceptor = Arc::new(Acceptor::new(
            Arc::new(workers.collect()),
            self.registry.clone(),
            Networks::default(),
            self.self_tests.clone(),
            Arc::clone(&self.metrics),
            Reserve::of_lmtp(),
        ));
        let sockets = Arc::new(sockets);
        Supervised::spawn(
            "LMTP listener",
            &Arbiter::current(),
            Arc::clone(&self.metrics),
            self.listening.clone(),
            move || ListenerActor::new(Arc::clone(&sockets), Arc::clone(&acceptor)),
        );
        Ok(())
    }

    /// The addresses at which it accepts LMTP.
    pub fn lmtp_addresses(&self) -> &[ListenAddress] {
        &self.lmtp_addresses
    }

    /// Begins to answer whoever runs the server, until it has stopped.
    ///
    /// # Errors
    /// If the system refuses a thread or the socket.
    pub fn serve_admin(&mut self, endpoint: Endpoint) -> std::io::Result<()> {
        let admin = Admin {
            registry: self.registry.clone(),
            mailbox: self.mailbox.clone(),
            metrics: Arc::clone(&self.metrics),
            health: Health::new(
                self.listeners.clone(),
                self.self_tests.clone(),
                self.mailbox.clone(),
                self.tls.clone(),
            ),
            table: self.table.clone(),
            drain: self.drain.clone(),
            closing: self.working.clone(),
            since: self.since,
            streams: admin::streams(),
        };
        self.admin = Some(endpoint.serve(admin)?);
        Ok(())
    }

    /// Where it listens, in the order of its sockets.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// For whoever watches whether it is alive.
    pub fn liveness(&self) -> Liveness {
        Liveness {
            registry: self.registry.clone(),
            threads: self.arbiters.iter().map(Arbiter::handle).collect(),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The certificates that are shown to clients.
    pub fn certificates(&self) -> Vec<CertificateReport> {
        let tls = self.tls.as_ref();
        tls.map(|tls| tls.certificates()).unwrap_or_default()
    }

    /// Reads certificates, keys and revocation lists again. What can't be used is logged, and
    /// the old ones stay in force.
    pub async fn renew_certificates(&self) {
        if let Some(renewal) = &self.renewal
            && let Err(error) = renewal.ask(|| Renew).await
        {
            tracing::error!(error = %error, "the certificates were not read again");
        }
    }

    /// Gives these settings to sessions that begin from now on: how many there may be, their limits,
    /// and what they say.
    pub fn change(&self, settings: &Pop3) {
        self.table.change(AdmissionLimits::from(settings));
        for worker in self.workers.iter() {
            let before = worker.protocol();
            worker.change(SessionContext {
                server_name: settings.server_name.clone(),
                session_timeout: settings.session_timeout,
                login_timeout: settings.login_timeout,
                write_timeout: settings.write_timeout,
                default_domain: settings.default_domain.clone(),
                plaintext_auth: settings.plaintext_auth.clone(),
                mechanisms: settings.auth_mechanisms.allowed(),
                channel_binding: settings.channel_binding,
                alpn: settings.alpn(),
                evict_idle_after: settings.evict_idle_after,
                limits: session_limits(settings),
                max_deletions: settings.max_deletions_per_session,
                ..SessionContext::clone(&before)
            });
        }
    }

    /// What the live sessions are doing.
    pub async fn sessions(&self) -> Vec<SessionReport> {
        let sessions = self.registry.ask(|| Inspect).await.unwrap_or_default();
        sessions.iter().map(|live| live.report()).collect()
    }

    /// Ends a session without committing its deletions; false if there is none of this name.
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

    /// Stops: no new sessions, and so long for those that are here to reach their QUIT.
    pub async fn stop(self, timeout: Duration) {
        self.listening.cancel();
        self.drain.cancel();
        if !self.wait_until_empty(timeout).await {
            for session in self.sessions().await {
                self.end(&session.id, EndReason::Shutdown).await;
            }
            self.wait_until_empty(COMMIT_GRACE).await;
        }
        // First the actors, so that none tidies or notes anything after the last word.
        self.working.cancel();
        if let Some(admin) = &self.admin {
            admin.stop(true).await;
        }
        match tokio::time::timeout(CLOSE_TIMEOUT, self.mail.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "the database was not closed cleanly")
            }
            Err(_) => tracing::warn!("timed out closing the database"),
        }
        for arbiter in self.arbiters.iter().chain([&self.maintenance_arbiter]) {
            arbiter.stop();
        }
    }

    async fn wait_until_empty(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        while !self.table.is_empty() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        true
    }
}
