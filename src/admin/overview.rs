//! The data of the page, once or as a stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa::ToSchema;

use super::Admin;
use super::health::Report;
use super::problem::Problem;
use super::sessions::{Sessions, Shown};
use crate::metrics::Totals;
use crate::net::ProtocolName;
use crate::networks::client_network;
use crate::registry::{SessionHandle, State, Table};

/// The time between two events of a stream.
const EVERY: Duration = Duration::from_secs(1);

/// The longest age of the health in an overview.
const HEALTH_KEPT: Duration = Duration::from_secs(10);

/// The most streams. An operator needs one.
pub(super) const MAX_STREAMS: usize = 16;

/// The number of sessions in an overview by default.
const ROWS: u32 = 50;

/// The most sessions in an overview.
const MAX_ROWS: u32 = 500;

/// The state of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Overview {
    /// The version of the program.
    version: &'static str,
    /// Seconds since the start.
    uptime_seconds: u64,
    /// True if it is stopping, and takes no new sessions.
    stopping: bool,
    /// The totals since the start.
    totals: Totals,
    /// The limits on sessions.
    limits: Vec<Limit>,
    /// The health of the server.
    health: Report,
    /// Live sessions.
    sessions: Sessions,
}

/// A limit and how much of it is used.
#[derive(Debug, Serialize, ToSchema)]
struct Limit {
    /// The setting.
    setting: &'static str,
    /// The sessions in use; for limits per user or address, the most of one.
    used: u32,
    /// The limit; `null` if there is none.
    limit: Option<u32>,
}

/// Returns all that the page shows.
#[utoipa::path(
    get, path = "/api/overview", tag = "overview", params(Shown),
    responses(
        (status = 200, description = "The server at this moment, with 50 sessions unless `limit` says how many", body = Overview),
        (status = 400, description = "A filter makes no sense", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn overview(
    admin: web::Data<Admin>,
    shown: web::Query<Shown>,
) -> Result<web::Json<Overview>, Problem> {
    admin.overview(shown.into_inner()).await.map(web::Json)
}

/// Returns all that the page shows each second, as server-sent events.
#[utoipa::path(
    get, path = "/api/events", tag = "overview", params(Shown),
    responses(
        (status = 200, description = "Events, whose data is what /api/overview tells", body = String, content_type = "text/event-stream"),
        (status = 400, description = "A filter makes no sense", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "There are too many streams already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    admin: web::Data<Admin>,
    shown: web::Query<Shown>,
) -> Result<HttpResponse, Problem> {
    let permit = Arc::clone(&admin.streams).try_acquire_owned();
    let permit = permit.map_err(|_| {
        let detail = format!("there are {MAX_STREAMS} streams already: close another page");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let shown = shown.into_inner();
    // A bad query is refused here, rather than in the stream.
    admin.overview(shown.clone()).await?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = Events {
        admin: admin.into_inner(),
        shown,
        ticks,
        _permit: permit,
    };
    // It is asked for the next event only when the client has taken the last one.
    let events = stream::unfold(events, |mut events| async {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(Box::pin(events)))
}

/// A client that reads a stream of events.
struct Events {
    admin: Arc<Admin>,
    shown: Shown,
    ticks: Interval,
    _permit: OwnedSemaphorePermit,
}

impl Events {
    /// Returns the next event; `None` when the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        let closing = &self.admin.closing;
        closing.run_until_cancelled(self.ticks.tick()).await?;
        let overview = self.admin.overview(self.shown.clone()).await.ok()?;
        let data = serde_json::to_string(&overview).ok()?;
        Some(Bytes::from(format!("data: {data}\n\n")))
    }
}

impl Admin {
    async fn overview(&self, mut shown: Shown) -> Result<Overview, Problem> {
        shown.limit = Some(shown.limit.unwrap_or(ROWS).min(MAX_ROWS));
        let all = self.sessions().await?;
        let uptime = SystemTime::now().duration_since(self.since);
        Ok(Overview {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: uptime.unwrap_or_default().as_secs(),
            stopping: self.drain.is_cancelled(),
            totals: self.metrics.totals(),
            limits: limits(&self.table, &all),
            sessions: shown.pick(&all, &self.mailbox).await?,
            health: self.health.report(HEALTH_KEPT).await,
        })
    }
}

fn limits(table: &Table, all: &[Arc<SessionHandle>]) -> Vec<Limit> {
    let limits = table.limits();
    let is_pop3 = |it: &&Arc<SessionHandle>| it.listener().protocol() == ProtocolName::Pop3;
    let pop3: Vec<_> = all.iter().filter(is_pop3).collect();
    let mut of_user = HashMap::<_, u32>::new();
    let mut of_address = HashMap::<_, u32>::new();
    let mut before_login = 0;
    for handle in &pop3 {
        match handle.logged_in() {
            Some((user, _)) => *of_user.entry(user).or_default() += 1,
            None => before_login += u32::from(handle.state() == State::Authorization),
        }
        // Unless it is set, the limit does not apply to this machine.
        if limits.loopback_counts || !handle.ip().is_loopback() {
            *of_address.entry(client_network(handle.ip())).or_default() += 1;
        }
    }
    let limit = |setting, used, limit: u32| Limit {
        setting,
        used,
        limit: (limit > 0).then_some(limit),
    };
    let most = |counts: Option<u32>| counts.unwrap_or(0);
    let count = |sessions: usize| u32::try_from(sessions).unwrap_or(u32::MAX);
    let lmtp = count(all.len() - pop3.len());
    vec![
        limit("MaxConnections", count(pop3.len()), limits.in_all),
        limit("Lmtp__MaxConnections", lmtp, table.max_lmtp()),
        limit(
            "MaxConnectionsBeforeLogin",
            before_login,
            limits.before_login,
        ),
        limit(
            "MaxConnectionsPerUser",
            most(of_user.into_values().max()),
            limits.per_user,
        ),
        limit(
            "MaxConnectionsPerAddress",
            most(of_address.into_values().max()),
            limits.per_address,
        ),
    ]
}
