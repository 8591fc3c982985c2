//! A collector, and the client that sends to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use url::Url;

use super::{EXPORT_TIMEOUT, grpc};

/// The port on which collectors speak gRPC.
const GRPC_PORT: u16 = 4317;

/// Maximum size of an answer of a collector, in octets.
pub(super) const ANSWER_OCTETS: usize = 64 * 1024;

/// A kind of data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

/// A collector, as `Otel__Endpoint` names it.
#[derive(Debug)]
pub(crate) struct Collector {
    url: Url,
}

impl Collector {
    /// Takes the URL of a collector.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let url = Url::parse(endpoint).context("Otel__Endpoint is no URL")?;
        anyhow::ensure!(
            ["http", "https"].contains(&url.scheme()) && url.has_host(),
            "Otel__Endpoint is no URL such as http://localhost:4318"
        );
        Ok(Self { url })
    }

    /// Returns whether it speaks gRPC: its port tells.
    pub(crate) fn speaks_grpc(&self) -> bool {
        self.url.port() == Some(GRPC_PORT)
    }

    /// Returns the URL for a kind of data, as the specification of OTLP has it.
    pub(super) fn url(&self, signal: Signal) -> String {
        let mut url = self.url.clone();
        let path = match (self.speaks_grpc(), signal) {
            (true, Signal::Traces) => grpc::TRACES.to_owned(),
            (true, Signal::Metrics) => grpc::METRICS.to_owned(),
            (false, Signal::Traces) => self.below("traces"),
            (false, Signal::Metrics) => self.below("metrics"),
        };
        url.set_path(&path);
        url.into()
    }

    fn below(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.url.path().trim_end_matches('/'))
    }

    /// Returns a client for it.
    pub(super) fn client(&self) -> Client {
        let transport = if self.speaks_grpc() {
            Transport::Grpc
        } else {
            Transport::Http(agent())
        };
        Client {
            transport,
            works: Arc::new(AtomicBool::new(true)),
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(EXPORT_TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into()
}

/// Sends to the collector, from a thread of its own.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
    works: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Transport {
    Http(ureq::Agent),
    Grpc,
}

impl Client {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let agent = match &self.transport {
            Transport::Http(agent) => agent,
            Transport::Grpc => return grpc::call(request, EXPORT_TIMEOUT),
        };
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.as_ref());
        let (head, mut body) = agent.run(request)?.into_parts();
        let body = body
            .with_config()
            .limit(ANSWER_OCTETS as u64)
            .read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }

    /// Logs once that the collector fails, and once that it works again.
    fn note(&self, result: &Result<Response<Bytes>, HttpError>) {
        let trouble = match result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let worked = self.works.swap(trouble.is_none(), Relaxed);
        match trouble {
            Some(error) if worked => {
                tracing::warn!(
                    error,
                    "the collector of Otel__Endpoint fails; traces and metrics are dropped"
                );
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
        let url = |endpoint| Some(Collector::new(endpoint).ok()?.url(Signal::Traces));
        let expected = Some("http://otel:4318/v1/traces".to_owned());
        assert_eq!(url("http://otel:4318"), expected);
        assert_eq!(url("http://otel:4318/"), expected);
        let below = Some("https://otel.example.org/otlp/v1/traces".to_owned());
        assert_eq!(url("https://otel.example.org/otlp"), below);
        for wrong in ["otel", "otel:4318", "ftp://otel", "http://"] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_port_of_grpc_has_the_methods_of_its_services() {
        let collector = Collector::new("http://otel:4317").unwrap();
        assert!(collector.speaks_grpc());
        let service = "http://otel:4317/opentelemetry.proto.collector";
        assert_eq!(
            collector.url(Signal::Traces),
            format!("{service}.trace.v1.TraceService/Export")
        );
        assert_eq!(
            collector.url(Signal::Metrics),
            format!("{service}.metrics.v1.MetricsService/Export")
        );
        assert!(!Collector::new("http://otel:4318").unwrap().speaks_grpc());
        assert!(!Collector::new("https://otel").unwrap().speaks_grpc());
    }
}
