//! What the log looks like, for people, for programs and for the journal.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::support::cli;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;

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
