//! `restante serve`: the daemon.

mod waiting;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::log::{self, Level};
use super::reload::reload;
use super::systemd;
use crate::admin::{self, Endpoint};
use crate::lmtp;
use crate::server::{Server, bind};
use crate::settings::{Admin, Config, Loaded};
use crate::telemetry::Traces;

/// How long the collector of traces and metrics may hold up a stop.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Starts to log and to export traces, and serves.
pub(super) async fn start(loaded: Loaded, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = &loaded.config;
    let traces = config.otel.endpoint.as_deref().map(Traces::new);
    let traces = traces.transpose()?;
    let level = log::start(&config.log, traces.as_ref())?;
    super::log_warnings(&loaded);
    let status = serve(loaded.config, file, &level).await?;
    if let Some(traces) = traces {
        in_time(EXPORT_TIMEOUT, move || traces.finish(EXPORT_TIMEOUT)).await;
    }
    Ok(status)
}

async fn serve(mut config: Config, file: Option<&Path>, level: &Level) -> anyhow::Result<ExitCode> {
    let inherited = systemd::inherited(&config.pop3)?;
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A database may be far away and not answer; a stop does not wait for that.
    let database = tokio::select! {
        opened = waiting::open(&config) => opened?,
        () = signals.next() => {
            tracing::info!("stopped before the database was open");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let sockets = if inherited.is_empty() {
        bind(&config.pop3)?
    } else {
        systemd::with_the_others(inherited, &config.pop3)?
    };
    let endpoint = bind_admin(&config.admin)?;
    let lmtp = lmtp::bind(&config.lmtp)?;
    let mut server = Server::start(&config, database, sockets)?;
    server.serve_lmtp(&config, lmtp)?;
    if let Some(endpoint) = endpoint {
        tracing::info!(address = %endpoint.address()?, "admin endpoint");
        server.serve_admin(endpoint)?;
    }
    crate::open_files::raise(config.pop3.max_connections);
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    for endpoint in server.lmtp_endpoints() {
        tracing::info!(%endpoint, "listening for LMTP");
    }
    let metrics = Arc::clone(server.metrics());
    systemd::ready();
    actix_rt::spawn(systemd::watch(server.pulse()));
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

/// Of several servers on a machine, those that nobody has given a port do without the endpoint.
fn bind_admin(settings: &Admin) -> anyhow::Result<Option<Endpoint>> {
    match admin::bind(settings) {
        Err(error) if settings.port == Admin::default().port && is_taken(&error) => {
            tracing::warn!("no admin endpoint: {error:#}");
            Ok(None)
        }
        endpoint => endpoint,
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
