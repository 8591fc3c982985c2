//! Counters, gauges and histograms. Their labels are fixed here and never come from a client.

mod deliveries;
mod labels;
mod logins;
mod observables;
mod tls;
mod totals;

use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use pop3::Verb;
use prometheus::{Encoder, Registry, TextEncoder};

pub use deliveries::LmtpMetrics;
pub use labels::{AuthFailure, Refused};
pub(crate) use logins::LoginMetrics;
pub(crate) use observables::{Observables, PoolSample};
pub(crate) use tls::TlsMetrics;
pub use totals::Totals;

use crate::net::ProtocolName;
use crate::registry::EndReason;
use crate::telemetry;
use labels::{command_label, ending_label};

/// The buckets of the latencies of logins and commands, in seconds.
const LATENCIES: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The commands that wait for the database or the client; the others take no time.
const MEASURED: [Verb; 5] = [Verb::List, Verb::Quit, Verb::Retr, Verb::Top, Verb::Uidl];

/// The instruments of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    observables: Observables,
    sessions_active: UpDownCounter<i64>,
    commands: Counter<u64>,
    connections_refused: Counter<u64>,
    sessions_ended: Counter<u64>,
    messages_retrieved: Counter<u64>,
    messages_deleted: Counter<u64>,
    messages_expired: Counter<u64>,
    maildrops_read: Counter<u64>,
    bytes_sent: Counter<u64>,
    session_panics: Counter<u64>,
    actor_restarts: Counter<u64>,
    database_errors: Counter<u64>,
    /// The series of logins.
    pub(crate) logins: LoginMetrics,
    /// The series of TLS.
    pub(crate) tls: TlsMetrics,
    /// The series of LMTP.
    pub lmtp: LmtpMetrics,
    command_duration: Histogram<f64>,
    // The version and start of the program; a gauge is exported as long as it is held.
    _about: [Gauge<f64>; 2],
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
        Ok(Self::with(registry, provider.build()))
    }

    fn with(registry: Registry, provider: SdkMeterProvider) -> Self {
        let meter = provider.meter("restante");
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let metrics = Self {
            command_duration: latency(
                &meter,
                "pop3.command.duration.seconds",
                "How long commands took that wait for storage or for the client, by command",
            ),
            _about: about(&meter),
            sessions_active: meter
                .i64_up_down_counter("pop3.sessions.active")
                .with_description("Sessions that are connected")
                .build(),
            commands: counter("pop3.commands", "Commands received, by command"),
            connections_refused: counter(
                "pop3.connections.refused",
                "Connections refused, by reason",
            ),
            sessions_ended: counter("pop3.sessions.ended", "Sessions that ended, by how"),
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
            logins: LoginMetrics::new(&meter),
            tls: TlsMetrics::new(&meter),
            lmtp: LmtpMetrics::new(&meter),
            registry,
            provider,
            observables: Observables::new(meter),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// Adds 0 to each series, since alerts need it before its first event.
    fn begin_at_zero(&self) {
        self.sessions_active.add(0, &[]);
        for verb in Verb::ALL {
            self.commands.add(0, &[command_label(verb)]);
        }
        for reason in Refused::ALL {
            self.connections_refused.add(0, &[reason.label()]);
        }
        for ending in EndReason::ALL {
            self.sessions_ended.add(0, &[ending_label(ending)]);
        }
        for counter in [
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

    pub(crate) fn session_began(&self, protocol: ProtocolName) {
        match protocol {
            ProtocolName::Pop3 => self.sessions_active.add(1, &[]),
            ProtocolName::Lmtp => self.lmtp.session_began(),
        }
    }

    pub(crate) fn session_ended(&self, protocol: ProtocolName) {
        match protocol {
            ProtocolName::Pop3 => self.sessions_active.add(-1, &[]),
            ProtocolName::Lmtp => self.lmtp.session_ended(),
        }
    }

    pub(crate) fn session_ended_by(&self, protocol: ProtocolName, ending: EndReason) {
        match protocol {
            ProtocolName::Pop3 => self.sessions_ended.add(1, &[ending_label(ending)]),
            ProtocolName::Lmtp => self.lmtp.session_ended_by(ending),
        }
    }

    pub(crate) fn session_panicked(&self) {
        self.session_panics.add(1, &[]);
    }

    pub(crate) fn command(&self, verb: Verb) {
        self.commands.add(1, &[command_label(verb)]);
    }

    pub(crate) fn connection_refused(&self, protocol: ProtocolName, reason: Refused) {
        match protocol {
            ProtocolName::Pop3 => self.connections_refused.add(1, &[reason.label()]),
            ProtocolName::Lmtp => self.lmtp.refused(),
        }
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

    /// Exports what was counted since the last time; it blocks its thread.
    pub fn flush(&self) {
        // The collector may be down, and nothing could be done about it now.
        let _ = self.provider.force_flush();
    }

    /// The totals since the start.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.registry)
    }

    /// The series that are read each time they are exported.
    pub(crate) fn observables(&self) -> &Observables {
        &self.observables
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

/// A histogram of latencies.
fn latency(meter: &Meter, name: &'static str, what: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_description(what);
    histogram.with_boundaries(LATENCIES.to_vec()).build()
}

/// The version and the start of the program.
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

#[cfg(test)]
mod tests;
