//! `restante serve`: the daemon.

mod waiting;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::database::{MISSING_GRANT, Opened};
use super::log::{self, Apart, Level};
use super::reload::reload;
use super::service_user::{INSTEAD_OF_ROOT, ServiceUser, is_root};
use super::systemd;
use crate::admin::token::{self, Origin, Token};
use crate::admin::{self, AdminSocket, Endpoint, HealthListener};
use crate::lmtp;
use crate::net::ListeningSocket;
use crate::server::{Parts, Preloaded, Server, bind};
use crate::settings::{AdminSettings, Config, Loaded};
use crate::store::{Store, open_to_others, sqlite_file};
use crate::telemetry::Traces;

/// How long the collector of traces and metrics may delay a stop.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The options of `restante serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The user to run as, if root starts the server.
    ///
    /// Ports are bound and certificates read as root; then root's rights are given up, and
    /// the database is opened as this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// Starts to log and to export traces, and serves.
pub(super) async fn start(
    options: &Serve,
    loaded: Loaded,
    file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let user = options.user.as_deref().map(ServiceUser::find).transpose()?;
    let config = &loaded.config;
    let traces = config.otel.endpoint.as_deref().map(Traces::new);
    let traces = traces.transpose()?;
    let (level, lines) = log::start_with_thread(&config.log, traces.as_ref())?;
    super::log_warnings(&loaded);
    if let Some(names) = &loaded.without_effect {
        tracing::warn!("{names}");
    }
    actix_rt::spawn(lines.tell_what_was_dropped());
    let status = serve(loaded.config, file, user, &level, &lines).await?;
    if let Some(traces) = traces {
        in_time(EXPORT_TIMEOUT, move || traces.finish(EXPORT_TIMEOUT)).await;
    }
    Ok(status)
}

