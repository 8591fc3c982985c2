//! `restante config`: what is in force.

use std::path::Path;

use restante::settings::Config;

use crate::support::cli::Cli;
use crate::support::daemon::Daemon;
use crate::support::place::sqlite;

#[test]
fn the_settings_in_force_are_printed_with_where_each_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.toml");
    std::fs::write(&file, "[Pop3]\nSecurePort = 1995\n").unwrap();
    let printed = Cli::new("postgres://mail:hunter2@db/mail")
        .env("Pop3__SessionTimeout", "00:20:00")
        .env("Admin__Token", "hunter2")
        .args(["config", "--config"])
        .args([&file])
        .run()
        .stdout;
    for (setting, origin) in [
        ("port = 110", "default"),
        (
            "secure_port = 1995",
            &*format!("{}: Pop3.SecurePort", file.display()),
        ),
        (
            "session_timeout = \"20m\"",
            "environment variable Pop3__SessionTimeout",
        ),
        (
            "write_timeout = \"20m\"",
            "environment variable Pop3__SessionTimeout",
        ),
        ("bind_address = \"\"", "default"),
        ("token = \"***\"", "environment variable Admin__Token"),
        (
            "url = \"postgres://mail:***@db/mail\"",
            "environment variable Database__Url",
        ),
    ] {
        let found = printed.lines().any(|line| {
            let (left, right) = line.split_once("  # ").unwrap_or_default();
            (left.trim_end(), right) == (setting, origin)
        });
        assert!(found, "{setting} # {origin}\n{printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn what_is_printed_can_be_given_back_as_a_file() {
    let given = [
        ("Pop3__CertificatePath", "/etc/a.pem,/etc/b.pem"),
        ("Pop3__ServerName", "a\"b\\c"),
        ("Pop3__ProxyNetworks", "192.0.2.0/24,2001:db8::/32"),
        ("Pop3__PlaintextAuth", "never"),
        ("Pop3__AuthMechanisms", ""),
        ("Pop3__ChannelBinding", "offer"),
        ("Lmtp__MaxMessageSize", "1KiB"),
        ("Log__Format", "json"),
    ];
    let mut command = Cli::new("sqlite://a%20b.db").args(["config"]);
    for (name, value) in &given {
        command = command.env(name, value);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.toml");
    std::fs::write(&file, command.run().stdout).unwrap();
    let os = |(name, value): &(&str, &str)| (name.into(), value.into());
    let further = [
        ("Database__Url", "sqlite://a%20b.db"),
        ("Log__Level", "warn"),
    ];
    let expected = Config::load(None, given.iter().chain(&further).map(os)).unwrap();
    let read = Config::load(Some(&file), []).unwrap();
    assert_eq!(read.config, expected.config);
}

#[test]
fn programs_get_the_same_as_json() {
    let printed = Cli::new("sqlite://x.db")
        .env("Pop3__Port", "1110")
        .args(["config", "--json"])
        .run()
        .ok();
    let settings: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let expected = serde_json::json!({
        "value": 1110,
        "origin": "environment variable Pop3__Port",
    });
    assert_eq!(settings["pop3"]["port"], expected);
    assert_eq!(settings["pop3"]["secure_port"]["origin"], "default");
}

#[test]
fn the_file_of_the_debian_package_can_be_used_and_says_where_the_mail_is() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/restante.toml");
    let loaded = Config::load(Some(&file), []).unwrap();
    assert_eq!(
        &*loaded.config.database.url,
        "sqlite:///var/lib/restante/restante.db"
    );
    assert!(loaded.warnings.is_empty());
    // Each example in it is a good value.
    let text = std::fs::read_to_string(&file).unwrap();
    let examples = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => format!("{example}\n"),
        Some(_) | None => format!("{line}\n"),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.toml");
    std::fs::write(&file, examples.collect::<String>()).unwrap();
    let config = Config::load(Some(&file), []).unwrap().config;
    assert_eq!(config.pop3.certificate_path.len(), 1);
}

/// An `appsettings.json` as a .NET service has it.
const APPSETTINGS: &str = r#"{
  // What the services share.
  "Logging": { "LogLevel": { "Default": "Warning", "Microsoft.AspNetCore": "Warning" } },
  "AllowedHosts": "*",
  "ConnectionStrings": { "DefaultConnection": "Host=db;Database=mail;Username=mail;Password=hunter2" },
  "Jwt": { "Key": "hunter2" },
  "Security": { "RateLimit": { "BaseBackoffDelay": "00:00:01", "MaxBackoffDelay": "00:00:30" } },
  "Pop3": { "ServerName": "mail.example.org", "MaxConnectionsPerUser": 7, },
}"#;

