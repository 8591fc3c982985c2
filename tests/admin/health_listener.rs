//! The listener for health checks alone, and a server without POP3.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use super::Watched;
use crate::support::cli::Cli;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;
use crate::support::postgres::free_port;

fn at(port: u16) -> Http {
    Http::new(SocketAddr::from(([127, 0, 0, 1], port)))
}

#[test]
fn health_is_told_on_a_listener_of_its_own_and_nothing_else_is() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    for host in ["+", "*", "0.0.0.0", "[::]", "localhost", "127.0.0.1"] {
        let port = free_port();
        let url = format!("http://{host}:{port}");
        let watched = Watched::start(&place.url, &[("HealthCheck__Url", &url)]);
        let health = at(port);
        let answer = health.get("/healthz");
        assert_eq!(answer.status, 200, "{url}: {answer:?}");
        let report = answer.json();
        assert_eq!(report["status"], "Healthy");
        assert!(report["totalDuration"].is_number(), "{report}");
        let names = report["checks"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["pop3", "database"]);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // A container asks by its name.
        let named = health.with("Host", "pop3.example.org:8082");
        assert_eq!(named.get("/healthz").status, 200);
        assert_eq!(health.ask("HEAD", "/healthz", "").status, 200);
        for path in [
            "/",
            "/livez",
            "/readyz",
            "/metrics",
            "/api/sessions",
            "/healthz/",
        ] {
            health.get(path).problem(404);
        }
        for method in ["POST", "DELETE"] {
            health.ask(method, "/healthz", "").problem(405);
        }
        let shown = health.with("Authorization", &format!("Bearer {}", super::TOKEN));
        shown.get("/api/sessions").problem(404);
        if host == "localhost" && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            let here = Http::new(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
            assert_eq!(here.get("/healthz").status, 200);
        }
        // The server's own sessions are none.
        let metrics = watched.admin.get("/metrics").text;
        assert!(metrics.contains("\npop3_commands_total{command=\"QUIT\"} 0\n"));
        assert!(!watched.daemon.log().contains("session ended"));
    }
}

#[test]
fn a_health_listener_needs_no_admin_endpoint_and_ends_with_the_server() {
    let place = sqlite();
    fill(&place.url, ADA, &[]);
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut daemon = Daemon::start_with(&place.url, &[("HealthCheck__Url", &url)]);
    assert_eq!(at(port).get("/healthz").status, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_port_for_health_checks_that_is_taken_or_makes_no_sense_stops_the_start() {
    let place = sqlite();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = format!("http://127.0.0.1:{}", taken.local_addr().unwrap().port());
    for (url, words) in [
        (&*taken, "for health checks (HealthCheck__Url)"),
        ("https://+:8082", "health checks have no TLS"),
        ("http://+:8082/healthz", "without one"),
        ("http://+:0", "the port is not a number"),
        ("http://pop3:8082", "the host is neither"),
    ] {
        for command in ["serve", "check"] {
            let outcome = Cli::new(&place.url)
                .args([command])
                .env("Pop3__BindAddress", "127.0.0.1")
                .env("Pop3__Port", &free_port().to_string())
                .env("Pop3__SecurePort", "0")
                .env("Admin__Port", "0")
                .env("HealthCheck__Url", url)
                .run();
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            let said = outcome.stdout + &outcome.stderr;
            let words = match command {
                "check" if url == taken => "choose another port as HealthCheck__Url",
                _ => words,
            };
            assert!(said.contains(words), "{said}");
            assert!(said.contains("HealthCheck__Url"), "{said}");
        }
    }
}

#[test]
fn a_server_without_pop3_does_all_the_rest() {
    let place = sqlite();
    fill(&place.url, ADA, &[]);
    let [lmtp, health] = [free_port(), free_port()];
    let url = format!("http://127.0.0.1:{health}");
    let settings = [
        ("Pop3__Enabled", "false"),
        // What only POP3 needs is not looked at.
        ("Pop3__CertificatePath", "/no/such/file.pem"),
        ("Pop3__RequireAuthentication", "false"),
        ("Pop3__BindAddress", ""),
        ("Lmtp__Port", &lmtp.to_string()),
        ("HealthCheck__Url", &url),
    ];
    let mut watched = Watched::start(&place.url, &settings);
    watched
        .daemon
        .wait_for_log("no POP3: Pop3__Enabled is false");
    let refused = TcpStream::connect(watched.daemon.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    eventually("LMTP", || TcpStream::connect(("127.0.0.1", lmtp)).ok());
    assert_eq!(watched.admin.get("/readyz").status, 200);
    assert_eq!(
        watched.admin.json("/api/sessions")["sessions"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    let names = |report: serde_json::Value| {
        assert_eq!(report["status"], "Healthy", "{report}");
        let checks = report["checks"].as_array().unwrap().iter();
        let names = checks.map(|check| check["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(at(health).json("/healthz")), ["lmtp", "database"]);

    let mut check = Cli::new(&place.url).args(["check"]);
    for (name, value) in settings {
        check = check.env(name, value);
    }
    let admin = watched.admin.address.port().to_string();
    let found = check.env("Admin__Port", &admin).run();
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(
        found
            .stdout
            .contains("ok       no POP3: Pop3__Enabled is false")
    );
    assert!(found.stdout.contains("is in use, as restante runs already"));
    watched.daemon.signal("TERM");
    assert_eq!(watched.daemon.wait(), Some(0));
}
