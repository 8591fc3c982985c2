//! The state that the actors of a server share, and the steps that spawn them.

use std::sync::Arc;

use actix_rt::{Arbiter, ArbiterHandle};
use tokio_util::sync::CancellationToken;

use super::parts::Preloaded;
use crate::lmtp::LmtpContext;
use crate::log_throttle::LogThrottle;
use crate::login_throttle::{Delays, LoginThrottle};
use crate::mailbox::{MailService, Mailbox};
use crate::maintenance::MaintenanceActor;
use crate::metrics::Metrics;
use crate::net::{Acceptor, ListenerActor, ListeningSocket, Protocol, SelfTests, Worker};
use crate::networks::Networks;
use crate::open_files::Reserve;
use crate::registry::{AdmissionLimits, RegistryActor, Table};
use crate::revocation;
use crate::session::SessionContext;
use crate::settings::{Config, LiveConfig};
use crate::store::Store;
use crate::supervision::Supervised;
use crate::tls::{RenewalActor, Tls};

/// The state that the actors of a server share.
pub(super) struct Shared {
    pub(super) settings: LiveConfig,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) mail: Arc<MailService>,
    pub(super) table: Table,
    pub(super) self_tests: SelfTests,
    pub(super) stops: Stops,
}

/// The tokens that end a server, in this order.
#[derive(Default)]
pub(super) struct Stops {
    /// Ends the listeners.
    pub(super) listening: CancellationToken,
    /// Asks the sessions to end.
    pub(super) drain: CancellationToken,
    /// Ends all other actors.
    pub(super) working: CancellationToken,
}

impl Shared {
    pub(super) fn new(config: Config, preloaded: Preloaded, store: Store) -> Self {
        let Preloaded { metrics, tls } = preloaded;
        let mut settings = LiveConfig::new(config);
        let limits = settings.derive(|config| AdmissionLimits::from(&config.pop3));
        let (pop3, lmtp) = (&settings.current().pop3, &settings.current().lmtp);
        let max_lmtp = lmtp.max_connections;
        let max_messages = pop3.max_messages_per_session;
        let max_messages = max_messages.unwrap_or(store.default_max_messages);
        Self {
            mail: MailService::new(
                store,
                Arc::clone(&metrics),
                pop3.require_authentication,
                max_messages,
            ),
            table: Table::new(limits, max_lmtp, Arc::clone(&metrics)),
            settings,
            metrics,
            tls,
            self_tests: SelfTests::default(),
            stops: Stops::default(),
        }
    }

    pub(super) fn spawn_registry(&self) -> Supervised<RegistryActor> {
        let table = self.table.clone();
        let build = move || RegistryActor::new(table.clone());
        self.spawn("registry", build)
    }

    pub(super) fn spawn_renewal(&self) -> Option<Supervised<RenewalActor>> {
        let tls = self.tls.clone()?;
        let build = move || RenewalActor::new(Arc::clone(&tls));
        Some(self.spawn("renewal", build))
    }

