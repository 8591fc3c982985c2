//! The HTTP endpoint for operators: live sessions, health, metrics, users and keys.
//!
//! It asks the other parts and keeps no state of its own.

mod body;
mod changes;
mod guard;
mod health;
mod health_listener;
mod openapi;
mod overview;
mod page;
mod problem;
mod sessions;
pub(crate) mod token;
mod users;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::dev::{Server, ServerHandle};
use actix_web::error::JsonPayloadError;
use actix_web::guard::{Any, Get, Head};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, Resource, ResponseError, Route, web};
use anyhow::Context;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::accounts::AccountError;
use crate::mailbox::{InDirectory, Mailbox};
use crate::metrics::Metrics;
use crate::registry::{RegistryActor, Table};
use crate::settings;
use crate::store::Directory;
use crate::supervision::Supervised;
use guard::Guard;
use problem::Problem;
use token::Token;

pub(crate) use health::Health;
pub(crate) use health_listener::{HealthListener, bind as bind_health};

/// The largest number of connections.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to send the head of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is kept open for another request.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How many seconds open requests may go on when the endpoint ends.
const STOP_TIMEOUT_SECONDS: u64 = 1;

/// A socket that listens for operators.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    socket: TcpListener,
    address: SocketAddr,
}

/// The socket, with the rules of access.
#[derive(Debug)]
pub struct Endpoint {
    socket: TcpListener,
    guard: Guard,
}

/// Listens where the settings say; returns `None` if the endpoint is off.
///
/// # Errors
/// If the address can't be had, or a token is set that can't be read.
pub(crate) fn bind(settings: &settings::AdminSettings) -> anyhow::Result<Option<AdminSocket>> {
    if settings.port == 0 {
        return Ok(None);
    }
    settings.token()?;
    let address = SocketAddr::new(settings.bind_address, settings.port);
    let socket = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address} (set Admin__Port, or 0 for no admin endpoint)")
    })?;
    socket.set_nonblocking(true)?;
    Ok(Some(AdminSocket { socket, address }))
}

impl AdminSocket {
    /// Returns the endpoint on this socket that asks for this token.
    pub(crate) fn guarded_by(self, token: &Token) -> Endpoint {
        Endpoint {
            guard: Guard::new(token, self.address.ip()),
            socket: self.socket,
        }
    }

    /// Returns another handle to the socket.
    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            address: self.address,
        })
    }
}

impl Endpoint {
    /// Returns where it listens.
    ///
    /// # Errors
    /// If the system fails.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers `/livez` until the server can start, and everything else with 503.
    ///
    /// # Errors
    /// If the system refuses a thread or the socket.
    pub(crate) fn serve_while_waiting(self) -> std::io::Result<ServerHandle> {
        let guard = web::Data::new(self.guard);
        let app = move || {
            App::new()
                .app_data(guard.clone())
                .service(resource("/livez", [("GET, HEAD", get().to(health::livez))]))
                .default_service(web::to(not_yet))
                .wrap(from_fn(guard::guard))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .max_connections(MAX_CONNECTIONS)
            .client_request_timeout(REQUEST_TIMEOUT)
            // A client that asks again must reach the server that has started.
            .keep_alive(actix_web::http::KeepAlive::Disabled)
            .shutdown_timeout(STOP_TIMEOUT_SECONDS)
            .listen(self.socket)?
            .run();
        Ok(run(server))
    }

    /// Begins to answer. It ends with the handle's `stop`.
    ///
    /// # Errors
    /// If the system refuses a thread or the socket.
    pub(crate) fn serve(self, admin: Admin) -> std::io::Result<ServerHandle> {
        let (guard, admin) = (web::Data::new(self.guard), web::Data::new(admin));
        let app = move || {
            App::new()
                .app_data(guard.clone())
                .app_data(admin.clone())
                .configure(configure)
                .wrap(from_fn(body::read))
                .wrap(from_fn(guard::guard))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .max_connections(MAX_CONNECTIONS)
            .client_request_timeout(REQUEST_TIMEOUT)
            .keep_alive(KEEP_ALIVE)
            .shutdown_timeout(STOP_TIMEOUT_SECONDS)
            .listen(self.socket)?
            .run();
        Ok(run(server))
    }
}

/// Runs a server in a task of its own.
fn run(server: Server) -> ServerHandle {
    let handle = server.handle();
    actix_rt::spawn(async {
        if let Err(error) = server.await {
            tracing::error!(error = %error, "an HTTP endpoint has ended");
        }
    });
    handle
}

/// The state of the handlers.
pub(crate) struct Admin {
    pub(crate) registry: Supervised<RegistryActor>,
    pub(crate) mailbox: Mailbox,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) table: Table,
    /// Cancelled when the server begins to stop.
    pub(crate) drain: CancellationToken,
    /// Cancelled when the endpoint ends.
    pub(crate) closing: CancellationToken,
    pub(crate) since: SystemTime,
    pub(crate) streams: Arc<Semaphore>,
}

impl Admin {
    /// Asks a query of users and keys.
    async fn directory<T: Send + 'static>(
        &self,
        question: impl AsyncFnOnce(&dyn Directory) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.mailbox.ask_once(InDirectory(question)).await??)
    }
}

