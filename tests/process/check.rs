//! `restante check`: what would keep the server from working, and the fix.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::served::certificate_file;
use crate::support::cli::{self, Cli, Outcome};
use crate::support::daemon::Daemon;
use crate::support::place::{Kind, on_each_blocking, sqlite};
use crate::support::postgres::free_port;

/// A check of a server that could start, but for these settings.
fn check(url: &str, settings: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let Outcome { code, stdout, .. } = checked(url, &["check", "--json"], settings);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    (code, report["findings"].as_array().unwrap().clone())
}

fn checked(url: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Outcome {
    let ports = [free_port(), free_port()].map(|port| port.to_string());
    let mut command = Cli::new(url)
        .args(arguments)
        .env("Pop3__BindAddress", "127.0.0.1")
        .env("Pop3__Port", &ports[0])
        .env("Pop3__SecurePort", "0")
        .env("Pop3__MaxConnections", "100")
        .env("Admin__Port", &ports[1]);
    for (name, value) in settings {
        command = command.env(name, value);
    }
    command.run()
}

/// Does one of the findings of this level have these words in it, and a fix if it needs one?
fn tells(findings: &[Value], level: &str, words: &str) -> bool {
    findings.iter().any(|finding| {
        let message = finding["message"].as_str().unwrap();
        let has_fix = finding["fix"].is_string();
        finding["level"] == level && message.contains(words) && has_fix == (level != "ok")
    })
}

#[test]
fn a_server_that_could_start_has_no_problems() {
    on_each_blocking(|place| {
        if place.kind == Kind::Postgres {
            let (code, findings) = check(&place.url, &[]);
            assert_eq!(code, Some(0), "{findings:#?}");
            assert!(
                tells(&findings, "warning", "changes of its schema"),
                "{findings:#?}"
            );
        }
        cli::run(&place.url, "migrate").ok();
        let (code, findings) = check(&place.url, &[]);
        assert_eq!(code, Some(0), "{findings:#?}");
        for words in ["is free", "is up to date", "open files: "] {
            assert!(tells(&findings, "ok", words), "{words}: {findings:#?}");
        }
        assert!(
            findings.iter().all(|it| it["level"] != "problem"),
            "{findings:#?}"
        );
        let text = checked(&place.url, &["check"], &[]).stdout;
        assert!(text.contains("\nok       POP3: port "), "{text}");
        assert!(text.contains("\n0 problems, "), "{text}");
    });
}

#[test]
fn a_check_makes_no_database() {
    let place = sqlite();
    let (code, findings) = check(&place.url, &[]);
    assert_eq!(code, Some(0));
    assert!(
        tells(&findings, "ok", "will be made at the first start"),
        "{findings:#?}"
    );
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_check_migrates_nothing() {
    let place = sqlite();
    let file = place.folder.path().join("old.db");
    std::fs::write(&file, "").unwrap();
    let url = format!("sqlite://{}", file.display());
    let (code, findings) = check(&url, &[]);
    assert_eq!(code, Some(0));
    assert!(
        tells(&findings, "ok", "is empty; its tables will be made"),
        "{findings:#?}"
    );
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
    assert_ne!(cli::run(&url, "migrate").ok().get(..2), Some("0 "));
}

#[test]
fn what_would_keep_the_server_from_starting_is_a_problem() {
    let place = sqlite();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let missing = place.folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    for (setting, value, words) in [
        ("Pop3__Port", "eleven", "is not a whole number"),
        ("Pop3__Port", &*taken, "another program listens there"),
        ("Pop3__Port", "0", "nothing to listen on"),
        (
            "Pop3__BindAddress",
            "192.0.2.1",
            "this machine has no such address",
        ),
        ("Pop3__CertificatePath", missing, missing),
        ("Admin__Port", &*taken, "the admin endpoint can't listen"),
        ("Admin__TokenPath", missing, "Admin__TokenPath"),
        (
            "Lmtp__SocketPath",
            "/missing/lmtp.sock",
            "the folder of the socket",
        ),
        ("Log__Level", "loud", "is not possible"),
        ("Otel__Endpoint", "collector:4318", "is no URL"),
        (
            "Database__Url",
            "sqlite:///dev/null/restante.db",
            "can't be made",
        ),
        (
            "Database__Url",
            "postgres://u:hunter2@127.0.0.1:1/x",
            "can't be opened",
        ),
    ] {
        let (code, findings) = check(&place.url, &[(setting, value)]);
        assert_eq!(code, Some(1), "{setting}: {findings:#?}");
        assert!(
            tells(&findings, "problem", words),
            "{setting}: {findings:#?}"
        );
        assert!(!format!("{findings:?}").contains("hunter2"));
    }
    let (code, findings) = check(&place.url, &[("Pop3__MaxConnections", "4000000000")]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(
        tells(&findings, "warning", "may need 4000000100"),
        "{findings:#?}"
    );
    let strangers = [
        ("Pop3__RequireAuthentication", "false"),
        ("Pop3__BindAddress", ""),
    ];
    let (_, findings) = check(&place.url, &strangers);
    assert!(
        tells(&findings, "problem", "opens every maildrop"),
        "{findings:#?}"
    );
}

#[test]
fn what_keeps_clients_from_logging_in_is_told() {
    let place = sqlite();
    let certificate = certificate_file(place.folder.path());
    let certificate = ("Pop3__CertificatePath", certificate.to_str().unwrap());
    let offer = ("Pop3__ChannelBinding", "offer");
    let (code, findings) = check(&place.url, &[certificate, offer]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(
        tells(&findings, "warning", "are locked out: mutt and NeoMutt"),
        "{findings:#?}"
    );
    let (_, findings) = check(&place.url, &[offer]);
    assert!(
        tells(&findings, "warning", "offer does nothing"),
        "{findings:#?}"
    );
    let (_, findings) = check(&place.url, &[certificate]);
    let binding = |finding: &Value| finding.to_string().contains("SCRAM");
    assert!(!findings.iter().any(binding), "{findings:#?}");
}

#[test]
fn a_certificate_is_told_with_its_days() {
    let place = sqlite();
    let file = place.folder.path().join("certificate.pem");
    let certificate = |name: &str, days: u64, mode: u32| {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        // Half a day more, so that it is so many days when it is looked at.
        let half_days = Duration::from_secs(days * 24 * 3600 + 12 * 3600);
        params.not_before = (SystemTime::UNIX_EPOCH + Duration::from_secs(1)).into();
        params.not_after = (SystemTime::now() - Duration::from_secs(24 * 3600) + half_days).into();
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        std::fs::write(&file, pem).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        check(
            &place.url,
            &[("Pop3__CertificatePath", file.to_str().unwrap())],
        )
    };
    let (code, findings) = certificate("localhost", 91, 0o640);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(
        tells(&findings, "ok", "is valid for 90 days, until "),
        "{findings:#?}"
    );
    assert!(
        findings
            .iter()
            .all(|it| it["about"] != "certificate" || it["level"] == "ok")
    );
    let (code, findings) = certificate("*.example.org", 6, 0o644);
    assert_eq!(code, Some(0), "{findings:#?}");
    for words in [
        "is valid for 5 days",
        "no certificate is for localhost, only for: *.example.org",
        "every user of this machine may read the private key",
    ] {
        assert!(tells(&findings, "warning", words), "{words}: {findings:#?}");
    }
    let (code, findings) = certificate("localhost", 0, 0o640);
    assert_eq!(code, Some(1), "{findings:#?}");
    assert!(
        tells(&findings, "problem", "has expired on "),
        "{findings:#?}"
    );
}

#[test]
fn in_a_folder_it_is_the_files_of_keys_that_nobody_else_may_read() {
    let place = sqlite();
    let folder = place.folder.path().join("certificates");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = folder.join("privkey.pem");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let may_read = |mode: u32| {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let folder = [("Pop3__CertificatePath", folder.to_str().unwrap())];
        let (code, findings) = check(&place.url, &folder);
        assert_eq!(code, Some(0), "{findings:#?}");
        tells(&findings, "warning", "every user of this machine may read")
    };
    assert!(may_read(0o644));
    assert!(!may_read(0o640));
}

#[test]
fn a_collector_is_told_with_how_it_is_spoken_to() {
    let place = sqlite();
    for (url, how) in [("http://otel:4317", "gRPC"), ("http://otel:4318", "HTTP")] {
        let (code, findings) = check(&place.url, &[("Otel__Endpoint", url)]);
        assert_eq!(code, Some(0), "{findings:#?}");
        let words = format!("OTLP over {how}");
        assert!(tells(&findings, "ok", &words), "{findings:#?}");
    }
}

#[test]
fn a_database_that_can_not_be_written_to_is_a_problem() {
    let place = sqlite();
    cli::run(&place.url, "migrate").ok();
    let folder = place.folder.path().join("mail");
    let file = folder.join("restante.db");
    let make = |mode: u32| {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode & 0o666)).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
    };
    make(0o555);
    let may_write = std::fs::OpenOptions::new().write(true).open(&file).is_ok();
    let (code, findings) = check(&place.url, &[]);
    make(0o755);
    if may_write {
        eprintln!("skipped: permissions do not keep this user from writing");
        return;
    }
    assert_eq!(code, Some(1), "{findings:#?}");
    assert!(tells(&findings, "problem", "readonly"), "{findings:#?}");
}

#[test]
fn a_server_that_runs_already_is_no_problem() {
    let place = sqlite();
    let daemon = Daemon::start(&place.url);
    let port = daemon.address.port().to_string();
    let (code, findings) = check(&place.url, &[("Pop3__Port", &port)]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(
        tells(&findings, "ok", "in use by a running restante"),
        "{findings:#?}"
    );
    let another = [
        ("Pop3__Port", &*port),
        ("Pop3__ServerName", "another.example.org"),
    ];
    let (code, findings) = check(&place.url, &another);
    assert_eq!(code, Some(1), "{findings:#?}");
}

#[test]
fn a_server_behind_a_proxy_of_this_machine_is_known_by_its_admin_endpoint() {
    let place = sqlite();
    let admin = free_port().to_string();
    let proxies = ("Pop3__ProxyNetworks", "127.0.0.0/8");
    let settings = [proxies, ("Admin__Port", &*admin)];
    let daemon = Daemon::start_with(&place.url, &settings);
    let port = daemon.address.port().to_string();
    let running = [proxies, ("Pop3__Port", &*port), ("Admin__Port", &*admin)];
    let (code, findings) = check(&place.url, &running);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(
        tells(&findings, "ok", "in use by a running restante"),
        "{findings:#?}"
    );
    let unknown = [proxies, ("Pop3__Port", &*port), ("Admin__Port", "0")];
    let (code, findings) = check(&place.url, &unknown);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(
        tells(&findings, "warning", "in use by an unknown program"),
        "{findings:#?}"
    );
}
