//! The health of the server, in the format of ASP.NET's health checks, which monitors know.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::Admin;
use super::problem::Problem;
use crate::mailbox::{CheckStore, Mailbox, StoreCondition};
use crate::net::{ListenAddress, ListenerKind, SelfTests};
use crate::store::{ClockVerdict, Condition, shown_days};
use crate::tls::{CertificateReport, Tls, WARN_BEFORE};

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer is reused, so that asking costs little.
const FRESH: Duration = Duration::from_secs(1);

/// The health of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(super) enum Status {
    /// It works.
    Healthy,
    /// It works, and needs the operator's attention.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// The results of all checks.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The status of the worst check.
    status: Status,
    /// How long all of them took, in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = f64)]
    total_duration: Duration,
    /// The checks.
    checks: Vec<Check>,
}

/// The result of a check.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Check {
    /// The part that was checked: `pop3`, `pop3s`, `lmtp`, `database`, `certificate`; and `clock`, if it is
    /// not trusted.
    name: &'static str,
    /// Its status.
    status: Status,
    /// How long it took, in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = f64)]
    duration: Duration,
    /// The status in words.
    description: Option<String>,
    /// The error, if the check failed with one.
    exception: Option<String>,
    /// None: no check is in a group.
    #[schema(value_type = Vec<String>)]
    tags: [String; 0],
    /// Nothing more: the caller needs no token.
    #[schema(value_type = Object)]
    data: serde_json::Map<String, Json>,
}

impl Report {
    /// Returns the report of a server that waits for its database.
    pub(super) fn of_waiting() -> Self {
        let waits = "the server waits for its database".to_owned();
        let described = (Status::Unhealthy, waits);
        Self {
            status: Status::Unhealthy,
            total_duration: Duration::ZERO,
            checks: vec![Check::new("database", Duration::ZERO, described)],
        }
    }
}

impl Check {
    fn new(
        name: &'static str,
        duration: Duration,
        (status, description): (Status, String),
    ) -> Self {
        Self {
            name,
            status,
            duration,
            description: Some(description),
            exception: None,
            tags: [],
            data: serde_json::Map::new(),
        }
    }
}

/// Checks the server, and reuses the results for a moment.
#[derive(Debug)]
pub(crate) struct Health {
    listeners: Vec<(ListenAddress, ListenerKind)>,
    tests: SelfTests,
    mailbox: Mailbox,
    tls: Option<Arc<Tls>>,
    last: Mutex<Option<(Instant, Report)>>,
}

impl Health {
    /// Of a server that listens here, and has this database and these certificates.
    pub(crate) fn new(
        listeners: Vec<(ListenAddress, ListenerKind)>,
        tests: SelfTests,
        mailbox: Mailbox,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self {
            listeners,
            tests,
            mailbox,
            tls,
            last: Mutex::default(),
        }
    }

    /// Returns the results of all checks, at most so old.
    pub(super) async fn report(&self, fresh: Duration) -> Report {
        // Requests that come during the checks wait for the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < fresh
        {
            return report.clone();
        }
        let report = self.check().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    /// Returns the response to a health check.
    pub(super) async fn answer(&self) -> HttpResponse {
        response(self.report(FRESH).await)
    }

    async fn check(&self) -> Report {
        let began = Instant::now();
        let listeners = self.listeners.iter().map(|(address, kind)| async move {
            let test = self.tests.run(address, *kind);
            check(kind.as_str(), format!("{address} greets"), test).await
        });
        let database = self.check_database();
        let (mut checks, database) = tokio::join!(join_all(listeners), database);
        checks.extend(database);
        if let Some(tls) = &self.tls {
            checks.push(check_certificates(&tls.certificates(), SystemTime::now()));
        }
        let worst = checks.iter().map(|check| check.status).max();
        Report {
            status: worst.unwrap_or(Status::Healthy),
            total_duration: began.elapsed(),
            checks,
        }
    }

    /// Checks the database, and the clock by which its mail expires.
    async fn check_database(&self) -> Vec<Check> {
        let mut condition = None;
        let answers = check("database", "it answers".to_owned(), async {
            let answer = self.ask_store().await;
            condition = Some(answer.map_err(|error| {
                tracing::warn!(error, "the database does not answer the health check");
                "it does not answer as it should; the log says why".to_owned()
            })?);
            Ok(())
        });
        let mut database = answers.await;
        let Some(condition) = condition else {
            return vec![database];
        };
        if let Some((status, concern)) = concern(condition) {
            database.status = status;
            database.description = Some(concern.to_owned());
        }
        let clock = check_clock(condition.clock);
        std::iter::once(database).chain(clock).collect()
    }

    /// Returns the condition of the store if it answers; no answer is an error.
    async fn ask_store(&self) -> Result<Condition, String> {
        let answers = self.mailbox.ask(CheckStore).await;
        let answers = answers.map_err(|error| error.to_string())?;
        answers.map_err(|error| error.to_string())?;
        let condition = self.mailbox.ask(StoreCondition).await;
        condition.map_err(|error| error.to_string())
    }

    async fn database_answers(&self) -> bool {
        let ping = tokio::time::timeout(CHECK_TIMEOUT, self.mailbox.ask(CheckStore)).await;
        matches!(ping, Ok(Ok(Ok(()))))
    }
}

/// Returns what the operator should fix although the database answers. The caller needs no token, so the
/// numbers are in the metrics.
fn concern(condition: Condition) -> Option<(Status, &'static str)> {
    if condition.is_full {
        let full = "its disk is full: no mail is accepted, and deletions may fail";
        return Some((Status::Unhealthy, full));
    }
    if condition.is_low {
        let low = "there is too little room on its disk: no mail is accepted";
        return Some((Status::Degraded, low));
    }
    let damaged = "it is damaged in places; the log says which";
    condition.is_damaged.then_some((Status::Degraded, damaged))
}

async fn check(
    name: &'static str,
    good: String,
    test: impl Future<Output = Result<(), String>>,
) -> Check {
    let began = Instant::now();
    let tested = tokio::time::timeout(CHECK_TIMEOUT, test).await;
    let late = || Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs()));
    let result = tested.unwrap_or_else(|_| late());
    let exception = result.as_ref().err().cloned();
    let described = match result {
        Ok(()) => (Status::Healthy, good),
        Err(bad) => (Status::Unhealthy, bad),
    };
    Check {
        exception,
        ..Check::new(name, began.elapsed(), described)
    }
}

