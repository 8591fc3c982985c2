//! What is counted. Labels are chosen here, never by a client.

mod deliveries;

use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use pop3::Verb;
use prometheus::{Encoder, Registry, TextEncoder};
use serde::Serialize;
use utoipa::ToSchema;

pub use deliveries::LmtpMetrics;

use crate::registry::EndReason;
use crate::store::{ClockGuard, ClockVerdict, Database};
use crate::telemetry;
use crate::tls::HandshakeFailure;

/// Where the latencies of logins and commands are cut into buckets, in seconds.
const LATENCIES: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The commands that wait for storage or for the client; the others are done as they are read.
const MEASURED: [Verb; 5] = [Verb::List, Verb::Quit, Verb::Retr, Verb::Top, Verb::Uidl];

/// The instruments of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
    sessions_active: UpDownCounter<i64>,
    commands: Counter<u64>,
    auth_attempts: Counter<u64>,
    auth_failures: Counter<u64>,
    auth_delayed: Counter<u64>,
    connections_refused: Counter<u64>,
    sessions_ended: Counter<u64>,
    handshakes_failed: Counter<u64>,
    messages_retrieved: Counter<u64>,
    messages_deleted: Counter<u64>,
    messages_expired: Counter<u64>,
    maildrops_read: Counter<u64>,
    bytes_sent: Counter<u64>,
    session_panics: Counter<u64>,
    actor_restarts: Counter<u64>,
    database_errors: Counter<u64>,
    certificate_days: Gauge<i64>,
    certificate_renewals: Counter<u64>,
    /// Mail that comes in.
    pub lmtp: LmtpMetrics,
    login_duration: Histogram<f64>,
    command_duration: Histogram<f64>,
    // What is told of the program itself; a gauge is heard of as long as it is held.
    _about: [Gauge<f64>; 2],
}

/// What has been counted since the start, for charts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Totals {
    /// Commands received.
    pub commands: u64,
    /// Logins tried.
    pub auth_attempts: u64,
    /// Logins refused.
    pub auth_failures: u64,
    /// Messages sent whole.
    pub messages_retrieved: u64,
    /// Deletions committed.
    pub messages_deleted: u64,
    /// Octets sent to clients.
    pub octets_sent: u64,
}

/// Why a login failed, as the metric's label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No such user, or not a key that opens their maildrop.
    Credentials,
    /// Too many sessions of this user.
    TooManySessions,
    /// The database, or an actor, did not answer.
    Unavailable,
}

impl AuthFailure {
    const ALL: [Self; 3] = [Self::Credentials, Self::TooManySessions, Self::Unavailable];

    /// As metrics and traces say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::TooManySessions => "too_many_sessions",
            Self::Unavailable => "unavailable",
        }
    }

    fn label(self) -> KeyValue {
        KeyValue::new("reason", self.as_str())
    }
}

/// Why a connection was refused, as the metric's label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There were as many sessions as there may be.
    InAll,
    /// There were as many of its address.
    Address,
    /// It was the oldest of too many that were not logged in.
    BeforeLogin,
    /// The header of the PROXY protocol was missing or wrong, or came from elsewhere.
    Proxy,
}

impl Refused {
    pub(crate) const ALL: [Self; 4] = [Self::InAll, Self::Address, Self::BeforeLogin, Self::Proxy];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "total",
            Self::Address => "address",
            Self::BeforeLogin => "before_login",
            Self::Proxy => "proxy",
        }
    }

    fn label(self) -> KeyValue {
        KeyValue::new("reason", self.as_str())
    }
}

impl Metrics {
    /// Registers all instruments, each at 0.
    ///
    /// # Errors
    /// If the exporter refuses a name.
    pub fn new() -> anyhow::Result<Self> {
        Self::exporting_to(None)
    }