    /// Spawns the maintenance on a thread of its own.
    pub(super) fn spawn_maintenance(&self) -> Arbiter {
        let arbiter = Arbiter::new();
        let mailbox = self.spawn_mailbox(&arbiter.handle());
        let build = move || MaintenanceActor::new(mailbox.clone());
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stops.working.clone());
        Supervised::spawn("maintenance", &arbiter.handle(), metrics, stop, build);
        arbiter
    }

    /// Spawns a mailbox actor on this thread.
    pub(super) fn spawn_mailbox(&self, thread: &ArbiterHandle) -> Mailbox {
        Mailbox::spawn(&self.mail, thread, self.stops.working.clone())
    }

    /// Ends the sessions of revoked keys and disabled users while the server works.
    pub(super) fn watch_revocations(
        &self,
        registry: &Supervised<RegistryActor>,
        mailbox: &Mailbox,
    ) {
        let watch = revocation::watch(registry.clone(), mailbox.clone());
        let stop = self.stops.working.clone();
        actix_rt::spawn(async move { stop.run_until_cancelled(watch).await });
    }

    /// Returns a worker for each of these threads, with a mailbox actor of its own.
    pub(super) fn workers(
        &mut self,
        arbiters: &[Arbiter],
        registry: &Supervised<RegistryActor>,
    ) -> Arc<Vec<Worker<SessionContext>>> {
        let pop3 = &self.settings.current().pop3;
        let login_throttle = Arc::new(LoginThrottle::new(Delays::from(pop3)));
        let proxy_faults = Arc::<LogThrottle>::default();
        let mut worker_on = |arbiter: &Arbiter| {
            let context = SessionContext {
                settings: Arc::clone(self.settings.current()),
                login_throttle: Arc::clone(&login_throttle),
                proxy_faults: Arc::clone(&proxy_faults),
                tls: self.tls.clone(),
                mailbox: self.spawn_mailbox(&arbiter.handle()),
                registry: registry.clone(),
                metrics: Arc::clone(&self.metrics),
                drain: self.stops.drain.clone(),
            };
            let contexts = self.settings.derive(move |config| SessionContext {
                settings: Arc::clone(config),
                ..context.clone()
            });
            Worker::new(arbiter.handle(), contexts)
        };
        Arc::new(arbiters.iter().map(&mut worker_on).collect())
    }

    /// Begins to accept POP3 sessions for these workers.
    pub(super) fn accept_pop3(
        &self,
        sockets: Vec<ListeningSocket>,
        workers: Arc<Vec<Worker<SessionContext>>>,
        registry: Supervised<RegistryActor>,
    ) -> Supervised<ListenerActor<SessionContext>> {
        let config = self.settings.current();
        let acceptor = Acceptor::new(
            workers,
            registry,
            config.pop3.proxy_networks.clone(),
            self.self_tests.clone(),
            Arc::clone(&self.metrics),
            Reserve::of_pop3(config),
        );
        self.listen("listener", sockets, acceptor)
    }

    /// Begins to accept LMTP sessions on the threads of these workers; `None` if there is no socket.
    pub(super) fn accept_lmtp(
        &mut self,
        sockets: Vec<ListeningSocket>,
        pop3: &[Worker<SessionContext>],
        registry: Supervised<RegistryActor>,
    ) -> Option<Supervised<ListenerActor<LmtpContext>>> {
        if sockets.is_empty() {
            return None;
        }
        let workers = pop3.iter().map(|pop3| {
            let mailbox = pop3.protocol().mailbox.clone();
            let (metrics, drain) = (Arc::clone(&self.metrics), self.stops.drain.clone());
            let contexts = self.settings.derive(move |config| {
                LmtpContext::new(config, mailbox.clone(), Arc::clone(&metrics), drain.clone())
            });
            Worker::new(pop3.arbiter.clone(), contexts)
        });
        let acceptor = Acceptor::new(
            Arc::new(workers.collect()),
            registry,
            Networks::default(),
            self.self_tests.clone(),
            Arc::clone(&self.metrics),
            Reserve::of_lmtp(),
        );
        Some(self.listen("LMTP listener", sockets, acceptor))
    }

    /// Spawns a listener on this thread.
    fn listen<P: Protocol>(
        &self,
        name: &'static str,
        sockets: Vec<ListeningSocket>,
        acceptor: Acceptor<P>,
    ) -> Supervised<ListenerActor<P>> {
        let (sockets, acceptor) = (Arc::new(sockets), Arc::new(acceptor));
        let build = move || ListenerActor::new(Arc::clone(&sockets), Arc::clone(&acceptor));
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stops.listening.clone());
        Supervised::spawn(name, &Arbiter::current(), metrics, stop, build)
    }

    /// Spawns an actor on this thread that lives until the server has stopped.
    fn spawn<A>(&self, name: &'static str, build: impl Fn() -> A + Send + 'static) -> Supervised<A>
    where
        A: actix::Actor<Context = actix::Context<A>>,
    {
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stops.working.clone());
        Supervised::spawn(name, &Arbiter::current(), metrics, stop, build)
    }
}