/// Returns what is wrong with the clock by which mail expires.
fn check_clock(verdict: ClockVerdict) -> Option<Check> {
    let why = match verdict {
        ClockVerdict::Right => return None,
        ClockVerdict::Jumped(by_ms) => {
            let by = shown_days(by_ms);
            format!("it has jumped by {by}: nothing expires")
        }
        ClockVerdict::Unexplained(gap_ms) => {
            let gap = shown_days(gap_ms);
            format!("it has come {gap} since it was last looked at: nothing expires for a day")
        }
    };
    let described = (Status::Degraded, why);
    Some(Check::new("clock", Duration::ZERO, described))
}

/// Returns how long the certificates are valid: the time of the first that ends.
fn check_certificates(certificates: &[CertificateReport], now: SystemTime) -> Check {
    let began = Instant::now();
    let first = certificates.iter().min_by_key(|it| it.not_after);
    let described = match first {
        None => (Status::Unhealthy, "there is none".to_owned()),
        // A caller needs no token, and is not told where files are; `restante check` tells it.
        Some(first) => match first.not_after.duration_since(now) {
            Err(_) => (Status::Unhealthy, "the certificate has expired".to_owned()),
            Ok(left) => {
                let days = left.as_secs() / (24 * 60 * 60);
                let status = if left < WARN_BEFORE {
                    Status::Degraded
                } else {
                    Status::Healthy
                };
                (status, format!("the certificate is good for {days} days"))
            }
        },
    };
    Check::new("certificate", began.elapsed(), described)
}

/// Checks the server as a client, and its database.
#[utoipa::path(
    get, path = "/healthz", tag = "probes", security(()),
    responses(
        (status = 200, description = "Healthy, or degraded", body = Report),
        (status = 503, description = "Unhealthy", body = Report),
    )
)]
pub(super) async fn healthz(admin: web::Data<Admin>) -> HttpResponse {
    admin.health.answer().await
}

/// Returns the response that tells this report.
pub(super) fn response(report: Report) -> HttpResponse {
    let status = match report.status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    HttpResponse::build(status).json(report)
}

/// Answers while the process lives.
#[utoipa::path(
    get, path = "/livez", tag = "probes", security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain")
        .body("alive\n")
}

/// Answers whether new sessions are accepted and the database answers.
#[utoipa::path(
    get, path = "/readyz", tag = "probes", security(()),
    responses(
        (status = 200, description = "They are, and it does", body = String, content_type = "text/plain"),
        (status = 503, description = "The server stops, or the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn readyz(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    let unready = |why: &str| Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    if admin.drain.is_cancelled() {
        return unready("the server stops");
    }
    if !admin.health.database_answers().await {
        return unready("the database does not answer");
    }
    Ok(HttpResponse::Ok()
        .content_type("text/plain")
        .body("ready\n"))
}

/// Writes a duration as a number of milliseconds, as the service that monitors know wrote it.
fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests;
