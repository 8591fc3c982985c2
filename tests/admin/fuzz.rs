//! The endpoint is asked everything that its own description allows, and what it does not.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Watched;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;

/// What is said where there is no schemathesis.
const SKIPPED: &str =
    "fuzzing of the admin endpoint skipped: no schemathesis (pip install schemathesis)\n";

/// In PATH, or where `.ci/run` puts it.
fn schemathesis() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = [
        root.join("target/schemathesis/bin/schemathesis"),
        "schemathesis".into(),
    ];
    candidates.into_iter().find(|program| {
        let asked = Command::new(program).arg("--version").output();
        asked.is_ok_and(|outcome| outcome.status.success())
    })
}

#[test]
fn the_endpoint_does_what_its_description_says() {
    let Some(schemathesis) = schemathesis() else {
        std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
        return;
    };
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 200)]);
    let watched = Watched::start(&place.url, &[("Admin__Token", "hunter2")]);
    let _client = watched.daemon.login(ADA, &key);
    let url = format!("http://{}/api/openapi.json", watched.admin.address);
    let outcome = Command::new(schemathesis)
        .args(["run", &url, "--header", "Authorization: Bearer hunter2"])
        // A schema can't say what is an address or a duration, so what fits it may be refused.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args([
            "--checks",
            "all",
            "--max-examples",
            "40",
            "--seed",
            "1",
            "--no-color",
        ])
        // The stream has no end, and a client would wait for one.
        .args(["--exclude-path", "/api/events"])
        .args([
            "--request-timeout",
            "20",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        outcome.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
    assert!(!watched.daemon.log().contains("panicked"));
    assert_eq!(watched.admin.get("/livez").status, 200);
}

#[test]
fn every_path_is_described() {
    let place = sqlite();
    let watched = Watched::start(&place.url, &[]);
    let document = watched.admin.json("/api/openapi.json");
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        let real = path.replace("{id}", "1").replace("{address}", "a%40b");
        // TRACE is nobody's method, so the answer names all that there are.
        let refused = watched.admin.ask("TRACE", &real, "");
        refused.problem(405);
        let allowed = refused.header("allow").unwrap().to_lowercase();
        let mut allowed: Vec<_> = allowed.split(", ").filter(|it| *it != "head").collect();
        allowed.sort_unstable();
        let mut described: Vec<_> = operations
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        described.sort_unstable();
        assert_eq!(allowed, described, "{path}");
    }
    let report = &document["components"]["schemas"]["SessionReport"]["properties"];
    for field in [
        "id",
        "user",
        "peer",
        "state",
        "tls",
        "connected_at",
        "messages",
        "deleted",
        "octets_sent",
    ] {
        let described = report[field]["description"].as_str();
        assert!(
            described.is_some_and(|it| !it.is_empty()) || report[field]["$ref"] != Value::Null,
            "{field}"
        );
    }
}
