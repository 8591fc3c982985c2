//! Traces and metrics for a collector of OpenTelemetry, by OTLP over HTTP.
//!
//! Threads of their own export them. What does not fit into their queue, or what the collector
//! does not take in time, is dropped: no session ever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
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

/// The target of spans that are exported and never logged. It is disabled unless there is a
/// collector, and then a span costs no more than to look that up.
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

/// Maximum size of an answer of a collector, in octets.
const ANSWER_OCTETS: u64 = 64 * 1024;

/// The exporter of traces.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Exports to the collector at this URL.
    ///
    /// # Errors
    /// If it is no URL.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client::new())
            .with_endpoint(signal_url(endpoint, "traces")?)
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
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
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

    /// Exports what is left, for no longer than this.
    ///
    /// It blocks its thread.
    pub fn finish(self, timeout: Duration) {
        // The collector may be down, and nothing could be done about it now.
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
pub fn metrics(endpoint: &str) -> anyhow::Result<PeriodicReader<MetricExporter>> {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client::new())
        .with_endpoint(signal_url(endpoint, "metrics")?)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("Otel__Endpoint can't be used")?;
    let reader = PeriodicReader::builder(exporter).with_interval(METRICS_INTERVAL);
    Ok(reader.build())
}

/// The port on which collectors speak gRPC, which we don't.
const GRPC_PORT: u16 = 4317;

/// Returns whether the URL is that of a collector that speaks gRPC, which is not supported.
///
/// # Errors
/// If it is no URL.
pub fn speaks_grpc(endpoint: &str) -> anyhow::Result<bool> {
    let url = signal_url(endpoint, "traces")?;
    Ok(url::Url::parse(&url)?.port() == Some(GRPC_PORT))
}

/// Returns the resource that exports.
pub fn resource() -> Resource {
    Resource::builder()
        .with_service_name("restante")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Returns the URL of a kind of data, as the specification of OTLP has it.
fn signal_url(endpoint: &str, signal: &str) -> anyhow::Result<String> {
    let url = url::Url::parse(endpoint).context("Otel__Endpoint is no URL")?;
    anyhow::ensure!(
        ["http", "https"].contains(&url.scheme()) && url.has_host(),
        "Otel__Endpoint is no URL such as http://localhost:4318"
    );
    let endpoint = endpoint.trim_end_matches('/');
    Ok(format!("{endpoint}/v1/{signal}"))
}

/// The span of a command; the client's line is no part of it.
pub(crate) fn command(verb: Verb) -> Span {
    let name = || format!("pop3.command.{}", verb.as_str().to_ascii_lowercase());
    tracing::info_span!(target: TRACES_ONLY, "pop3.command", otel.name = name())
}

/// The span of a login; [`note_refusal`] says how it failed.
pub(crate) fn validation() -> Span {
    tracing::info_span!(
        target: TRACES_ONLY,
        "pop3.auth.validate",
        reason = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    )
}

/// Ends the span of a login with why it was refused; how long the client waits then is no part of
/// it.
pub(crate) fn note_refusal(validation: Span, reason: &'static str) {
    validation.record("reason", reason);
    validation.record("otel.status_code", "ERROR");
}

/// The span of reading a maildrop from the database.
pub(crate) fn loading() -> Span {
    tracing::info_span!(target: TRACES_ONLY, "pop3.messages.load")
}

/// Sends to the collector, from a thread that has nothing else to do.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    works: Arc<AtomicBool>,
}

impl Client {
    fn new() -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(EXPORT_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Self {
            agent: agent.into(),
            works: Arc::new(AtomicBool::new(true)),
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.as_ref());
        let (head, mut body) = self.agent.run(request)?.into_parts();
        let body = body.with_config().limit(ANSWER_OCTETS).read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }

    /// Says once that the collector does not take what it gets, and once that it does again.
    fn note(&self, result: &Result<Response<Bytes>, HttpError>) {
        let trouble = match result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let worked = self.works.swap(trouble.is_none(), Relaxed);
        match trouble {
            Some(error) if worked => {
                tracing::warn!(error, "the collector of Otel__Endpoint takes nothing");
            }
            None if !worked => tracing::info!("the collector of Otel__Endpoint is back"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.send(request);
        self.note(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_data_has_its_own_url() {
        let url = |endpoint| signal_url(endpoint, "traces").ok();
        let expected = Some("http://otel:4318/v1/traces".to_owned());
        assert_eq!(url("http://otel:4318"), expected);
        assert_eq!(url("http://otel:4318/"), expected);
        assert!(url("https://otel.example.org/otlp").is_some());
        for wrong in ["otel", "otel:4318", "ftp://otel", "http://"] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }
}
