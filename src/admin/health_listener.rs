//! A listener for `/healthz` alone, open to those who must not reach the admin endpoint.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::KeepAlive;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use anyhow::Context;

use super::health::{self, Health, Report};
use super::problem::Problem;
use super::{KEEP_ALIVE, MAX_CONNECTIONS, REQUEST_TIMEOUT, STOP_TIMEOUT_SECONDS};
use super::{body, get, guard, resource, run};
use crate::net::listen_on;
use crate::settings::HealthCheckSettings;

/// The sockets for health checks.
#[derive(Debug)]
pub struct HealthListener(Vec<TcpListener>);

/// Listens where the settings say; returns `None` if that is nowhere.
///
/// # Errors
/// If the port can't be had.
pub(crate) fn bind(settings: &HealthCheckSettings) -> anyhow::Result<Option<HealthListener>> {
    let Some(url) = &settings.url else {
        return Ok(None);
    };
    let first = listen_on(url.address(), url.port()).with_context(|| {
        let port = url.port();
        format!("cannot listen on port {port} for health checks (HealthCheck__Url)")
    })?;
    let second = url.second_address();
    let second = second.map(|address| listen_on(Some(address), url.port()));
    let second = match second {
        // It is enough that localhost has one of its addresses.
        Some(Err(error)) if error.kind() == ErrorKind::AddrInUse => {
            let place = "cannot listen on ::1 for health checks (HealthCheck__Url)";
            return Err(error).context(place);
        }
        Some(Err(_)) | None => None,
        Some(Ok(socket)) => Some(socket),
    };
    let sockets = std::iter::once(first).chain(second).collect();
    Ok(Some(HealthListener(sockets)))
}

impl HealthListener {
    /// Returns where it listens.
    ///
    /// # Errors
    /// If the system can't say.
    pub(crate) fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }

    /// Returns another handle to the sockets.
    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        let sockets = self.0.iter().map(TcpListener::try_clone);
        Ok(Self(sockets.collect::<Result<_, _>>()?))
    }

    /// Answers that the server waits for its database.
    ///
    /// # Errors
    /// If the system refuses a thread or a socket.
    pub(crate) fn serve_while_waiting(self) -> std::io::Result<ServerHandle> {
        // A client that asks again must reach the server that has started.
        self.serve_reports(KeepAlive::Disabled, None)
    }

    /// Begins to answer. It ends with the handle's `stop`.
    ///
    /// # Errors
    /// If the system refuses a thread or a socket.
    pub(crate) fn serve(self, health: Arc<Health>) -> std::io::Result<ServerHandle> {
        self.serve_reports(KEEP_ALIVE.into(), Some(health))
    }

    fn serve_reports(
        self,
        keep_alive: KeepAlive,
        health: Option<Arc<Health>>,
    ) -> std::io::Result<ServerHandle> {
        let health = web::Data::new(health);
        let app = move || {
            App::new()
                .app_data(health.clone())
                .service(resource("/healthz", [("GET, HEAD", get().to(healthz))]))
                .default_service(web::to(nowhere))
                .wrap(from_fn(body::read))
                .wrap(from_fn(finish))
        };
        let mut server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .max_connections(MAX_CONNECTIONS)
            .client_request_timeout(REQUEST_TIMEOUT)
            .keep_alive(keep_alive)
            .shutdown_timeout(STOP_TIMEOUT_SECONDS);
        for socket in self.0 {
            server = server.listen(socket)?;
        }
        Ok(run(server.run()))
    }
}

async fn healthz(health: web::Data<Option<Arc<Health>>>) -> HttpResponse {
    match health.as_ref() {
        Some(health) => health.answer().await,
        None => health::response(Report::of_waiting()),
    }
}

async fn nowhere() -> HttpResponse {
    Problem::not_found("there is nothing but /healthz here").error_response()
}

async fn finish(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    Ok(guard::finished(next.call(request).await?))
}
