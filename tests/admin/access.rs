//! Who may ask, and what they are told when they ask wrongly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use super::{TOKEN, Watched};
use crate::support::DEADLINE;
use crate::support::cli::Cli;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;

/// A server whose token nobody has set, on this address.
fn unset(place: &Place, address: &str, settings: &[(&str, &str)]) -> (Daemon, Http) {
    let port = free_port();
    let port_text = port.to_string();
    let mut all = vec![
        ("Admin__BindAddress", address),
        ("Admin__Port", &*port_text),
    ];
    all.extend(settings);
    let daemon = Daemon::start_with(&place.url, &all);
    (daemon, Http::new(SocketAddr::from(([127, 0, 0, 1], port))))
}

#[test]
fn a_token_that_nobody_has_set_is_made_for_the_server_s_user_and_read_by_the_commands() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 100)]);
        let state = place.folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let variables = [("STATE_DIRECTORY", state.to_str().unwrap())];
        let (daemon, admin) = unset(place, "127.0.0.1", &variables);
        let file = match place.url.strip_prefix("sqlite://") {
            Some(database) => format!("{database}-admin-token").into(),
            None => state.join("admin-token"),
        };
        daemon.wait_for_log(&format!("token_file={}", file.display()));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let token = std::fs::read_to_string(&file).unwrap().trim().to_owned();

        // Other users of this machine see how the server is and what it counts, and no more.
        for path in ["/", "/healthz", "/livez", "/readyz", "/metrics"] {
            assert_eq!(admin.get(path).status, 200, "{path}");
        }
        for path in [
            "/api/sessions",
            "/api/users",
            "/api/overview",
            "/api/openapi.json",
        ] {
            admin.get(path).problem(401);
        }
        let keys = "/api/users/ada@example.com/keys";
        admin
            .send("POST", keys, &json!({"name": "theirs"}))
            .problem(401);
        let shown = admin.with("Authorization", &format!("Bearer {token}"));
        assert_eq!(
            shown.send("POST", keys, &json!({"name": "ours"})).status,
            201
        );

        let mut client = daemon.login(ADA, &key);
        let command = |words: &str| {
            Cli::new(&place.url)
                .args(words.split_whitespace())
                .env("Admin__Port", &admin.address.port().to_string())
                .env("STATE_DIRECTORY", variables[0].1)
                .run()
                .ok()
        };
        assert!(command("health").contains("Healthy"));
        let sessions: Value = serde_json::from_str(&command("sessions --json")).unwrap();
        let id = sessions[0]["id"].as_str().unwrap().to_owned();
        command(&format!("sessions kill {id}"));
        assert_eq!(client.read_to_end(), b"");
        assert!(!daemon.log().contains(&token), "a secret is in no log");

        // It is the same after a restart.
        drop(daemon);
        let (_daemon, admin) = unset(place, "127.0.0.1", &variables);
        let shown = admin.with("Authorization", &format!("Bearer {token}"));
        assert_eq!(shown.get("/api/sessions").status, 200);
    });
}

#[test]
fn a_token_that_nobody_has_set_is_asked_for_everywhere_but_on_loopback() {
    let place = sqlite();
    let (_daemon, admin) = unset(&place, "0.0.0.0", &[]);
    let admin = admin.with("Host", "pop.example.org");
    assert_eq!(admin.get("/healthz").status, 200);
    for path in ["/metrics", "/api/users"] {
        admin.get(path).problem(401);
    }
}

#[test]
fn a_command_whose_user_may_not_read_the_token_says_where_it_is() {
    let place = sqlite();
    let nobody = "nobody";
    let (_daemon, admin) = unset(&place, "127.0.0.1", &[]);
    if !rustix::process::geteuid().is_root() {
        return; // Whom could it be kept from?
    }
    // The folder can be passed through, as that of a service may be.
    for folder in [place.folder.path(), &place.folder.path().join("mail")] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    let program = place.folder.path().join("restante");
    std::fs::copy(env!("CARGO_BIN_EXE_restante"), &program).unwrap();
    let outcome = Command::new("runuser")
        .args(["-u", nobody, "--"])
        .arg(&program)
        .arg("sessions")
        .env("Database__Url", &place.url)
        .env("Admin__Port", admin.address.port().to_string())
        .output()
        .unwrap();
    let error = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{error}");
    let told = "restante.db-admin-token, which this user may not read";
    assert!(error.contains(told), "{error}");
}

#[test]
fn each_change_is_a_line_of_the_log_with_who_has_changed_what_and_whose() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let watched = Watched::start(&place.url, &[]);
    let admin = &watched.admin;
    let bob = json!({"address": "bob@example.com"});
    assert_eq!(admin.send("POST", "/api/users", &bob).status, 201);
    let user = "/api/users/bob@example.com";
    let change = json!({"disabled": true, "quota": {"octets": 5}});
    assert_eq!(admin.send("PATCH", user, &change).status, 204);
    let made = admin.send("POST", &format!("{user}/keys"), &json!({"name": "phone"}));
    let id = made.json()["id"].as_i64().unwrap();
    assert_eq!(
        admin.ask("DELETE", &format!("/api/keys/{id}"), "").status,
        204
    );
    assert_eq!(admin.ask("DELETE", user, "").status, 204);
    let _client = watched.daemon.login(ADA, &key);
    let sessions = admin.json("/api/sessions");
    let session = sessions["sessions"][0]["id"].as_str().unwrap();
    let path = format!("/api/sessions/{session}");
    assert_eq!(admin.ask("DELETE", &path, "").status, 204);
    // Nothing has changed by these.
    admin.ask("DELETE", user, "").problem(404);
    admin
        .send("POST", "/api/users", &json!({"address": "x"}))
        .problem(400);
    let stranger = Http::new(admin.address);
    stranger
        .ask("DELETE", "/api/users/ada@example.com", "")
        .problem(401);
    admin.get("/api/users");

    let log = watched.daemon.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("changed through"))
        .collect();
    let expected = [
        ("user added", "bob@example.com"),
        ("quota set, user disabled", "bob@example.com"),
        (&*format!("key {id} made: phone"), "bob@example.com"),
        ("key revoked", &*format!("key {id}")),
        ("user removed", "bob@example.com"),
        (&*format!("session {session} ended"), ADA),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (what, whom)) in lines.iter().zip(expected) {
        assert!(
            line.contains("by=\"the token that is set\" peer=127.0.0.1:"),
            "{line}"
        );
        assert!(
            line.contains(&format!("what=\"{what}\" whom=\"{whom}\"")),
            "{line}"
        );
    }
    let key = made.json()["key"].as_str().unwrap().to_owned();
    assert!(!log.contains(&key));
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
    let (_daemon, admin) = unset(&place, "127.0.0.1", &[]);
    let file = format!(
        "{}-admin-token",
        place.url.strip_prefix("sqlite://").unwrap()
    );
    let token = std::fs::read_to_string(file).unwrap();
    let admin = &admin.with("Authorization", &format!("Bearer {}", token.trim()));
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
         Authorization: Bearer {TOKEN}\r\nContent-Length: 20\r\n\r\n{{",
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
