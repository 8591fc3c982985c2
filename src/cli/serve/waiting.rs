//! Waits at the start for a database that is not there yet.

use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;

use super::super::database::{Opened, migrate_by_reserve};
use super::{Prepared, bind_admin, guarded, systemd};
use crate::admin::{self, Endpoint, HealthListener};
use crate::log_throttle::LogThrottle;
use crate::settings::Config;

/// The pause between two attempts to open the database.
const PAUSE: Duration = Duration::from_secs(1);

/// The time that systemd is asked for with each attempt.
const MORE_TIME: Duration = Duration::from_secs(60);

/// Opens the database, and waits for it while it is away. Meanwhile `/livez` answers, and `/healthz` of
/// the listener for health checks says that the server waits.
///
/// # Errors
/// If waiting does not help, as when the password is wrong.
pub(super) async fn open(config: &Config, prepared: Option<&Prepared>) -> anyhow::Result<Opened> {
    let began = Instant::now();
    let said = LogThrottle::default();
    let mut has_waited = false;
    let mut endpoints: Vec<ServerHandle> = Vec::new();
    let opened = loop {
        match migrate_by_reserve(config).await {
            Err(error) if error.is_away() => {
                if said.allow().is_some() {
                    tracing::error!(%error, "the database is not available; the server waits for it");
                }
                has_waited = true;
                systemd::waiting(MORE_TIME);
                if endpoints.is_empty() {
                    let bound = admin_endpoint(config, prepared)?;
                    endpoints.extend(bound.map(Endpoint::serve_while_waiting).transpose()?);
                    let bound = health_listener(config, prepared)?;
                    let health = bound.map(HealthListener::serve_while_waiting);
                    endpoints.extend(health.transpose()?);
                }
                tokio::time::sleep(PAUSE).await;
            }
            opened => break opened,
        }
    };
    for endpoint in endpoints {
        endpoint.stop(true).await;
    }
    let (opened, _) = opened?;
    if has_waited {
        let waited_s = began.elapsed().as_secs();
        tracing::info!(waited_s, "the database is available");
    }
    Ok(opened)
}

/// Returns the endpoint on the prepared socket, or else on a new one.
fn admin_endpoint(
    config: &Config,
    prepared: Option<&Prepared>,
) -> anyhow::Result<Option<Endpoint>> {
    let bound = match prepared {
        Some(Prepared { admin: None, .. }) => None,
        Some(Prepared {
            admin: Some((socket, token)),
            ..
        }) => Some((socket.try_clone()?, token.clone())),
        None => bind_admin(config)?,
    };
    bound
        .map(|(socket, token)| guarded(socket, token, config))
        .transpose()
}

/// Returns the listener for health checks on the prepared sockets, or else on new ones.
fn health_listener(
    config: &Config,
    prepared: Option<&Prepared>,
) -> anyhow::Result<Option<HealthListener>> {
    let Some(prepared) = prepared else {
        return admin::bind_health(&config.health_check);
    };
    let prepared = prepared.health.as_ref();
    Ok(prepared.map(HealthListener::try_clone).transpose()?)
}