/// Returns the permits for all streams.
pub(crate) fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(overview::MAX_STREAMS))
}

fn configure(app: &mut web::ServiceConfig) {
    app.app_data(
        web::JsonConfig::default()
            .limit(body::MAX_BODY_OCTETS)
            .error_handler(|error, _| {
                let status = if matches!(error, JsonPayloadError::ContentType) {
                    StatusCode::UNSUPPORTED_MEDIA_TYPE
                } else {
                    error.status_code()
                };
                Problem::new(status, error.to_string()).into()
            }),
    );
    app.app_data(
        web::QueryConfig::default()
            .error_handler(|error, _| Problem::bad_request(error.to_string()).into()),
    );
    for resource in probes_and_page().into_iter().chain(sessions_and_users()) {
        app.service(resource);
    }
    app.default_service(web::to(nowhere));
}

/// Returns what is there to watch the server.
fn probes_and_page() -> Vec<Resource> {
    vec![
        resource("/", [("GET, HEAD", get().to(page::page))]),
        resource("/healthz", [("GET, HEAD", get().to(health::healthz))]),
        resource("/livez", [("GET, HEAD", get().to(health::livez))]),
        resource("/readyz", [("GET, HEAD", get().to(health::readyz))]),
        resource("/metrics", [("GET, HEAD", get().to(metrics))]),
        resource(
            "/api/openapi.json",
            [("GET, HEAD", get().to(openapi::openapi))],
        ),
        resource(
            "/api/overview",
            [("GET, HEAD", get().to(overview::overview))],
        ),
        // A HEAD would hold a stream without a reader.
        resource("/api/events", [("GET", web::get().to(overview::events))]),
    ]
}

/// Returns what is there to change the server's sessions, users and keys.
fn sessions_and_users() -> Vec<Resource> {
    vec![
        resource(
            "/api/sessions",
            [
                ("GET, HEAD", get().to(sessions::list)),
                ("DELETE", web::delete().to(sessions::end_matching)),
            ],
        ),
        resource(
            "/api/sessions/{id}",
            [
                ("GET, HEAD", get().to(sessions::one)),
                ("DELETE", web::delete().to(sessions::end)),
            ],
        ),
        resource(
            "/api/users",
            [
                ("GET, HEAD", get().to(users::list)),
                ("POST", web::post().to(users::add)),
            ],
        ),
        resource(
            "/api/users/{address}",
            [
                ("PATCH", web::patch().to(users::change)),
                ("DELETE", web::delete().to(users::remove)),
            ],
        ),
        resource(
            "/api/users/{address}/keys",
            [
                ("GET, HEAD", get().to(users::keys)),
                ("POST", web::post().to(users::make_key)),
            ],
        ),
        resource(
            "/api/keys/{id}",
            [("DELETE", web::delete().to(users::revoke_key))],
        ),
    ]
}

/// Answers HEAD wherever GET is answered.
fn get() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

/// Answers at a path, and tells which methods it has if it is asked by another.
fn resource<const N: usize>(path: &str, routes: [(&'static str, Route); N]) -> Resource {
    let allowed = routes.each_ref().map(|(methods, _)| *methods).join(", ");
    let mut resource = web::resource(path);
    for (_, route) in routes {
        resource = resource.route(route);
    }
    let others = move || {
        let allowed = allowed.clone();
        async move {
            let detail = format!("what can be done here is {allowed}");
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
            let mut response = problem.error_response();
            if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            response
        }
    };
    resource.default_service(web::to(others))
}

async fn not_yet() -> HttpResponse {
    let detail = "the server waits for its database";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).error_response()
}

async fn nowhere() -> HttpResponse {
    Problem::not_found("there is nothing here; /api/openapi.json tells what there is")
        .error_response()
}

/// Returns the metrics in the format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "metrics",
    responses((status = 200, description = "All series", body = String, content_type = "text/plain"))
)]
async fn metrics(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let text = admin.metrics.render().map_err(|error| {
        tracing::error!(error = %error, "the metrics can't be encoded");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the log says why")
    })?;
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(text))
}