    /// The same, and exports them by OTLP to this collector.
    ///
    /// # Errors
    /// If the exporter refuses a name, or the URL of the collector.
    pub fn exporting_to(collector: Option<&str>) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .without_units()
            .build()?;
        let mut provider = SdkMeterProvider::builder().with_reader(exporter);
        if let Some(collector) = collector {
            let reader = telemetry::metrics(collector)?;
            provider = provider
                .with_reader(reader)
                .with_resource(telemetry::resource());
        }
        let provider = provider.build();
        let meter = provider.meter("restante");
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let seconds = |name: &'static str, what: &'static str| {
            let histogram = meter.f64_histogram(name).with_description(what);
            histogram.with_boundaries(LATENCIES.to_vec()).build()
        };
        let metrics = Self {
            login_duration: seconds(
                "pop3.login.duration.seconds",
                "How long it took to let a user in, or to refuse",
            ),
            command_duration: seconds(
                "pop3.command.duration.seconds",
                "How long commands took that wait for storage or for the client, by command",
            ),
            _about: about(&meter),
            sessions_active: meter
                .i64_up_down_counter("pop3.sessions.active")
                .with_description("Sessions that are connected")
                .build(),
            commands: counter("pop3.commands", "Commands received, by command"),
            auth_attempts: counter("pop3.auth.attempts", "Logins tried"),
            auth_failures: counter("pop3.auth.failures", "Logins refused, by reason"),
            auth_delayed: counter(
                "pop3.auth.delayed",
                "Logins that wrong keys from the same address kept waiting",
            ),
            connections_refused: counter(
                "pop3.connections.refused",
                "Connections refused, by reason",
            ),
            sessions_ended: counter("pop3.sessions.ended", "Sessions that ended, by how"),
            handshakes_failed: counter(
                "pop3.tls.handshakes.failed",
                "TLS handshakes that failed, by why",
            ),
            messages_retrieved: counter("pop3.messages.retrieved", "Messages sent whole by RETR"),
            messages_deleted: counter("pop3.messages.deleted", "Deletions committed by QUIT"),
            messages_expired: counter(
                "pop3.messages.expired",
                "Messages removed because they had been here for too long",
            ),
            maildrops_read: counter(
                "pop3.maildrops.read",
                "Maildrops read from the database at login, since they were not in memory",
            ),
            bytes_sent: counter("pop3.bytes.sent", "Octets sent to clients"),
            session_panics: counter(
                "pop3.session.panics",
                "Sessions ended by a fault of the program",
            ),
            actor_restarts: counter(
                "restante.actor.restarts",
                "Actors built again after they ended, by actor",
            ),
            database_errors: counter(
                "restante.database.errors",
                "Times that the database did not do what it was asked",
            ),
            certificate_days: meter
                .i64_gauge("pop3.certificate.days")
                .with_description("Days until the first certificate expires, negative after it")
                .build(),
            certificate_renewals: counter(
                "pop3.certificate.renewals",
                "Times that certificates were read again, by what came of it",
            ),
            lmtp: LmtpMetrics::new(&meter),
            registry,
            provider,
            meter,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Alerts need a series before its first event.
    fn begin_at_zero(&self) {
        self.sessions_active.add(0, &[]);
        for verb in Verb::ALL {
            self.commands.add(0, &[command_label(verb)]);
        }
        for reason in AuthFailure::ALL {
            self.auth_failures.add(0, &[reason.label()]);
        }
        for outcome in [true, false] {
            self.certificate_renewals.add(0, &[outcome_label(outcome)]);
        }
        for reason in Refused::ALL {
            self.connections_refused.add(0, &[reason.label()]);
        }
        for ending in EndReason::ALL {
            self.sessions_ended.add(0, &[ending_label(ending)]);
        }
        for failure in HandshakeFailure::ALL {
            self.handshakes_failed.add(0, &[failure_label(failure)]);
        }
        for counter in [
            &self.auth_attempts,
            &self.auth_delayed,
            &self.messages_retrieved,
            &self.messages_deleted,
            &self.messages_expired,
            &self.maildrops_read,
            &self.bytes_sent,
            &self.session_panics,
            &self.database_errors,
        ] {
            counter.add(0, &[]);
        }
    }

    pub(crate) fn session_began(&self) {
        self.sessions_active.add(1, &[]);
    }

    pub(crate) fn session_ended(&self) {
        self.sessions_active.add(-1, &[]);
    }

    pub(crate) fn session_ended_by(&self, ending: EndReason) {
        self.sessions_ended.add(1, &[ending_label(ending)]);
    }

    pub(crate) fn handshake_failed(&self, failure: HandshakeFailure) {
        self.handshakes_failed.add(1, &[failure_label(failure)]);
    }

    pub(crate) fn session_panicked(&self) {
        self.session_panics.add(1, &[]);
    }

    pub(crate) fn command(&self, verb: Verb) {
        self.commands.add(1, &[command_label(verb)]);
    }

    pub(crate) fn auth_attempt(&self) {
        self.auth_attempts.add(1, &[]);
    }

    pub(crate) fn auth_failure(&self, reason: AuthFailure) {
        self.auth_failures.add(1, &[reason.label()]);
    }

    pub(crate) fn auth_delayed(&self) {
        self.auth_delayed.add(1, &[]);
    }

    pub(crate) fn connection_refused(&self, reason: Refused) {
        self.connections_refused.add(1, &[reason.label()]);
    }

    pub(crate) fn message_retrieved(&self) {
        self.messages_retrieved.add(1, &[]);
    }

    pub(crate) fn messages_deleted(&self, count: usize) {
        self.messages_deleted.add(count as u64, &[]);
    }

    /// Messages were removed because they had been here for too long.
    pub fn messages_expired(&self, count: u64) {
        self.messages_expired.add(count, &[]);
    }

    pub(crate) fn maildrop_read(&self) {
        self.maildrops_read.add(1, &[]);
    }

    pub(crate) fn octets_sent(&self, octets: u64) {
        self.bytes_sent.add(octets, &[]);
    }

    pub(crate) fn login_took(&self, duration: Duration) {
        self.login_duration.record(duration.as_secs_f64(), &[]);
    }

    pub(crate) fn command_took(&self, verb: Verb, duration: Duration) {
        debug_assert!(MEASURED.contains(&verb), "{verb:?} is not measured");
        let command = command_label(verb);
        self.command_duration
            .record(duration.as_secs_f64(), &[command]);
    }

    pub(crate) fn database_error(&self) {
        self.database_errors.add(1, &[]);
    }

    pub(crate) fn actor_restarted(&self, actor: &'static str) {
        self.actor_restarts.add(1, &[KeyValue::new("actor", actor)]);
    }

    /// There is no series of this name until there is a certificate.
    pub(crate) fn certificate_days(&self, days: i64) {
        self.certificate_days.record(days, &[]);
    }

    pub(crate) fn certificates_renewed(&self, taken: bool) {
        self.certificate_renewals.add(1, &[outcome_label(taken)]);
    }

    /// Exports what was counted since the last time; it blocks its thread.
    pub fn flush(&self) {
        // The collector may be down, and nothing could be done about it now.
        let _ = self.provider.force_flush();
    }

    /// From now on tells how the connections to the database are used, each time it is asked.
    pub(crate) fn watch_pools(&self, database: &Database) {
        let pool = |pool| KeyValue::new("pool", pool);
        let pools = database.clone();
        self.meter
            .u64_observable_gauge("restante.database.connections")
            .with_description("Connections to the database, by pool and whether they are in use")
            .with_callback(move |observer| {
                for it in pools.pool_use() {
                    for (state, connections) in [("used", it.used), ("idle", it.idle)] {
                        let state = KeyValue::new("state", state);
                        observer.observe(connections, &[pool(it.pool), state]);
                    }
                }
            })
            .build();
        let pools = database.clone();
        self.meter
            .u64_observable_gauge("restante.database.waiting")
            .with_description("How many wait for a connection to the database, by pool")
            .with_callback(move |observer| {
                for it in pools.pool_use() {
                    observer.observe(it.waiting, &[pool(it.pool)]);
                }
            })
            .build();
        let pools = database.clone();
        self.meter
            .f64_observable_counter("restante.database.wait.seconds")
            .with_description("How long all have waited for a connection to the database, by pool")
            .with_callback(move |observer| {
                for it in pools.pool_use() {
                    observer.observe(it.waited.as_secs_f64(), &[pool(it.pool)]);
                }
            })
            .build();
    }

    /// From now on tells whether the clock by which mail expires is believed.
    pub(crate) fn watch_clock(&self, guard: &ClockGuard) {
        let guard = guard.clone();
        self.meter
            .u64_observable_gauge("restante.clock.right")
            .with_description("1 while the clock of the database is believed, 0 after it jumped")
            .with_callback(move |observer| {
                let is_right = guard.verdict() == ClockVerdict::Right;
                observer.observe(u64::from(is_right), &[]);
            })
            .build();
    }

    /// From now on tells how the database and its disk are, each time it is asked.
    pub(crate) fn watch_disk(&self, database: &Database) {
        type Measure = fn(&Database) -> Option<u64>;
        let gauges: [(&'static str, &'static str, Measure); 4] = [
            (
                "restante.database.disk.free.bytes",
                "Octets that are free on the disk of SQLite's file",
                |database| Some(database.disk()?.free),
            ),
            (
                "restante.database.disk.needed.bytes",
                "Octets that must be free there for mail to be taken in",
                |database| Some(database.disk()?.min_free),
            ),
            (
                "restante.database.wal.bytes",
                "Octets of the file of SQLite's write-ahead log",
                Database::log_octets,
            ),
            (
                "restante.database.damaged",
                "1 if anything was found since the start that the database can't have written",
                |database| Some(u64::from(database.is_damaged())),
            ),
        ];
        for (name, what, measure) in gauges {
            let database = database.clone();
            let gauge = self.meter.u64_observable_gauge(name).with_description(what);
            let observe = gauge.with_callback(move |observer| {
                if let Some(octets) = measure(&database) {
                    observer.observe(octets, &[]);
                }
            });
            observe.build();
        }
    }

    /// From now on tells how many lines of the log were dropped, each time it is asked.
    pub(crate) fn watch_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        let counter = self
            .meter
            .u64_observable_counter("restante.log.lines.dropped")
            .with_description("Lines of the log that were dropped because nobody read stderr");
        let observe = counter.with_callback(move |observer| observer.observe(dropped(), &[]));
        observe.build();
    }

