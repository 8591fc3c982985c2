//! `restante sessions` and `restante health`.

use std::net::TcpListener;

use serde_json::Value;

use super::Watched;
use crate::support::cli::Cli;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;

#[test]
fn sessions_are_listed_and_killed_from_the_command_line() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let watched = Watched::start(&place.url, &[("Admin__Token", "hunter2")]);
    let port = watched.admin.address.port().to_string();
    let run = |words: &str| {
        let cli = Cli::new(&place.url).args(words.split_whitespace());
        cli.env("Admin__Port", &port)
            .env("Admin__Token", "hunter2")
            .run()
    };
    let _stranger = watched.daemon.connect();
    let mut client = watched.daemon.login(ADA, &key);
    let all: Value = serde_json::from_str(&run("sessions --json").ok()).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let hers = run("sessions --user ada@example.com --state transaction --json").ok();
    let hers: Value = serde_json::from_str(&hers).unwrap();
    assert_eq!(hers.as_array().unwrap().len(), 1);
    let id = hers[0]["id"].as_str().unwrap();
    let table = run("sessions").ok();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("ID "), "{table}");
    let row = table.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(row.contains(ADA) && row.contains("TRANSACTION"), "{row}");
    assert!(row.contains(" pop3 "), "{row}");

    assert_eq!(run(&format!("sessions kill {id}")).ok(), "");
    assert_eq!(client.read_to_end(), b"");
    let error = run("sessions kill nobody").failed(1);
    assert_eq!(error, "restante: there is no live session of this name\n");
    let error = run("sessions --state done").failed(1);
    assert!(error.contains("unknown variant"), "{error}");
    let without = Cli::new(&place.url)
        .args(["sessions"])
        .env("Admin__Port", &port)
        .run();
    let error = without.failed(1);
    assert!(
        error.contains("wants its token: set Admin__Token"),
        "{error}"
    );
}

#[test]
fn health_is_told_by_text_and_by_exit_status() {
    let place = sqlite();
    fill(&place.url, ADA, &[]);
    let watched = Watched::start(&place.url, &[]);
    let run = |port: u16, words: &[&str]| {
        let cli = Cli::new(&place.url).args(words);
        cli.env("Admin__Port", &port.to_string()).run()
    };
    let port = watched.admin.address.port();
    let table = run(port, &["health"]).ok();
    for check in ["pop3", "database", "all"] {
        let line = table.lines().find(|line| line.starts_with(check)).unwrap();
        assert!(line.contains("Healthy"), "{table}");
    }
    let report: Value = serde_json::from_str(&run(port, &["health", "--json"]).ok()).unwrap();
    assert_eq!(report["status"], "Healthy");

    drop(watched);
    let error = run(port, &["health"]).failed(1);
    assert!(error.contains("is the server running"), "{error}");
    let error = run(0, &["health"]).failed(1);
    assert!(error.contains("the admin endpoint is off"), "{error}");
    // Another program that listens there is not healthy.
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let other_port = other.local_addr().unwrap().port();
    std::thread::spawn(move || drop(other.accept()));
    run(other_port, &["health"]).failed(1);
}
