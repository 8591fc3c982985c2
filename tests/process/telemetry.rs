//! Export to a collector of OpenTelemetry, which is part of the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;
use crate::support::postgres::free_port;

/// Receives requests over HTTP until the test ends.
struct Collector {
    url: String,
    received: Arc<Mutex<Requests>>,
}

/// The path and the body of each request.
type Requests = Vec<(String, Vec<u8>)>;

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Requests>> = Arc::default();
        let kept = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || take(stream.unwrap(), &kept));
            }
        });
        Self { url, received }
    }

    /// Returns the bodies that were sent to this path.
    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let received = self.received.lock().unwrap();
        let here = received.iter().filter(|(to, _)| to == path);
        here.map(|(_, body)| body.clone()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.bodies("/v1/traces");
        let requests = requests
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(&**body).unwrap());
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

/// Answers each request of a connection.
fn take(stream: TcpStream, received: &Mutex<Requests>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        received.lock().unwrap().push((path, body));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).unwrap();
    }
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    let Value::StringValue(text) = attribute.value.as_ref()?.value.as_ref()? else {
        return None;
    };
    Some(text)
}

#[test]
fn a_session_is_a_span_with_a_span_for_each_command() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let collector = Collector::start();
    let mut daemon = Daemon::start_with(
        &place.url,
        // The log level does not affect the export.
        &[
            ("Otel__Endpoint", &collector.url),
            ("Log__Level", "restante=info"),
        ],
    );
    let mut client = daemon.login(ADA, &key);
    client.body("RETR 1");
    client.command("A secret that is no command");
    client.ok("QUIT");
    client.read_to_end();
    let mut eve = daemon.connect();
    eve.ok("USER ada@example.com");
    eve.command("PASS letmein");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));

    let spans = collector.spans();
    let named = |name: &str| -> Vec<&Span> { spans.iter().filter(|it| it.name == name).collect() };
    let sessions = named("pop3.session");
    assert_eq!(sessions.len(), 2);
    let session = sessions
        .iter()
        .find(|it| attribute(it, "ending") == Some("quit"))
        .unwrap();
    for command in ["user", "pass", "retr", "unknown", "quit"] {
        let name = format!("pop3.command.{command}");
        let commands = named(&name);
        let within = commands
            .iter()
            .filter(|it| it.parent_span_id == session.span_id);
        assert_eq!(within.count(), 1, "{name}");
    }
    let validations = named("pop3.auth.validate");
    let passes = named("pop3.command.pass");
    assert_eq!((validations.len(), passes.len()), (2, 2));
    let reasons: Vec<_> = validations
        .iter()
        .map(|it| attribute(it, "reason"))
        .collect();
    assert!(
        reasons.contains(&None) && reasons.contains(&Some("credentials")),
        "{reasons:?}"
    );
    for validation in &validations {
        assert!(
            passes
                .iter()
                .any(|pass| pass.span_id == validation.parent_span_id)
        );
    }
    let [load] = named("pop3.messages.load")[..] else {
        panic!("{spans:#?}");
    };
    assert!(
        validations
            .iter()
            .any(|it| it.span_id == load.parent_span_id)
    );
    // There are no other spans, and none has data of clients.
    assert!(
        spans
            .iter()
            .all(|it| it.name.starts_with("pop3.") && it.events.is_empty())
    );
    let sent = collector.bodies("/v1/traces").concat();
    for secret in [key.as_bytes(), b"letmein", b"A secret", ADA.as_bytes()] {
        assert!(!sent.windows(secret.len()).any(|octets| octets == secret));
    }
    assert!(!daemon.log().contains("pop3.command"));
}

#[test]
fn a_collector_gets_the_metrics_too() {
    let place = sqlite();
    let collector = Collector::start();
    let mut daemon = Daemon::start_with(&place.url, &[("Otel__Endpoint", &collector.url)]);
    daemon.connect().ok("QUIT");
    daemon.wait_for_log("session ended");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    let requests = collector.bodies("/v1/metrics");
    let last = ExportMetricsServiceRequest::decode(&**requests.last().unwrap()).unwrap();
    let resource = &last.resource_metrics[0];
    let names: Vec<_> = resource.scope_metrics[0]
        .metrics
        .iter()
        .map(|metric| metric.name.as_str())
        .collect();
    for name in ["pop3.sessions.active", "pop3.commands", "pop3.bytes.sent"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let service = &resource.resource.as_ref().unwrap().attributes;
    assert!(
        service.iter().any(|it| it.key == "service.name"),
        "{service:?}"
    );
}

#[test]
fn a_collector_that_is_down_or_never_answers_stops_nothing() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    // The system accepts connections for it, which are never read.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    for port in [free_port(), silent.local_addr().unwrap().port()] {
        let url = format!("http://127.0.0.1:{port}");
        let mut daemon = Daemon::start_with(&place.url, &[("Otel__Endpoint", &url)]);
        let mut client = daemon.login(ADA, &key);
        // More than the queue holds.
        for _ in 0..20 {
            client.send_raw(&b"NOOP\r\n".repeat(1000));
            for _ in 0..1000 {
                assert!(client.read_line().starts_with("+OK"));
            }
        }
        client.ok("QUIT");
        daemon.wait_for_log("the collector of Otel__Endpoint fails");
        daemon.signal("TERM");
        assert_eq!(daemon.wait(), Some(0));
        // Once for traces and once for metrics, not for each attempt.
        let told = daemon
            .log()
            .matches("the collector of Otel__Endpoint fails")
            .count();
        assert!((1..=2).contains(&told), "{}", daemon.log());
    }
}
