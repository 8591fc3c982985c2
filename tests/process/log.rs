//! What the log looks like, for people, for programs and for the journal.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use serde_json::Value;

use crate::support::cli;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, signal};
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;
use crate::support::postgres::free_port;

/// A setting that does nothing, which is worth a warning.
const IDLE: (&str, &str) = ("ConnectionStrings__DefaultConnection", "Host=nowhere");

#[test]
fn programs_get_an_object_per_line_with_all_fields_beside_each_other() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let mut daemon = Daemon::start_with(
        &place.url,
        &[("Log__Format", "json"), ("Log__Level", "debug")],
    );
    let mut client = daemon.login(ADA, &key);
    client.ok("DELE 1");
    client.ok("QUIT");
    let mut eve = daemon.connect();
    eve.ok("USER e\"v\\e@example.com");
    eve.command("PASS a\tb");
    daemon.wait_for_log("login refused");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    let log = daemon.log();
    assert!(!log.contains('\u{1b}'), "{log}");
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    for event in &events {
        let time = event["timestamp"].as_str().unwrap();
        let time: jiff::Timestamp = time.parse().unwrap();
        assert!(time.to_string().ends_with('Z'));
        assert!(
            event["level"].is_string() && event["message"].is_string(),
            "{event}"
        );
        let flat = event.as_object().unwrap().values();
        assert!(
            flat.into_iter().all(|it| !it.is_object() && !it.is_array()),
            "{event}"
        );
    }
    let of = |message: &str| events.iter().find(|it| it["message"] == message).unwrap();
    // It has the fields of its session, whose end is told by an event that has its own.
    let (deleted, ended) = (of("messages deleted"), of("session ended"));
    assert!(
        deleted["unique_ids"].is_string() && deleted["peer"] == "127.0.0.1",
        "{deleted}"
    );
    assert_eq!(deleted["session.id"], ended["session.id"]);
    assert!(ended["octets_sent"].is_u64(), "{ended}");
    assert_eq!(ended["user"], ADA);
    assert_eq!(of("login refused")["user"], "e\"v\\e@example.com");
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours_and_says_when_it_was() {
    let place = sqlite();
    let daemon = Daemon::start_with(&place.url, &[IDLE]);
    let log = daemon.log();
    assert!(!log.contains('\u{1b}'), "{log}");
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'),
            "{line}"
        );
        assert!(rest.trim_start().starts_with(char::is_uppercase), "{line}");
    }
}

#[test]
fn the_journal_gets_the_priority_and_not_the_time_that_it_knows_itself() {
    let place = sqlite();
    let path = place.folder.path().join("journal");
    let journal = File::create(&path).unwrap();
    let metadata = journal.metadata().unwrap();
    for (stream, begins) in [
        (
            format!("{}:{}", metadata.dev(), metadata.ino()),
            "<4> WARN environment variable ",
        ),
        // Somebody has redirected stderr to elsewhere.
        (format!("{}:{}", metadata.dev(), 1), "20"),
    ] {
        journal.set_len(0).unwrap();
        let mut command = cli::restante();
        command
            .args(["user", "list"])
            .env("Database__Url", &place.url);
        command.env("JOURNAL_STREAM", &stream).env(IDLE.0, IDLE.1);
        command.stderr(File::options().append(true).open(&path).unwrap());
        assert!(command.output().unwrap().status.success());
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with(begins), "{written}");
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_sessions_nor_the_end() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let [port, admin] = [free_port(), free_port()];
    let mut server = cli::restante()
        .arg("serve")
        .env("Database__Url", &place.url)
        .env("Pop3__BindAddress", "127.0.0.1")
        .env("Pop3__Port", port.to_string())
        .env("Pop3__SecurePort", "0")
        .env("Pop3__AuthFailureDelay", "0")
        .env("Pop3__MaxConnectionsPerAddress", "0")
        .env("Admin__Port", admin.to_string())
        .env("Log__Level", "debug")
        // A reader that stops to read: both end in the same pipe.
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut unread = server.stderr.take().unwrap();
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let admin = Http::new(here(admin));
    eventually("the server to listen", || {
        std::net::TcpStream::connect(here(port)).ok()
    });
    // Two lines of more than 200 octets each: a pipe holds 64 KiB.
    for _ in 0..300 {
        let mut client = Client::connect(here(port));
        client.ok(&format!("USER {}@example.com", "a".repeat(200)));
        client.command("PASS wrong");
        client.ok("QUIT");
    }
    let mut client = Client::login(here(port), ADA, &key);
    assert_eq!(client.body("RETR 1"), message(1, 100));
    client.ok("QUIT");
    let metrics = admin.get("/metrics").text;
    assert!(
        metrics.contains("\nrestante_log_lines_dropped_total 0\n"),
        "{metrics}"
    );
    signal(server.id(), "TERM");
    assert_eq!(cli::wait(&mut server), Some(0));
    let mut log = Vec::new();
    unread.read_to_end(&mut log).unwrap();
    assert!(log.len() >= 60_000, "{}", log.len());
    assert!(
        !String::from_utf8_lossy(&log).contains("stopped"),
        "the pipe was stuck"
    );
}

#[test]
fn the_last_lines_are_written_when_the_server_ends() {
    let place = sqlite();
    let mut daemon = Daemon::start(&place.url);
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(
        daemon.log().trim_end().ends_with("stopped"),
        "{}",
        daemon.log()
    );
}
