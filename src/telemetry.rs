//! Traces and metrics for a collector of OpenTelemetry, by OTLP over HTTP or gRPC.
//!
//! Threads of their own export them. What does not fit into their queue, or what the collector
//! does not take in time, is dropped: no session ever waits for it.

mod collector;
mod grpc;

use std::time::Duration;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanLimits,
};
use pop3::Verb;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use collector::Collector;
use collector::Signal;

/// The target of spans that are exported and never logged. It is disabled unless there is a
/// collector, and then a span costs one lookup.
pub(crate) const TRACES_ONLY: &str = "restante::traces";

/// The target of the span of a session, which the log has too.
pub(crate) const SESSIONS: &str = "restante::session";

/// Maximum number of spans that wait to be exported, each about 500 octets.
const QUEUED_SPANS: usize = 8192;

/// Maximum number of attributes, events and links of a span; ours have fewer.
const ATTRIBUTES: u32 = 16;

/// Timeout of the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which metrics are exported.
const METRICS_INTERVAL: Duration = Duration::from_secs(30);

/// The exporter of traces.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Exports to the collector at this URL.
    ///
    /// # Errors
    /// If it is no URL.
    pub(crate) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let collector = Collector::new(endpoint)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(collector.client())
            .with_endpoint(collector.url(Signal::Traces))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .context("Otel__Endpoint can't be used")?;
        let queue = BatchConfigBuilder::default().with_max_queue_size(QUEUED_SPANS);
        let batches = BatchSpanProcessor::builder(exporter)
            .with_batch_config(queue.build())
            .build();
        let limits = SpanLimits {
            max_attributes_per_span: ATTRIBUTES,
            max_events_per_span: 0,
            max_links_per_span: 0,
            ..SpanLimits::default()
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_limits(limits)
            .with_span_processor(batches)
            .build();
        Ok(Self(provider))
    }

    /// Returns the layer that exports spans.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = filter_fn(is_exported).with_max_level_hint(LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("restante"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    }

    /// Exports the rest, for no longer than this.
    ///
    /// It blocks its thread.
    pub(crate) fn finish(self, timeout: Duration) {
        // The collector may be down, and the process ends.
        let _ = self.0.shutdown_with_timeout(timeout);
    }
}

/// Exports only spans: an event is for readers of the log, not for a collector.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && [TRACES_ONLY, SESSIONS].contains(&metadata.target())
}

/// Returns the reader that exports metrics to the collector at this URL.
///
/// # Errors
/// If it is no URL.
pub(crate) fn metrics(endpoint: &str) -> anyhow::Result<PeriodicReader<MetricExporter>> {
    let collector = Collector::new(endpoint)?;
    let exporter = MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(collector.client())
        .with_endpoint(collector.url(Signal::Metrics))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("Otel__Endpoint can't be used")?;
    let reader = PeriodicReader::builder(exporter).with_interval(METRICS_INTERVAL);
    Ok(reader.build())
}

/// Returns the resource that exports.
pub(crate) fn resource() -> Resource {
    Resource::builder()
        .with_service_name("restante")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Returns the span of a command, without the client's line.
pub(crate) fn command(verb: Verb) -> Span {
    let name = || format!("pop3.command.{}", verb.as_str().to_ascii_lowercase());
    tracing::info_span!(target: TRACES_ONLY, "pop3.command", otel.name = name())
}

/// Returns the span of a login; [`note_refusal`] notes why it failed.
pub(crate) fn validation() -> Span {
    tracing::info_span!(
        target: TRACES_ONLY,
        "pop3.auth.validate",
        reason = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    )
}

/// Ends the span of a login with the reason of the refusal; the delay that follows is no part of
/// it.
pub(crate) fn note_refusal(validation: Span, reason: &'static str) {
    validation.record("reason", reason);
    validation.record("otel.status_code", "ERROR");
}

/// Returns the span of reading a maildrop from the database.
pub(crate) fn loading() -> Span {
    tracing::info_span!(target: TRACES_ONLY, "pop3.messages.load")
}
