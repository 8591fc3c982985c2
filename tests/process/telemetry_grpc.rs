//! What a collector of OpenTelemetry gets that speaks gRPC. The test is the collector.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use ureq::http::{HeaderMap, HeaderValue, Request, Response};

use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A collector at the port of gRPC, for as long as the test goes on.
struct Collector {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// A call of gRPC: its head, and the octets behind it.
type Call = (Request<()>, Vec<u8>);

impl Collector {
    /// Starts one at an address of this machine, which answers each call with this status.
    fn start(host: &str, status: &'static str) -> Self {
        let listener = TcpListener::bind((host, 4317)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = Arc::clone(&calls);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream, status, Arc::clone(&kept)));
                }
            });
        });
        Self {
            url: format!("http://{host}:4317"),
            calls,
        }
    }

    /// The messages that came to this method.
    fn messages<M: Message + Default>(&self, method: &str) -> Vec<M> {
        let calls = self.calls.lock().unwrap();
        let here = calls.iter().filter(|(head, _)| head.uri().path() == method);
        here.map(|(head, body)| {
            assert_eq!(head.method(), "POST");
            assert_eq!(head.headers()["content-type"], "application/grpc");
            assert_eq!(head.headers()["te"], "trailers");
            let (prefix, message) = body.split_at(5);
            let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
            assert_eq!((prefix[0], length as usize), (0, message.len()));
            M::decode(message).unwrap()
        })
        .collect()
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    status: &'static str,
    calls: Arc<Mutex<Vec<Call>>>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let calls = Arc::clone(&calls);
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut octets = Vec::new();
            while let Some(data) = body.data().await {
                let data = data?;
                octets.extend_from_slice(&data);
                body.flow_control().release_capacity(data.len())?;
            }
            let head = Request::from_parts(head, ());
            calls.lock().unwrap().push((head, octets));
            answer(respond, status)
        });
    }
    Ok(())
}

/// Answers as servers of gRPC do: an empty message and the status behind it, or the status alone.
fn answer(mut respond: SendResponse<Bytes>, status: &'static str) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc");
    if status != "0" {
        let head = head.header("grpc-status", status);
        let head = head.header("grpc-message", "too%20busy");
        respond.send_response(head.body(()).unwrap(), true)?;
        return Ok(());
    }
    let mut body = respond.send_response(head.body(()).unwrap(), false)?;
    let mut empty = BytesMut::new();
    empty.put_bytes(0, 5);
    body.send_data(empty.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    body.send_trailers(trailers)
}

#[test]
fn a_collector_at_the_port_of_grpc_gets_traces_and_metrics() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let collector = Collector::start("127.0.0.43", "0");
    let mut daemon = Daemon::start_with(&place.url, &[("Otel__Endpoint", &collector.url)]);
    let mut client = daemon.login(ADA, &key);
    client.body("RETR 1");
    // Their spans are more than one window of HTTP/2 holds.
    client.send_raw(&b"NOOP\r\n".repeat(500));
    for _ in 0..500 {
        assert!(client.read_line().starts_with("+OK"));
    }
    client.ok("QUIT");
    client.read_to_end();
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));

    let traces: Vec<ExportTraceServiceRequest> = collector.messages(TRACES);
    let scopes = traces.into_iter().flat_map(|it| it.resource_spans);
    let scopes = scopes.flat_map(|it| it.scope_spans);
    let names: Vec<_> = scopes.flat_map(|it| it.spans).map(|it| it.name).collect();
    for name in [
        "pop3.session",
        "pop3.command.retr",
        "pop3.command.quit",
        "pop3.auth.validate",
        "pop3.messages.load",
    ] {
        assert_eq!(names.iter().filter(|it| *it == name).count(), 1, "{name}");
    }
    let noops = names.iter().filter(|it| *it == "pop3.command.noop");
    assert_eq!(noops.count(), 500);
    let metrics: Vec<ExportMetricsServiceRequest> = collector.messages(METRICS);
    let scopes = metrics.into_iter().flat_map(|it| it.resource_metrics);
    let scopes = scopes.flat_map(|it| it.scope_metrics);
    let names: Vec<_> = scopes.flat_map(|it| it.metrics).map(|it| it.name).collect();
    for name in [
        "pop3.sessions.active",
        "pop3.commands",
        "pop3.auth.attempts",
        "pop3.auth.failures",
        "pop3.messages.retrieved",
        "pop3.bytes.sent",
    ] {
        assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
    }
    let log = daemon.log();
    assert!(
        !log.contains("the collector of Otel__Endpoint fails"),
        "{log}"
    );
}

#[test]
fn a_collector_of_grpc_that_refuses_or_is_another_server_stops_nothing() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let refusing = Collector::start("127.0.0.44", "14");
    // A POP3 server, of all things.
    let other = Daemon::start_with(
        &place.url,
        &[("Pop3__BindAddress", "127.0.0.45"), ("Pop3__Port", "4317")],
    );
    for (url, why) in [
        (&*refusing.url, "gRPC status 14: "),
        ("http://127.0.0.45:4317", "frame with invalid size"),
        ("http://127.0.0.46:4317", "Connection refused"),
    ] {
        let mut daemon = Daemon::start_with(&place.url, &[("Otel__Endpoint", url)]);
        let mut client = daemon.login(ADA, &key);
        client.body("RETR 1");
        client.ok("QUIT");
        daemon.signal("TERM");
        assert_eq!(daemon.wait(), Some(0));
        let log = daemon.log();
        let told = log
            .lines()
            .filter(|line| line.contains("Otel__Endpoint fails"));
        let told: Vec<_> = told.collect();
        assert!((1..=2).contains(&told.len()), "{url}: {log}");
        assert!(told[0].contains(why), "{url}: {told:?}");
    }
    drop(other);
}
