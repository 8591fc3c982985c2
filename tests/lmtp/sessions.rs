//! LMTP sessions, as operators see and end them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Mta, Office, rows, stuffed};
use crate::support::cli::Cli;
use crate::support::http::Http;
use crate::support::mail::{ADA, message};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;
use crate::support::{eventually, run};

/// The token of the admin endpoint.
const TOKEN: &str = "open sesame";

/// A server that accepts LMTP on a port and a Unix socket, and its admin endpoint.
struct Watched {
    office: Office,
    admin: Http,
    admin_port: String,
    socket: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Watched {
    fn open(place: &Place, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("lmtp.sock");
        let port = free_port();
        let admin_port = port.to_string();
        let mut all = vec![
            ("Admin__Port", admin_port.as_str()),
            ("Admin__Token", TOKEN),
            ("Lmtp__SocketPath", socket.to_str().unwrap()),
        ];
        all.extend(settings);
        let office = Office::open_with(place, &all);
        let admin = Http::new(SocketAddr::from(([127, 0, 0, 1], port)))
            .with("Authorization", &format!("Bearer {TOKEN}"));
        Self {
            office,
            admin,
            admin_port,
            socket,
            _folder: folder,
        }
    }

    /// The LMTP sessions, once there are so many.
    fn sessions(&self, count: usize) -> Vec<Value> {
        eventually("the sessions to be listed", || {
            let all = self.admin.json("/api/sessions?protocol=lmtp");
            let all = all["sessions"].as_array().unwrap().clone();
            (all.len() == count).then_some(all)
        })
    }

    fn metric(&self, series: &str) -> Option<u64> {
        let text = self.admin.get("/metrics").text;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map(|value| value.trim().parse().unwrap())
    }
}

#[test]
fn an_lmtp_session_is_listed_beside_those_of_pop3() {
    on_each_blocking(|place| {
        let watched = Watched::open(place, &[]);
        let mut mta = watched.office.mta();
        mta.to(&[ADA]);
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
        let _client = watched.office.daemon.login(ADA, &watched.office.keys[0]);
        let session = watched.sessions(1).remove(0);
        for (field, value) in [
            ("protocol", json!("lmtp")),
            ("listener", json!("lmtp")),
            ("user", Value::Null),
            ("state", json!("TRANSACTION")),
            ("tls", json!(false)),
            ("messages", json!(0)),
            ("deleted", json!(0)),
            ("delivered", json!(1)),
        ] {
            assert_eq!(session[field], value, "{field} in {session}");
        }
        assert!(session["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!(session["octets_sent"].as_u64() > Some(50), "{session}");
        assert!(session["connected_at"].is_string());
        let id = session["id"].as_str().unwrap();
        assert_eq!(watched.admin.json(&format!("/api/sessions/{id}")), session);
        let all = watched.admin.json("/api/sessions");
        assert_eq!(all["total"], 2);
        assert_eq!(watched.metric("lmtp_sessions_active "), Some(1));
        assert_eq!(watched.metric("pop3_sessions_active "), Some(1));
        mta.expect("QUIT", "221");
        assert_eq!(watched.sessions(0), Vec::<Value>::new());
        assert_eq!(watched.metric("lmtp_sessions_active "), Some(0));
        assert_eq!(
            watched.metric("lmtp_sessions_ended_total{ending=\"quit\"} "),
            Some(1)
        );
    });
}

#[test]
fn a_session_on_the_unix_socket_is_listed_as_local() {
    let place = sqlite();
    let watched = Watched::open(&place, &[]);
    let _mta = Mta::connect_unix(&watched.socket);
    let session = watched.sessions(1).remove(0);
    assert_eq!(session["peer"], "local", "{session}");
    assert_eq!(session["protocol"], "lmtp", "{session}");
}

#[test]
fn an_lmtp_session_that_is_ended_stores_nothing_of_its_message() {
    on_each_blocking(|place| {
        let watched = Watched::open(place, &[]);
        let large = message(1, 3_000_000);
        let idle = Mta::connect_unix(&watched.socket);
        let mut sending = watched.office.mta();
        sending.to(&[ADA]);
        sending.expect("DATA", "354");
        sending.send(&stuffed(&large)[..2_500_000]);
        eventually("a part to be stored", || {
            (rows(place, &["pending_contents"]) > 0).then_some(())
        });
        for session in watched.sessions(2) {
            let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
            assert_eq!(watched.admin.ask("DELETE", &path, "").status, 204);
        }
        let mut idle = idle;
        let goodbye = idle.read();
        assert!(goodbye.starts_with("421 4.3.2 "), "{goodbye}");
        assert_eq!(idle.read(), "", "the connection goes on");
        // The goodbye may be lost to one whose octets are not read any more.
        let goodbye = sending.read();
        assert!(
            goodbye.is_empty() || goodbye.starts_with("421 4.3.2 "),
            "{goodbye}"
        );
        assert_eq!(sending.read(), "", "the connection goes on");
        watched.sessions(0);
        eventually("the part to be removed", || {
            (rows(place, &["pending_contents"]) == 0).then_some(())
        });
        assert_eq!(watched.office.received(0).len(), 0);
        let killed = watched.metric("lmtp_sessions_ended_total{ending=\"killed\"} ");
        assert_eq!(killed, Some(2));
        // Others are served as before.
        let mut mta = watched.office.mta();
        mta.to(&[ADA]);
        assert!(mta.data(b"hi\r\n", 1)[0].starts_with("250"));
    });
}

#[test]
fn lmtp_sessions_are_listed_and_killed_from_the_command_line() {
    let place = sqlite();
    let watched = Watched::open(&place, &[]);
    let run = |words: &str| {
        let cli = Cli::new(&place.url).args(words.split_whitespace());
        cli.env("Admin__Port", &watched.admin_port)
            .env("Admin__Token", TOKEN)
            .run()
    };
    let mut mta = watched.office.mta();
    let _client = watched.office.daemon.connect();
    let sessions = run("sessions --protocol lmtp --json").ok();
    let sessions: Value = serde_json::from_str(&sessions).unwrap();
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions}");
    let id = sessions[0]["id"].as_str().unwrap();
    let table = run("sessions").ok();
    let heading = table.lines().next().unwrap();
    assert!(heading.contains("PROTOCOL"), "{table}");
    let row = table.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(row.contains(" lmtp "), "{row}");
    assert_eq!(run(&format!("sessions kill {id}")).ok(), "");
    let goodbye = mta.read();
    assert!(goodbye.starts_with("421 4.3.2 "), "{goodbye}");
    assert_eq!(mta.read(), "");
}

#[test]
fn lmtp_has_its_own_limit_of_sessions() {
    let place = sqlite();
    let settings = [
        ("Lmtp__MaxConnections", "2"),
        ("Pop3__MaxConnections", "1"),
        ("Pop3__MaxConnectionsBeforeLogin", "1"),
        ("Pop3__MaxConnectionsPerAddress", "1"),
    ];
    let watched = Watched::open(&place, &settings);
    let mut first = watched.office.mta();
    let _client = watched.office.daemon.connect();
    let _second = Mta::connect_unix(&watched.socket);
    let mut third = Mta::connect_silently(watched.office.port);
    let refusal = third.read();
    assert!(refusal.starts_with("421 4.3.2 "), "{refusal}");
    assert_eq!(third.read(), "");
    assert_eq!(watched.metric("lmtp_connections_refused_total "), Some(1));
    first.expect("NOOP", "250");
    first.expect("QUIT", "221");
    watched.sessions(1);
    watched.office.mta().expect("NOOP", "250");
}

#[test]
fn an_lmtp_session_that_is_ended_while_it_stores_a_message_takes_no_other() {
    let place = sqlite();
    let watched = Watched::open(&place, &[]);
    let mut mta = watched.office.mta();
    mta.to(&[ADA]);
    let two =
        "BDAT 4 LAST\r\nhi\r\nMAIL FROM:<>\r\nRCPT TO:<ada@example.com>\r\nBDAT 4 LAST\r\nho\r\n";
    run(async || {
        // The commit waits for another writer.
        let writer = place.sql().await;
        writer.run("BEGIN IMMEDIATE").await;
        mta.send(two.as_bytes());
        let session = eventually("the commit", || {
            let session = watched.sessions(1).remove(0);
            (session["state"] == "UPDATE").then_some(session)
        });
        let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
        assert_eq!(watched.admin.ask("DELETE", &path, "").status, 204);
        assert_eq!(watched.sessions(1)[0]["state"], "UPDATE");
        writer.close().await;
    });
    let outcome = mta.read();
    assert!(outcome.starts_with("250 2.0.0 "), "{outcome}");
    let goodbye = mta.read();
    assert!(goodbye.starts_with("421 4.3.2 "), "{goodbye}");
    assert_eq!(mta.read(), "", "the connection goes on");
    watched.sessions(0);
    let killed = watched.metric("lmtp_sessions_ended_total{ending=\"killed\"} ");
    assert_eq!(killed, Some(1));
    assert_eq!(watched.office.received(0).len(), 1);
}
