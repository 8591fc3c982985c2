//! What the log tells, and what it never does.

use serde_json::Value;

use super::Watched;
use crate::served::certificate_file;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB, fill, message};
use crate::support::place::sqlite;
use crate::support::{eventually, run};

/// The lines of a log in JSON that say this.
fn lines(daemon: &Daemon, message: &str) -> Vec<Value> {
    let log = daemon.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["message"] == message)
        .collect()
}

#[test]
fn a_deletion_is_told_that_was_committed_after_its_client_had_gone() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 200), message(2, 300)]);
    let watched = Watched::start(&place.url, &[("Log__Format", "json")]);
    let daemon = &watched.daemon;
    let mut client = daemon.login(ADA, &key);
    client.ok("DELE 1");
    // The commit waits for another writer, and meanwhile the client goes.
    run(async || {
        let writer = place.sql().await;
        writer.run("BEGIN IMMEDIATE").await;
        client.send("QUIT");
        eventually("the commit", || {
            let sessions = watched.admin.json("/api/sessions");
            (sessions["sessions"][0]["state"] == "UPDATE").then_some(())
        });
        client.reset();
        writer.close().await;
    });
    daemon.wait_for_log("session ended");
    let line = &lines(daemon, "session ended")[0];
    assert_eq!((&line["deleted"], &line["left"]), (&1.into(), &1.into()));
}

