//! Health turns bad with what it tells of, and good again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Watched;
use crate::served::certificate_file;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Kind, Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;
use crate::support::{eventually, run};

fn status(admin: &Http) -> (u16, Value) {
    let answer = admin.get("/healthz");
    (answer.status, answer.json())
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn health_has_the_shape_of_asp_nets_and_counts_as_no_session() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    let certificate = certificate_file(place.folder.path());
    let secure = free_port().to_string();
    let settings = [
        ("Pop3__CertificatePath", certificate.to_str().unwrap()),
        ("Pop3__SecurePort", &secure),
    ];
    let watched = Watched::start(&place.url, &settings);
    let before = watched.admin.get("/metrics").text;
    let (code, report) = status(&watched.admin);
    assert_eq!(
        (code, &report["status"]),
        (200, &"Healthy".into()),
        "{report}"
    );
    let is_time = |value: &Value| value.as_f64().is_some_and(|ms| ms > 0.0 && ms < 60_000.0);
    assert!(is_time(&report["totalDuration"]), "{report}");
    for name in ["pop3", "pop3s", "database", "certificate"] {
        let check = check(&report, name);
        assert_eq!(check["status"], "Healthy", "{check}");
        assert!(is_time(&check["duration"]), "{check}");
        assert!(!check["description"].as_str().unwrap().is_empty());
        assert_eq!(check["exception"], Value::Null);
        assert_eq!(check["tags"], serde_json::json!([]));
        assert_eq!(check["data"], serde_json::json!({}));
        assert_eq!(check.as_object().unwrap().len(), 7, "{check}");
    }
    let sessions = |text: &str| {
        let ours = text.lines().filter(|line| {
            line.starts_with("pop3_sessions")
                || line.starts_with("pop3_commands")
                || line.starts_with("pop3_bytes")
        });
        ours.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        sessions(&watched.admin.get("/metrics").text),
        sessions(&before)
    );
    assert!(!watched.daemon.log().contains("session ended"));
}

#[test]
fn health_is_bad_while_another_file_or_none_is_where_the_database_was() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    let watched = Watched::start(&place.url, &[]);
    let file = Path::new(place.url.strip_prefix("sqlite://").unwrap());
    let moved = file.with_extension("moved");
    std::fs::rename(file, &moved).unwrap();
    let turns = |code: u16| {
        eventually("health", || {
            (status(&watched.admin).0 == code).then_some(())
        })
    };
    turns(503);
    std::fs::write(file, b"").unwrap();
    watched.admin.get("/readyz").problem(503);
    std::fs::rename(&moved, file).unwrap();
    turns(200);
}

#[test]
fn health_is_bad_while_the_database_is_gone() {
    on_each_blocking(|place| {
        fill(&place.url, ADA, &[message(1, 100)]);
        let watched = Watched::start(&place.url, &[]);
        assert_eq!(status(&watched.admin).0, 200);
        let (host, name) = place.url.rsplit_once('/').unwrap();
        let (url, gone, back) = match place.kind {
            Kind::Sqlite => (
                place.url.clone(),
                "ALTER TABLE users RENAME TO nowhere".to_owned(),
                "ALTER TABLE nowhere RENAME TO users".to_owned(),
            ),
            Kind::Postgres => (
                format!("{host}/postgres"),
                format!(
                    "ALTER DATABASE {name} ALLOW_CONNECTIONS false; \
                     SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                ),
                format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
            ),
        };
        let elsewhere = Place {
            kind: place.kind,
            url,
            folder: tempfile::tempdir().unwrap(),
        };
        run(async || {
            let sql = elsewhere.sql().await;
            sql.run(&gone).await;
            let report = eventually("the database to be missed", || {
                let (code, report) = status(&watched.admin);
                (code == 503).then_some(report)
            });
            assert_eq!(report["status"], "Unhealthy");
            assert_eq!(check(&report, "database")["status"], "Unhealthy");
            assert_eq!(check(&report, "pop3")["status"], "Healthy");
            watched.admin.get("/readyz").problem(503);
            // The process itself is not to be restarted for it.
            assert_eq!(watched.admin.get("/livez").status, 200);
            sql.run(&back).await;
            eventually("health", || (status(&watched.admin).0 == 200).then_some(()));
            eventually("readiness", || {
                (watched.admin.get("/readyz").status == 200).then_some(())
            });
        });
    });
}

#[test]
fn health_is_bad_while_no_connection_can_be_accepted() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    let watched = Watched::start(&place.url, &[]);
    // It needs a connection of its own that is there already.
    let mut asked = KeptAlive::new(&watched.admin);
    assert_eq!(asked.get("/healthz").0, 200);
    limit_files(&watched.daemon, "1");
    let report = eventually("health to be bad", || {
        let (code, report) = asked.get("/healthz");
        (code == 503).then_some(report)
    });
    let pop3 = check(&report, "pop3");
    assert_eq!(pop3["status"], "Unhealthy", "{report}");
    assert_eq!(pop3["exception"], pop3["description"]);
    assert!(pop3["exception"].is_string(), "{report}");
    limit_files(&watched.daemon, "1024");
    eventually("health", || (asked.get("/healthz").0 == 200).then_some(()));
}

/// Changes how many files the server may have open.
fn limit_files(daemon: &Daemon, soft: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([
        format!("--pid={}", daemon.id()),
        format!("--nofile={soft}:"),
    ]);
    assert!(prlimit.status().unwrap().success());
}

/// A connection over which several requests are made.
struct KeptAlive {
    stream: BufReader<TcpStream>,
}

impl KeptAlive {
    fn new(admin: &Http) -> Self {
        let stream = TcpStream::connect(admin.address).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    fn get(&mut self, path: &str) -> (u16, Value) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            head.push(line.to_lowercase());
        }
        let code = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        (code, serde_json::from_slice(&body).unwrap())
    }
}

#[test]
fn a_certificate_that_ends_soon_is_told_and_one_that_has_ended_is_unhealthy() {
    let place = sqlite();
    for (year, code, status) in [(2000, 503, "Unhealthy"), (4000, 200, "Healthy")] {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let file = place.folder.path().join("chain.pem");
        std::fs::write(&file, certificate.pem() + &key.serialize_pem()).unwrap();
        let settings = [("Pop3__CertificatePath", file.to_str().unwrap())];
        let watched = Watched::start(&place.url, &settings);
        let (found, report) = self::status(&watched.admin);
        assert_eq!(
            (found, &report["status"]),
            (code, &status.into()),
            "{report}"
        );
        assert_eq!(check(&report, "certificate")["status"], status);
    }
}

#[test]
fn a_server_that_stops_is_alive_and_not_ready() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let mut watched = Watched::start(&place.url, &[]);
    let mut client = watched.daemon.login(ADA, &key);
    assert_eq!(watched.admin.get("/readyz").status, 200);
    watched.daemon.signal("TERM");
    let why = eventually("the server to stop", || {
        let answer = watched.admin.get("/readyz");
        (answer.status == 503).then(|| answer.problem(503))
    });
    assert_eq!(why, "the server stops");
    assert_eq!(watched.admin.get("/livez").status, 200);
    assert_eq!(watched.admin.json("/api/overview")["stopping"], true);
    client.ok("QUIT");
    assert_eq!(watched.daemon.wait(), Some(0));
}
