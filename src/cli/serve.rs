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

use super::log::{self, Apart, Level};
use super::reload::reload;
use super::service_user::{INSTEAD_OF_ROOT, ServiceUser, is_root};
use super::systemd;
use crate::admin::token::{self, Origin, Token};
use crate::admin::{self, AdminSocket, Endpoint};
use crate::lmtp;
use crate::net::ListeningSocket;
use crate::server::{Preloaded, Server, bind};
use crate::settings::{Admin, Config, Loaded};
use crate::store::{open_to_others, sqlite_file};
use crate::telemetry::Traces;

/// How long the collector of traces and metrics may hold up a stop.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How to serve.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The user to run as, if root starts the server.
    ///
    /// Ports are bound and certificates read as root; then root's rights are given up for good, and
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
    let (level, lines) = log::start_apart(&config.log, traces.as_ref())?;
    super::log_warnings(&loaded);
    actix_rt::spawn(lines.tell_what_was_dropped());
    let status = serve(loaded.config, file, user, &level, &lines).await?;
    if let Some(traces) = traces {
        in_time(EXPORT_TIMEOUT, move || traces.finish(EXPORT_TIMEOUT)).await;
    }
    Ok(status)
}

async fn serve(
    mut config: Config,
    file: Option<&Path>,
    user: Option<ServiceUser>,
    level: &Level,
    lines: &Apart,
) -> anyhow::Result<ExitCode> {
    let mut inherited = systemd::inherited(&config.pop3)?;
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let prepared = match &user {
        Some(user) => {
            let prepared = Prepared::new(&config, std::mem::take(&mut inherited))?;
            let keys = prepared.preloaded.key_files();
            user.switch()?;
            warn_of_unreadable(&keys, user);
            Some(prepared)
        }
        None => None,
    };
    // A database may be far away and not answer; a stop does not wait for that.
    let database = tokio::select! {
        opened = waiting::open(&config, prepared.as_ref()) => match &user {
            Some(user) => opened.with_context(|| format!("as the user {}", user.name()))?,
            None => opened?,
        },
        () = signals.next() => {
            tracing::info!("stopped before the database was open");
            return Ok(ExitCode::SUCCESS);
        }
    };
    warn_of_open_files(&config);
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => Prepared::new(&config, inherited)?,
    };
    let endpoint = match prepared.admin {
        Some((socket, token)) => Some(guarded(socket, token, &config)?),
        None => None,
    };
    let lmtp = prepared
        .lmtp
        .into_iter()
        .chain(lmtp::bind_path(&config.lmtp)?);
    let lmtp = lmtp.collect();
    let mut server = Server::start_with(&config, prepared.preloaded, database, prepared.sockets)?;
    server.serve_lmtp(&config, lmtp)?;
    if let Some(endpoint) = endpoint {
        server.serve_admin(endpoint)?;
    }
    crate::open_files::raise(&config);
    if user.is_none() && is_root() {
        tracing::warn!("the server runs as root without need: {INSTEAD_OF_ROOT}");
    }
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    for endpoint in server.lmtp_addresses() {
        tracing::info!(%endpoint, "listening for LMTP");
    }
    let metrics = Arc::clone(server.metrics());
    metrics.observables().log(lines.dropped());
    systemd::ready();
    actix_rt::spawn(systemd::watch(server.liveness()));
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = hangup.recv() => {
                systemd::reloading();
                // Files may hang, as on a network that is down; a stop does not wait for that.
                tokio::select! {
                    () = server.renew_certificates() => {}
                    () = signals.next() => break,
                }
                reload(file, &mut config, &server, level);
                systemd::ready();
            }
        }
    }
    systemd::stopping(config.pop3.shutdown_timeout);
    tracing::info!("stopping: no new sessions, and time for those that are here to QUIT");
    tokio::select! {
        () = server.stop(config.pop3.shutdown_timeout) => {
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

/// The admin endpoint's socket, with its token if one is set. Of several servers on a machine, those
/// that nobody has given a port do without.
fn bind_admin(config: &Config) -> anyhow::Result<Option<(AdminSocket, Option<Token>)>> {
    let socket = match admin::bind(&config.admin) {
        Err(error) if config.admin.port == Admin::default().port && is_taken(&error) => {
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

/// What only root may have: ports below 1024, and files that only root can read.
struct Prepared {
    sockets: Vec<ListeningSocket>,
    /// With its token, if one is set.
    admin: Option<(AdminSocket, Option<Token>)>,
    lmtp: Option<ListeningSocket>,
    preloaded: Preloaded,
}

impl Prepared {
    /// The sockets that the settings ask for beside those that systemd gave, and the certificates.
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
            lmtp: lmtp::bind_port(&config.lmtp)?,
            preloaded: Preloaded::new(config)?,
        })
    }
}

/// A key that only root can read is in use, but a renewed one can't be.
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

/// The endpoint with its token; says where both are.
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

/// What exists is left as it is: that others may read it can be on purpose.
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

/// Does something that blocks its thread, and goes on when it is done or when the time is over.
async fn in_time(timeout: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = oneshot::channel::<()>();
    // No thread of the runtime, whose end would wait for it.
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