async fn serve(
    config: Config,
    file: Option<&Path>,
    user: Option<ServiceUser>,
    level: &Level,
    lines: &Apart,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    // A database may not answer; a stop does not wait for it.
    let parts = tokio::select! {
        parts = parts(&config, user.as_ref()) => parts?,
        () = signals.next() => {
            tracing::info!("stopped before the database was open");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut server = Server::start(config, parts)?;
    crate::open_files::raise(server.settings());
    if user.is_none() && is_root() {
        tracing::warn!("the server runs as root without need: {INSTEAD_OF_ROOT}");
    }
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    for endpoint in server.lmtp_addresses() {
        tracing::info!(%endpoint, "listening for LMTP");
    }
    server.metrics().observables().log(lines.dropped());
    systemd::ready();
    actix_rt::spawn(systemd::watch(server.liveness()));
    reload_until_stopped(&mut server, &mut signals, hangup, file, level).await;
    stop(server, &mut signals).await
}

/// Collects the parts of the server: as root what needs root's rights, the rest as the user.
async fn parts(config: &Config, user: Option<&ServiceUser>) -> anyhow::Result<Parts> {
    let mut inherited = systemd::inherited(&config.pop3)?;
    let mut prepared = None;
    if let Some(user) = user {
        let as_root = Prepared::new(config, std::mem::take(&mut inherited))?;
        let keys = as_root.preloaded.key_files();
        user.switch()?;
        warn_of_unreadable(&keys, user);
        prepared = Some(as_root);
    }
    let opened = waiting::open(config, prepared.as_ref()).await;
    let opened = match user {
        Some(user) => opened.with_context(|| format!("as the user {}", user.name()))?,
        None => opened?,
    };
    warn_of_open_files(config);
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => Prepared::new(config, inherited)?,
    };
    let endpoint = |(socket, token)| guarded(socket, token, config);
    let of_path = lmtp::bind_path(&config.lmtp)?;
    Ok(Parts {
        admin: prepared.admin.map(endpoint).transpose()?,
        health: prepared.health,
        lmtp: prepared.lmtp.into_iter().chain(of_path).collect(),
        store: store_of(opened, &prepared.preloaded, config).await?,
        preloaded: prepared.preloaded,
        pop3: prepared.sockets,
    })
}

/// Returns the store in a database.
///
/// # Errors
/// If mail is to be taken in for Relate Mail, which does that itself.
async fn store_of(opened: Opened, preloaded: &Preloaded, config: &Config) -> anyhow::Result<Store> {
    let relate = match opened {
        Opened::Own(database) => return Ok(preloaded.store_in(database, config)),
        Opened::Relate(relate) => relate,
    };
    anyhow::ensure!(
        !config.lmtp.is_on(),
        "{}; set Lmtp__Port=0 and no Lmtp__SocketPath",
        super::deliver::ELSEWHERE
    );
    tracing::info!("serving the database of Relate Mail; users, keys and mail are changed there");
    for grant in relate.database().missing_grants().await? {
        tracing::error!(%grant, "{MISSING_GRANT}");
    }
    Ok(preloaded.relate_store(relate))
}

/// Reads certificates and settings again at each SIGHUP, until a signal stops the server.
async fn reload_until_stopped(
    server: &mut Server,
    signals: &mut Signals,
    mut hangup: Signal,
    file: Option<&Path>,
    level: &Level,
) {
    loop {
        tokio::select! {
            () = signals.next() => return,
            _ = hangup.recv() => {}
        }
        systemd::reloading();
        // Files may hang, as on a network that is down; a stop does not wait for that.
        tokio::select! {
            () = server.renew_certificates() => {}
            () = signals.next() => return,
        }
        reload(file, server, level);
        systemd::ready();
    }
}

/// Stops the server, at once if there is another signal.
async fn stop(server: Server, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let timeout = server.settings().pop3.shutdown_timeout;
    systemd::stopping(timeout);
    tracing::info!("stopping: no new sessions; open ones may go on to their QUIT");
    let metrics = Arc::clone(server.metrics());
    tokio::select! {
        () = server.stop(timeout) => {
            in_time(EXPORT_TIMEOUT, move || metrics.flush()).await;
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = signals.next() => {
            tracing::warn!("stopped at once by a second signal");
            Ok(ExitCode::from(super::FAILED))
        }
    }
}

/// Binds the admin endpoint's socket; returns it with its token if one is set. Of several servers on
/// a machine, only one has an endpoint on the default port.
fn bind_admin(config: &Config) -> anyhow::Result<Option<(AdminSocket, Option<Token>)>> {
    let socket = match admin::bind(&config.admin) {
        Err(error) if config.admin.port == AdminSettings::default().port && is_taken(&error) => {
            tracing::warn!("no admin endpoint: {error:#}");
            return Ok(None);
        }
        socket => socket?,
    };
    match socket {
        Some(socket) => Ok(Some((socket, token::set(config)?))),
        None => Ok(None),
    }
}

/// Binds the sockets for health checks, if the settings ask for them.
fn bind_health(config: &Config) -> anyhow::Result<Option<HealthListener>> {
    let listener = admin::bind_health(&config.health_check)?;
    if let Some(listener) = &listener {
        for address in listener.addresses()? {
            tracing::info!(%address, "listening for health checks");
        }
    }
    Ok(listener)
}

/// What needs root's rights: ports below 1024, and files that only root can read.
struct Prepared {
    sockets: Vec<ListeningSocket>,
    /// The admin endpoint's socket, with its token if one is set.
    admin: Option<(AdminSocket, Option<Token>)>,
    health: Option<HealthListener>,
    lmtp: Option<ListeningSocket>,
    preloaded: Preloaded,
}

impl Prepared {
    /// Binds the sockets that systemd did not pass, and reads the certificates.
    ///
    /// # Errors
    /// If one can't be had.
    fn new(config: &Config, inherited: Vec<ListeningSocket>) -> anyhow::Result<Self> {
        let sockets = if inherited.is_empty() {
            bind(&config.pop3)?
        } else {
            systemd::with_the_others(inherited, &config.pop3)?
        };
        Ok(Self {
            sockets,
            admin: bind_admin(config)?,
            health: bind_health(config)?,
            lmtp: lmtp::bind_port(&config.lmtp)?,
            preloaded: Preloaded::new(config)?,
        })
    }
}

/// Warns of keys that only root can read: a renewed one could not be read.
fn warn_of_unreadable(keys: &[PathBuf], user: &ServiceUser) {
    for key in keys {
        let opened = std::fs::File::open(key);
        if opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            let (key, user) = (key.display(), user.name());
            tracing::warn!(
                "{user} can't read {key}, so a renewed certificate needs a restart: let a group of \
                 {user} read it and search its folders"
            );
        }
    }
}

/// Returns the endpoint with its token, and logs where both are.
fn guarded(socket: AdminSocket, token: Option<Token>, config: &Config) -> anyhow::Result<Endpoint> {
    let token = match token {
        Some(token) => token,
        None => token::of_server(config)?,
    };
    let endpoint = socket.guarded_by(&token);
    let token_file = match token.origin() {
        Origin::File(file) => Some(tracing::field::display(file.display())),
        Origin::Set | Origin::Unkept => None,
    };
    tracing::info!(address = %endpoint.address()?, token_file, "admin endpoint");
    Ok(endpoint)
}

/// Warns of a database that other users may read. Its permissions stay: they may be on purpose.
fn warn_of_open_files(config: &Config) {
    let Ok(Some(file)) = sqlite_file(&config.database.url) else {
        return;
    };
    for open in open_to_others(&file) {
        let open = open.display();
        tracing::warn!("other users of this machine may get at mail: chmod go= {open}");
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Runs blocking work on a thread of its own, and waits for it until a deadline.
async fn in_time(timeout: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = oneshot::channel::<()>();
    // The runtime would wait for a thread of its own when it ends.
    std::thread::spawn(move || {
        work();
        drop(done);
    });
    let _ = tokio::time::timeout(timeout, is_done).await;
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
