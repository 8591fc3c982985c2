//! The dashboard and the alerts in `packaging/monitoring` ask for what there is.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Watched;
use super::metrics::series;
use crate::served::certificate_file;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;

/// What is said where there is no Prometheus.
const SKIPPED: &str = "check of the alert rules skipped: no promtool (install prometheus)\n";

/// There is no series of these before something has gone wrong.
const UNTIL_NEEDED: [&str; 1] = ["restante_actor_restarts_total"];

fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/monitoring");
    folder.join(name)
}

/// The metrics of ours that are named in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("pop3_") || word.starts_with("restante_"));
    ours.map(str::to_owned).collect()
}

/// All strings of a document that are queries.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text) if name == "expr" || name == "query" => found.push(text.to_owned()),
                    Some(_) | None => queries(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_metric_that_is_watched_exists() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 200)]);
    let certificate = certificate_file(place.folder.path());
    let settings = [("Pop3__CertificatePath", certificate.to_str().unwrap())];
    let watched = Watched::start(&place.url, &settings);
    let mut client = watched.daemon.login(ADA, &key);
    client.body("RETR 1");
    client.ok("DELE 1");
    client.ok("QUIT");
    let there: BTreeSet<String> = series(&watched.admin)
        .into_keys()
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect();
    let rules = std::fs::read_to_string(file("restante.rules.yml")).unwrap();
    let dashboard = std::fs::read_to_string(file("grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() > 15, "{asked:?}");
    let mut watched_for = named(&asked.join(" "));
    let rules = rules
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"));
    watched_for.extend(rules.flat_map(named));
    assert!(watched_for.len() > 12, "{watched_for:?}");
    for name in watched_for {
        let known = there.contains(&name) || UNTIL_NEEDED.contains(&name.as_str());
        assert!(known, "{name} is not in {there:?}");
    }
}

#[test]
fn prometheus_takes_the_rules_and_the_configuration() {
    let check = |arguments: [&str; 2], name: &str| {
        Command::new("promtool")
            .args(arguments)
            .arg(file(name))
            .output()
    };
    let Ok(rules) = check(["check", "rules"], "restante.rules.yml") else {
        std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
        return;
    };
    assert!(
        rules.status.success(),
        "{}",
        String::from_utf8_lossy(&rules.stderr)
    );
    let config = check(["check", "config"], "prometheus.yml").unwrap();
    assert!(
        config.status.success(),
        "{}",
        String::from_utf8_lossy(&config.stderr)
    );
}

#[test]
fn prometheus_reads_what_the_server_tells() {
    let place = sqlite();
    fill(&place.url, ADA, &[]);
    let watched = Watched::start(&place.url, &[]);
    let text = watched.admin.get("/metrics").text;
    let mut promtool = Command::new("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped());
    let Ok(mut promtool) = promtool.stdout(std::process::Stdio::piped()).spawn() else {
        std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
        return;
    };
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let outcome = promtool.wait_with_output().unwrap();
    // 1 is what can't be read; 3 is advice on names, which the contract has fixed.
    assert_ne!(
        outcome.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&outcome.stdout)
    );
}