#[test]
fn an_appsettings_file_is_taken_as_it_is_and_shown_by_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("appsettings.json");
    std::fs::write(&file, APPSETTINGS).unwrap();
    let run = |words: &[&str]| {
        let mut command = crate::support::cli::restante();
        command.args(words).env("RESTANTE_CONFIG", &file);
        let output = command.output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));
        (stdout, stderr)
    };
    let (printed, told) = run(&["config", "--json"]);
    let settings: serde_json::Value = serde_json::from_str(&printed).unwrap();
    for (section, key, value, name) in [
        ("log", "level", "warn", "Logging.LogLevel.Default"),
        (
            "database",
            "url",
            "postgres://mail:***@db/mail",
            "ConnectionStrings.DefaultConnection",
        ),
        (
            "pop3",
            "auth_failure_delay",
            "1s",
            "Security.RateLimit.BaseBackoffDelay",
        ),
        (
            "pop3",
            "max_auth_failure_delay",
            "30s",
            "Security.RateLimit.MaxBackoffDelay",
        ),
        ("pop3", "server_name", "mail.example.org", "Pop3.ServerName"),
    ] {
        let expected = serde_json::json!({
            "value": value,
            "origin": format!("{}: {name}", file.display()),
        });
        assert_eq!(settings[section][key], expected);
    }
    let none = "AllowedHosts, Jwt.Key, Logging.LogLevel.Microsoft.AspNetCore";
    assert_eq!(
        told,
        format!("restante: settings of the .NET suite without effect here: {none}\n")
    );
    // Other commands do not repeat it.
    let (_, told) = run(&["sessions"]);
    assert!(!told.contains("without effect"), "{told}");
    let (checked, _) = run(&["check"]);
    assert!(checked.contains(none), "{checked}");
    assert!(
        checked.contains("the settings can be used: 6 of "),
        "{checked}"
    );
}

#[test]
fn a_json_file_with_a_mistake_is_refused_with_the_place_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    for (text, words) in [
        (
            "{\n  \"Pop3\": { \"Port\": 110 \"SecurePort\": 0 }\n}",
            "is not valid JSON: line 2, column 24: ",
        ),
        (
            "{ \"Pop3\": { \"MaxConns\": 7 } }",
            "did you mean Pop3.MaxConnections?",
        ),
        (
            "[pop3]\nport = 110\n",
            "is not valid JSON: line 1, column 2: ",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let outcome = Cli::new("sqlite://x.db")
            .args(["config", "--config"])
            .args([&file])
            .run();
        let error = outcome.failed(1);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_the_suite_sets_is_told_once_when_the_server_starts() {
    let place = sqlite();
    let daemon = Daemon::start_with(
        &place.url,
        &[
            ("ASPNETCORE_ENVIRONMENT", "Production"),
            ("Security__AuthenticationSalt", "hunter2"),
            ("Jwt__Key", "hunter2"),
            ("Logging__LogLevel__Default", "Information"),
            ("Smtp__Port", "25"),
        ],
    );
    daemon.connect().ok("QUIT");
    daemon.wait_for_log("session ended");
    daemon.signal("HUP");
    daemon.connect().ok("QUIT");
    let log = daemon.log();
    let names = "ASPNETCORE_ENVIRONMENT, Jwt__Key, Security__AuthenticationSalt, Smtp__Port";
    assert_eq!(log.matches(names).count(), 1, "{log}");
    assert_eq!(log.matches("without effect here").count(), 1, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}
