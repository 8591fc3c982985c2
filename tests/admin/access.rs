//! Who may ask, and what they are told when they ask wrongly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::Watched;
use crate::support::DEADLINE;
use crate::support::cli::Cli;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;
use crate::support::postgres::free_port;

#[test]
fn without_a_token_the_endpoint_is_for_this_machine_alone() {
    let place = sqlite();
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        let outcome = Cli::new(&place.url)
            .args(["serve"])
            .env("Pop3__Port", &free_port().to_string())
            .env("Pop3__SecurePort", "0")
            .env("Admin__BindAddress", address)
            .run();
        let error = outcome.failed(1);
        assert!(
            error.contains("set Admin__Token, or Admin__BindAddress=127.0.0.1"),
            "{error}"
        );
    }
}

#[test]
fn a_token_file_without_a_token_is_refused() {
    let place = sqlite();
    let file = place.folder.path().join("token");
    let path = file.to_str().unwrap();
    let serve = |settings: &[(&str, &str)]| {
        let mut cli = Cli::new(&place.url).args(["serve"]).env("Pop3__Port", "0");
        for (name, value) in settings {
            cli = cli.env(name, value);
        }
        cli.env("Pop3__Port", &free_port().to_string())
            .env("Pop3__SecurePort", "0")
            .run()
            .failed(1)
    };
    let missing = serve(&[("Admin__TokenPath", path)]);
    assert!(
        missing.contains(path) && missing.contains("Admin__TokenPath"),
        "{missing}"
    );
    std::fs::write(&file, " \n").unwrap();
    let empty = serve(&[("Admin__TokenPath", path)]);
    assert!(empty.contains("there is no token in"), "{empty}");
    let both = serve(&[("Admin__TokenPath", path), ("Admin__Token", "hunter2")]);
    assert!(
        both.contains("keep one of them") && !both.contains("hunter2"),
        "{both}"
    );
}

#[test]
fn a_token_opens_everything_and_the_probes_need_none() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    let file = place.folder.path().join("token");
    std::fs::write(&file, "correct horse\n").unwrap();
    let settings = [
        ("Admin__TokenPath", file.to_str().unwrap()),
        ("Admin__BindAddress", "0.0.0.0"),
        ("Log__Level", "trace"),
    ];
    let watched = Watched::start(&place.url, &settings);
    let admin = &watched.admin;
    for path in ["/", "/healthz", "/livez", "/readyz"] {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
    let shown = admin.with("Authorization", "Bearer correct horse");
    for path in [
        "/metrics",
        "/api/sessions",
        "/api/users",
        "/api/overview",
        "/api/openapi.json",
    ] {
        for refused in [
            admin.get(path),
            admin.with("Authorization", "Bearer correct").get(path),
        ] {
            refused.problem(401);
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(shown.get(path).status, 200, "{path}");
        // A name that somebody else has made point here is of no use without the token.
        assert_eq!(
            shown.with("Host", "pop.example.org").get(path).status,
            200,
            "{path}"
        );
    }
    admin
        .ask("DELETE", "/api/users/ada@example.com", "")
        .problem(401);
    admin.get("/nowhere").problem(401);
    shown.get("/nowhere").problem(404);
    assert!(!watched.daemon.log().contains("horse"));
}

#[test]
fn a_page_of_a_stranger_can_do_nothing() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    let watched = Watched::start(&place.url, &[]);
    let admin = &watched.admin;
    let port = admin.address.port();
    // Another host name that points here.
    for host in ["evil.example".to_owned(), format!("evil.example:{port}")] {
        for path in ["/", "/healthz", "/metrics", "/api/sessions", "/api/events"] {
            admin.with("Host", &host).get(path).problem(403);
        }
    }
    let change = json!({"disabled": true});
    let user = "/api/users/ada@example.com";
    for (name, value) in [
        ("Origin", "http://evil.example".to_owned()),
        ("Origin", "null".to_owned()),
        ("Origin", format!("http://localhost:{port}")),
        ("Sec-Fetch-Site", "cross-site".to_owned()),
        ("Sec-Fetch-Site", "same-site".to_owned()),
    ] {
        let stranger = admin.with(name, &value);
        stranger.ask("DELETE", user, "").problem(403);
        stranger.send("PATCH", user, &change).problem(403);
        stranger
            .send("POST", "/api/users", &json!({"address": "eve@example.com"}))
            .problem(403);
    }
    admin
        .with("Sec-Fetch-Site", "cross-site")
        .get("/api/events")
        .problem(403);
    // A form can be sent to anybody, but not as JSON.
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let form = admin.with("Content-Type", kind);
        form.ask("POST", "/api/users", r#"{"address": "eve@example.com"}"#)
            .problem(415);
    }
    let users = admin.json("/api/users");
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
    assert_eq!(users["users"][0]["disabled"], false);
    for path in ["/", "/api/sessions", "/nowhere", "/healthz"] {
        let answer = admin.with("Origin", "http://evil.example").get(path);
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    let own = admin.with("Origin", &format!("http://127.0.0.1:{port}"));
    let own = own.with("Sec-Fetch-Site", "same-origin");
    assert_eq!(own.send("PATCH", user, &change).status, 204);
}

#[test]
fn what_is_asked_wrongly_is_refused_with_a_problem() {
    let place = sqlite();
    let watched = Watched::start(&place.url, &[]);
    let admin = &watched.admin;
    for path in [
        "/nowhere",
        "/api",
        "/api/sessions/",
        "/API/sessions",
        "/api/keys/1/2",
    ] {
        admin.get(path).problem(404);
    }
    for (method, path, allowed) in [
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/api/sessions", "GET, HEAD, DELETE"),
        ("GET", "/api/users/a", "PATCH, DELETE"),
        ("GET", "/api/keys/1", "DELETE"),
        ("OPTIONS", "/api/users", "GET, HEAD, POST"),
        ("BREW", "/metrics", "GET, HEAD"),
    ] {
        let answer = admin.ask(method, path, "");
        answer.problem(405);
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
    let json = admin.with("Content-Type", "application/json");
    for body in [
        "{",
        "[]",
        "{}",
        r#"{"address": 1}"#,
        r#"{"address": "a@b", "admin": true}"#,
    ] {
        json.ask("POST", "/api/users", body).problem(400);
    }
    let long = json!({"address": "a".repeat(20_000)});
    admin.send("POST", "/api/users", &long).problem(413);
    let mut promised = TcpStream::connect(admin.address).unwrap();
    promised.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "POST /api/users HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 20\r\n\r\n{{",
        admin.address
    );
    promised.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    promised.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(admin.ask("HEAD", "/healthz", "").status, 200);
}

#[test]
fn a_server_that_nobody_has_given_a_port_does_without_where_another_has_the_usual_one() {
    // It may be taken already, which is as good.
    let _taken = TcpListener::bind(("127.0.0.1", 8110));
    let place = sqlite();
    let key = fill(&place.url, ADA, &[]);
    let daemon = Daemon::start_with(&place.url, &[("Admin__Port", "8110")]);
    daemon.wait_for_log("no admin endpoint: cannot listen on 127.0.0.1:8110");
    daemon.login(ADA, &key).ok("QUIT");
}