#[test]
fn one_line_tells_all_of_a_session_when_it_ends() {
    let place = sqlite();
    let key = fill(
        &place.url,
        ADA,
        &[message(1, 200), message(2, 300), message(3, 400)],
    );
    let daemon = Daemon::start_with(&place.url, &[("Log__Format", "json")]);
    let mut client = daemon.login(ADA, &key);
    client.body("UIDL");
    client.body("TOP 1 0");
    client.body("RETR 1");
    client.body("RETR 2");
    client.ok("DELE 1");
    client.ok("DELE 2");
    client.ok("QUIT");
    daemon.wait_for_log("session ended");
    drop(daemon.connect());
    let ended = eventually("two lines", || {
        Some(lines(&daemon, "session ended")).filter(|lines| lines.len() == 2)
    });
    let line = &ended[0];
    for (field, value) in [
        ("session.id", Value::Null),
        ("user", ADA.into()),
        ("key", "test".into()),
        ("listener", "pop3".into()),
        ("ending", "quit".into()),
        ("seconds", Value::Null),
        ("top", 1.into()),
        ("retr", 2.into()),
        ("dele", 2.into()),
        ("uidl", 1.into()),
        ("deleted", 2.into()),
        ("left", 1.into()),
        ("octets_sent", Value::Null),
    ] {
        if value.is_null() {
            assert!(!line[field].is_null(), "{field} is not in {line}");
        } else {
            assert_eq!(line[field], value, "{field} in {line}");
        }
    }
    assert!(
        line["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{line}"
    );
    assert!(line["octets_sent"].as_u64().unwrap() > 500, "{line}");
    assert_eq!(ended[1]["ending"], "disconnected");
    assert_eq!(ended[1]["user"], Value::Null);
}

#[test]
fn the_line_of_a_session_tells_how_many_messages_a_limit_has_hidden_from_it() {
    let place = sqlite();
    let key = fill(
        &place.url,
        ADA,
        &[message(1, 20), message(2, 30), message(3, 40)],
    );
    for (limit, hidden) in [
        ("1", Value::from(2)),
        ("3", Value::Null),
        ("0", Value::Null),
    ] {
        let settings = [
            ("Log__Format", "json"),
            ("Pop3__MaxMessagesPerSession", limit),
        ];
        let daemon = Daemon::start_with(&place.url, &settings);
        daemon.login(ADA, &key).ok("QUIT");
        daemon.wait_for_log("session ended");
        assert_eq!(lines(&daemon, "session ended")[0]["hidden"], hidden);
    }
}

#[test]
fn a_session_that_deletes_more_than_it_should_is_a_warning() {
    let place = sqlite();
    let key = fill(
        &place.url,
        ADA,
        &[message(1, 20), message(2, 30), message(3, 40)],
    );
    let settings = [
        ("Log__Format", "json"),
        ("Pop3__MaxDeletionsPerSession", "1"),
    ];
    let daemon = Daemon::start_with(&place.url, &settings);
    let mut client = daemon.login(ADA, &key);
    client.ok("DELE 1");
    client.ok("QUIT");
    let mut client = daemon.login(ADA, &key);
    client.ok("DELE 1");
    client.ok("DELE 2");
    client.ok("QUIT");
    let text = "a session has deleted more messages than Pop3__MaxDeletionsPerSession";
    daemon.wait_for_log(text);
    let warnings = lines(&daemon, text);
    assert_eq!(warnings.len(), 1);
    let warning = &warnings[0];
    assert_eq!(
        (&warning["user"], &warning["deleted"], &warning["limit"]),
        (&ADA.into(), &2.into(), &1.into())
    );
}

#[test]
fn a_deleted_message_is_found_in_the_log_by_its_unique_id() {
    let place = sqlite();
    let messages: Vec<_> = (0..120).map(|seed| message(seed, 100)).collect();
    let key = fill(&place.url, ADA, &messages);
    let daemon = Daemon::start_with(&place.url, &[("Log__Format", "json")]);
    let mut client = daemon.login(ADA, &key);
    let listed = String::from_utf8(client.body("UIDL")).unwrap();
    let unique_ids: Vec<_> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    for number in 1..=119 {
        client.ok(&format!("DELE {number}"));
    }
    client.ok("QUIT");
    daemon.wait_for_log("session ended");
    let told = lines(&daemon, "messages deleted");
    let of = |line: &Value| line["unique_ids"].as_str().unwrap().to_owned();
    let ids: Vec<_> = told.iter().map(of).collect();
    let ids: Vec<_> = ids.iter().flat_map(|line| line.split(' ')).collect();
    assert_eq!(ids, unique_ids[..119]);
    // No line is so long that it is cut off on its way.
    assert!(told.iter().all(|line| of(line).len() < 1000));
    let session = &lines(&daemon, "session ended")[0]["session.id"];
    for line in &told {
        assert_eq!((&line["user"], &line["session.id"]), (&ADA.into(), session));
    }
}

#[test]
fn keys_and_passwords_are_not_in_the_log_at_any_level() {
    let place = sqlite();
    let ada = fill(&place.url, ADA, &[message(1, 2000)]);
    let bob = fill(&place.url, BOB, &[message(2, 2000)]);
    let certificate = certificate_file(place.folder.path());
    let settings = [
        ("Log__Level", "trace"),
        ("Pop3__CertificatePath", certificate.to_str().unwrap()),
    ];
    let daemon = Daemon::start_with(&place.url, &settings);
    let mut secrets = vec![ada.clone(), bob.clone()];
    for number in 0..20 {
        for (user, key) in [(ADA, &ada), (BOB, &bob)] {
            let mut client = daemon.login(user, key);
            client.body("RETR 1");
            client.ok("QUIT");
        }
        let wrong = format!("hunter2 {number} secret");
        let mut client = daemon.connect();
        client.ok(&format!("USER {ADA}"));
        client.command(&format!("PASS {wrong}"));
        client.command(&format!("AUTH PLAIN AGFkYQBodW50ZXIy{number}"));
        // A key where a name belongs, a line that is none, and one that is too long.
        client.command(&format!("USER {ada}"));
        client.command(&format!("PASS {wrong}"));
        client.command(&format!("USER {ADA}"));
        client.command(&format!("XPASS {wrong}"));
        client.command(&format!("PASS {}", wrong.repeat(30)));
        client.command("QUIT");
        secrets.push(wrong);
    }
    // The secret part alone, too.
    let parts: Vec<_> = [&ada, &bob].map(|key| key[17..].to_owned()).into();
    secrets.extend(parts);
    secrets.extend(["AGFkYQBodW50ZXIy", "hunter2"].map(str::to_owned));
    // Who speaks no TLS after STLS may have sent a key instead.
    let mut client = daemon.connect();
    client.ok("STLS");
    client.send(&format!("PASS {ada}"));
    client.read_to_end();
    daemon.wait_for_log("ending=\"TLS handshake failed\"");
    let log = daemon.log();
    assert!(log.contains("tls_failure=\"not_tls\"") && log.contains("login refused"));
    for secret in secrets {
        let told = log.lines().find(|line| line.contains(&secret));
        assert_eq!(told, None, "{secret}");
    }
}