    /// What has been counted since the start.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for family in self.registry.gather() {
            let total = match family.name() {
                "pop3_commands_total" => &mut totals.commands,
                "pop3_auth_attempts_total" => &mut totals.auth_attempts,
                "pop3_auth_failures_total" => &mut totals.auth_failures,
                "pop3_messages_retrieved_total" => &mut totals.messages_retrieved,
                "pop3_messages_deleted_total" => &mut totals.messages_deleted,
                "pop3_bytes_sent_total" => &mut totals.octets_sent,
                _ => continue,
            };
            let series = family.get_metric().iter();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "Prometheus' counters are floats, and these count whole things upwards"
            )]
            let sum = series.map(|one| one.get_counter().get_value() as u64).sum();
            *total = sum;
        }
        totals
    }

    /// All series in the text form that Prometheus reads.
    ///
    /// # Errors
    /// If a series can't be written, which would be a fault of the exporter.
    pub fn render(&self) -> anyhow::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8(text)?)
    }
}

/// Which version this is, and since when it runs.
fn about(meter: &Meter) -> [Gauge<f64>; 2] {
    let gauge = |name: &'static str, what: &'static str| {
        meter.f64_gauge(name).with_description(what).build()
    };
    let build = gauge("restante.build.info", "1, with the version as its label");
    build.record(1.0, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    let started = gauge(
        "restante.start.time.seconds",
        "When this server started, in seconds since 1970",
    );
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    started.record(since.unwrap_or_default().as_secs_f64(), &[]);
    [build, started]
}

fn command_label(verb: Verb) -> KeyValue {
    KeyValue::new("command", verb.as_str())
}

fn ending_label(ending: EndReason) -> KeyValue {
    KeyValue::new("ending", ending.label())
}

fn failure_label(failure: HandshakeFailure) -> KeyValue {
    KeyValue::new("cause", failure.as_str())
}

fn outcome_label(taken: bool) -> KeyValue {
    KeyValue::new("outcome", if taken { "taken" } else { "refused" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_before_its_first_event() {
        let metrics = Metrics::new().unwrap();
        let text = metrics.render().unwrap();
        for line in [
            "pop3_sessions_active 0",
            "pop3_commands_total{command=\"RETR\"} 0",
            "pop3_commands_total{command=\"UNKNOWN\"} 0",
            "pop3_auth_attempts_total 0",
            "pop3_auth_failures_total{reason=\"credentials\"} 0",
            "pop3_auth_delayed_total 0",
            "pop3_connections_refused_total{reason=\"total\"} 0",
            "pop3_connections_refused_total{reason=\"proxy\"} 0",
            "pop3_messages_retrieved_total 0",
            "pop3_messages_deleted_total 0",
            "pop3_messages_expired_total 0",
            "pop3_maildrops_read_total 0",
            "pop3_bytes_sent_total 0",
            "pop3_session_panics_total 0",
            "pop3_tls_handshakes_failed_total{cause=\"no_shared_cipher\"} 0",
            "pop3_tls_handshakes_failed_total{cause=\"other\"} 0",
            "restante_database_errors_total 0",
            "lmtp_sessions_active 0",
            "lmtp_connections_refused_total 0",
            "lmtp_bytes_received_total 0",
            "lmtp_deliveries_total{result=\"stored\"} 0",
            "lmtp_deliveries_total{result=\"over_quota\"} 0",
            "pop3_certificate_renewals_total{outcome=\"refused\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn counters_count() {
        let metrics = Metrics::new().unwrap();
        metrics.command(Verb::Retr);
        metrics.octets_sent(10);
        metrics.octets_sent(32);
        metrics.session_began();
        metrics.actor_restarted("mailbox");
        metrics.certificate_days(-3);
        let text = metrics.render().unwrap();
        for line in [
            "pop3_commands_total{command=\"RETR\"} 1",
            "pop3_bytes_sent_total 42",
            "pop3_sessions_active 1",
            "pop3_certificate_days -3",
            "restante_actor_restarts_total{actor=\"mailbox\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
