//! `restante serve`: the daemon.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::systemd;
use crate::server::{Server, bind};
use crate::settings::Config;

pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let inherited = systemd::inherited(&config.pop3)?;
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let database = super::open(config).await?;
    let sockets = if inherited.is_empty() {
        bind(&config.pop3)?
    } else {
        inherited
    };
    let server = Server::start(config, database, sockets)?;
    crate::open_files::raise(config.pop3.max_connections);
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    systemd::ready();
    actix_rt::spawn(systemd::watch(server.pulse()));
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = hangup.recv() => server.renew_certificates().await,
        }
    }
    systemd::stopping(config.pop3.shutdown_timeout);
    tracing::info!("stopping: no new sessions, and time for those that are here to QUIT");
    tokio::select! {
        () = server.stop(config.pop3.shutdown_timeout) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = signals.next() => {
            tracing::warn!("stopped at once by a second signal");
            Ok(ExitCode::from(super::FAILED))
        }
    }
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
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
