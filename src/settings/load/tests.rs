use std::fs;
use std::time::Duration;

use super::*;
use crate::settings::{ExpireAfter, PlaintextAuth};

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let os = |(name, text): &(&str, &str)| (name.into(), text.into());
    pairs.iter().map(os).collect()
}

fn loaded(pairs: &[(&str, &str)]) -> Loaded {
    load(None, variables(pairs)).unwrap()
}

fn error(name: &str, text: &str) -> String {
    let error = load(None, variables(&[(name, text)])).unwrap_err();
    error.to_string()
}

#[test]
fn without_a_file_and_variables_the_defaults_are_in_force() {
    let loaded = loaded(&[("PATH", "/bin"), ("HOME", "/root")]);
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty() && loaded.origins.is_empty());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.toml");
    fs::write(&file, "[Pop3]\nPort = 1110\nSecurePort = 1995\n").unwrap();
    let loaded = load(Some(&file), variables(&[("POP3__PORT", "2110")])).unwrap();

    let pop3 = &loaded.config.pop3;
    assert_eq!((pop3.port, pop3.secure_port), (2110, 1995));
    assert_eq!(pop3.max_connections_per_user, 5);
    let origins: Vec<_> = loaded.origins.into_iter().collect();
    let secure_port = format!("{}: Pop3.SecurePort", file.display());
    let expected = [
        ("pop3.port", "environment variable POP3__PORT"),
        ("pop3.secure_port", &secure_port),
    ];
    assert_eq!(
        origins,
        expected.map(|(path, origin)| (path.to_owned(), origin.to_owned()))
    );
}

#[test]
fn every_kind_of_value_arrives() {
    let config = loaded(&[
        ("Pop3__BindAddress", "::1"),
        ("Pop3__RequireAuthentication", "False"),
        ("Pop3__CertificatePath", "/etc/cert.pem"),
        ("Pop3__CertificatePassword", " hunter2 "),
        ("Pop3__SessionTimeout", "00:20:00"),
        ("Pop3__ExpireAfter", "30d"),
        ("Pop3__PlaintextAuth", "Never"),
        ("Lmtp__MaxMessageSize", "1 KiB"),
        ("Database__Url", "postgres://db/relate"),
        ("Database__MinFreeSpace", "1GiB"),
    ])
    .config;
    let pop3 = &config.pop3;
    assert_eq!(pop3.bind_address, "::1".parse().ok());
    assert!(!pop3.require_authentication);
    assert_eq!(pop3.certificate_path, [Path::new("/etc/cert.pem")]);
    let password = pop3.certificate_password.as_ref().unwrap();
    assert_eq!(password.expose(), " hunter2 ");
    assert_eq!(pop3.session_timeout, Duration::from_secs(1200));
    let month = Duration::from_secs(30 * 86_400);
    assert_eq!(pop3.expire_after, ExpireAfter::After(month));
    assert_eq!(pop3.plaintext_auth, PlaintextAuth::Never);
    assert_eq!(config.lmtp.max_message_size, 1024);
    assert_eq!(&*config.database.url, "postgres://db/relate");
    assert_eq!(config.database.min_free_space, Some(1 << 30));
}

#[test]
fn an_empty_variable_undoes_what_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restante.toml");
    fs::write(&file, "[pop3]\nbind_address = \"::1\"\n").unwrap();
    let loaded = load(Some(&file), variables(&[("Pop3__BindAddress", "")])).unwrap();
    assert_eq!(loaded.config.pop3.bind_address, None);
}

#[test]
fn a_wrong_value_is_explained() {
    for (name, text, reason) in [
        (
            "Pop3__Port",
            "eleven",
            "\"eleven\" is not a whole number from 0 to 65535",
        ),
        (
            "Pop3__Port",
            "true",
            "\"true\" is not a whole number from 0 to 65535",
        ),
        (
            "POP3__BIND_ADDRESS",
            "localhost",
            "\"localhost\" is not an IP address such as 127.0.0.1 or ::1",
        ),
        (
            "Pop3__PlaintextAuth",
            "sometimes",
            "\"sometimes\" is not one of never, loopback and always, \
             and no list of networks such as 192.0.2.0/24, 2001:db8::/32",
        ),
        (
            "Pop3__AuthMechanisms",
            "PLAIN,CRAM-MD5",
            "\"CRAM-MD5\" is no mechanism of AUTH; choose from SCRAM-SHA-256-PLUS, \
             SCRAM-SHA-256, EXTERNAL, PLAIN, LOGIN, or write all",
        ),
        (
            "Pop3__SessionTimeout",
            "soon",
            "\"soon\" is not a duration; write 10m, 90s, 1h30m, 1d, 500ms, 00:10:00 \
             or a number of seconds, up to 36500d",
        ),
        (
            "Lmtp__MaxMessageSize",
            "big",
            "\"big\" is not a size; write a number of octets, \
             or a number with B, kB, MB, GB, KiB, MiB or GiB",
        ),
    ] {
        let expected = format!("environment variable {name}: {reason}");
        assert_eq!(error(name, text), expected);
    }
    let error = load_text("[Pop3]\nPort = 1.5\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "restante.toml: Pop3.Port: \"1.5\" is not a whole number from 0 to 65535"
    );
}

#[test]
fn a_value_that_the_server_cannot_work_with_is_refused() {
    for (name, text) in [
        ("Pop3__ServerName", ""),
        ("Pop3__ServerName", "two words"),
        ("Pop3__ServerName", "a\r\nb"),
        ("Pop3__ServerName", "caf\u{e9}.example.org"),
        ("Pop3__ServerName", "<1896.697170952@mail.example.org>"),
        ("Pop3__ServerName", "mail.example.org<1@x>"),
        ("Pop3__ServerName", "<"),
        ("Pop3__ServerName", "[192.0.2.1]"),
        ("Pop3__ServerName", "[AUTH]mail.example.org"),
        ("Pop3__MaxConnectionsPerUser", "0"),
        ("Pop3__SessionTimeout", "0s"),
        ("Pop3__ExpireAfter", "0"),
        ("Database__Url", ""),
        ("Database__Url", "mysql://db/relate"),
        ("Lmtp__MaxMessageSize", "0"),
        ("Lmtp__SessionTimeout", "0"),
        ("Log__Level", " "),
    ] {
        let error = error(name, text);
        let origin = format!("environment variable {name}: ");
        assert!(error.starts_with(&origin), "{error}");
    }
    let allowed = loaded(&[
        ("Pop3__ServerName", "192.0.2.1"),
        ("Pop3__ShutdownTimeout", "0"),
        ("Pop3__MaxMessagesPerSession", "0"),
        ("Pop3__Port", "0"),
        ("Pop3__MaxConnectionsPerUser", "1"),
        ("Pop3__SessionTimeout", "1ms"),
    ]);
    assert_eq!(allowed.config.pop3.shutdown_timeout, Duration::ZERO);
}

#[test]
fn a_server_name_fits_into_the_greeting_and_with_lmtp_into_a_domain() {
    let name = |octets: usize| "x".repeat(octets);
    loaded(&[("Pop3__ServerName", &name(488))]);
    let error = |settings: &[(&str, &str)]| {
        let error = load(None, variables(settings)).unwrap_err();
        error.to_string()
    };
    let too_long = error(&[("Pop3__ServerName", &name(489))]);
    assert!(too_long.contains("more than 512 octets"), "{too_long}");
    for lmtp in [("Lmtp__Port", "24"), ("Lmtp__SocketPath", "/run/lmtp.sock")] {
        loaded(&[lmtp, ("Pop3__ServerName", &name(255))]);
        let too_long = error(&[lmtp, ("Pop3__ServerName", &name(256))]);
        assert!(too_long.contains("at most 255 octets"), "{too_long}");
    }
}

#[test]
fn the_write_timeout_is_the_session_timeout_unless_it_is_set() {
    let timeouts = |settings: &[(&str, &str)]| {
        let pop3 = loaded(settings).config.pop3;
        [pop3.session_timeout, pop3.write_timeout].map(|timeout| timeout.as_secs())
    };
    let (session, write) = (
        ("Pop3__SessionTimeout", "20m"),
        ("Pop3__WriteTimeout", "90s"),
    );
    assert_eq!(timeouts(&[]), [600, 600]);
    assert_eq!(timeouts(&[session]), [1200, 1200]);
    assert_eq!(timeouts(&[write]), [600, 90]);
    assert_eq!(timeouts(&[session, write]), [1200, 90]);
    assert_eq!(timeouts(&[("Pop3__WriteTimeout", "")]), [600, 600]);
    assert_eq!(
        timeouts(&[session, ("Pop3__WriteTimeout", " ")]),
        [1200, 1200]
    );
    let origins = loaded(&[session]).origins;
    assert_eq!(
        origins["pop3.write_timeout"],
        "environment variable Pop3__SessionTimeout"
    );
    assert_eq!(
        error("Pop3__WriteTimeout", "0"),
        "environment variable Pop3__WriteTimeout: \
         0 would let no client read a message; give a time such as 10m"
    );
}

#[test]
fn no_error_quotes_a_database_url() {
    for url in ["postgre://u:hunter2@db/d", "Host=db;Password=hunter2"] {
        let error = error("Database__Url", url);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_setting_that_does_nothing_by_itself_is_told() {
    let warned = |settings: &[(&str, &str)]| loaded(settings).warnings;
    let (ca, lists) = (("Pop3__ClientCaPath", "/ca"), ("Pop3__CrlPath", "/crl"));
    let certificate = ("Pop3__CertificatePath", "/certificate");
    let unchecked = ("Pop3__CheckCertificateRevocation", "false");
    let (evict, session) = (
        ("Pop3__EvictIdleAfter", "10m"),
        ("Pop3__SessionTimeout", "11m"),
    );
    assert!(warned(&[evict])[0].starts_with("Pop3.EvictIdleAfter does nothing"));
    assert!(warned(&[evict, session]).is_empty());
    assert!(warned(&[("Pop3__SessionTimeout", "1m")]).is_empty());
    let strict = ("Pop3__StrictAlpn", "true");
    assert!(warned(&[strict])[0].starts_with("Pop3.StrictAlpn does nothing"));
    assert!(warned(&[strict, certificate]).is_empty());
    assert!(warned(&[ca])[0].starts_with("Pop3.ClientCaPath does nothing"));
    assert!(warned(&[certificate, lists])[0].starts_with("Pop3.CrlPath does nothing"));
    assert_eq!(warned(&[certificate, ca, lists, unchecked]).len(), 1);
    assert!(warned(&[certificate, ca, lists]).is_empty());
    assert!(warned(&[certificate, ca, unchecked]).is_empty());
}

#[test]
fn a_mechanism_or_a_binding_that_cannot_be_used_is_told() {
    let warned = |settings: &[(&str, &str)]| loaded(settings).warnings;
    let mechanisms = |names| ("Pop3__AuthMechanisms", names);
    let certificate = ("Pop3__CertificatePath", "/certificate");
    let ca = ("Pop3__ClientCaPath", "/ca");
    let offer = ("Pop3__ChannelBinding", "offer");
    let never = ("Pop3__ChannelBinding", "never");
    let any_key = ("Pop3__RequireAuthentication", "false");
    let in_tls = ("Pop3__PlaintextAuth", "never");
    for (settings, about) in [
        (
            &[offer][..],
            "Pop3.ChannelBinding=offer does nothing without",
        ),
        (
            &[offer, certificate, mechanisms("PLAIN")],
            "is without SCRAM-SHA-256-PLUS",
        ),
        (&[mechanisms("SCRAM-SHA-256-PLUS")], "SCRAM-SHA-256-PLUS in"),
        (
            &[certificate, never, mechanisms("SCRAM-SHA-256-PLUS")],
            "SCRAM-SHA-256-PLUS in",
        ),
        (
            &[any_key, mechanisms("SCRAM-SHA-256")],
            "SCRAM does nothing",
        ),
        (&[certificate, mechanisms("EXTERNAL")], "EXTERNAL in"),
        (&[in_tls, mechanisms("PLAIN")], "PLAIN and LOGIN in"),
    ] {
        let [warning] = <[_; 1]>::try_from(warned(settings)).unwrap();
        assert!(warning.contains(about), "{warning}");
    }
    for settings in [
        &[offer, certificate][..],
        &[never],
        &[any_key],
        &[mechanisms("")],
        &[mechanisms("all"), never],
        &[mechanisms("PLAIN, SCRAM-SHA-256")],
        &[certificate, ca, mechanisms("EXTERNAL, SCRAM-SHA-256-PLUS")],
        &[certificate, in_tls, mechanisms("LOGIN")],
    ] {
        assert_eq!(warned(settings), Vec::<String>::new(), "{settings:?}");
    }
}

#[test]
fn the_names_of_the_suite_are_other_names_of_settings() {
    let names = [
        ("Logging__LogLevel__Default", "Warning"),
        ("Security__RateLimit__BaseBackoffDelay", "00:00:01"),
        ("SECURITY__RATE_LIMIT__MAX_BACKOFF_DELAY", "30"),
    ];
    let loaded = loaded(&names);
    assert_eq!(loaded.config.log.level, "warn");
    let pop3 = &loaded.config.pop3;
    assert_eq!(pop3.auth_failure_delay, Some(Duration::from_secs(1)));
    assert_eq!(pop3.max_auth_failure_delay, Duration::from_secs(30));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    for (path, (name, _)) in [
        "log.level",
        "pop3.auth_failure_delay",
        "pop3.max_auth_failure_delay",
    ]
    .into_iter()
    .zip(names)
    {
        let origin = format!("environment variable {name}");
        assert_eq!(loaded.origins[path], origin);
    }
}

#[test]
fn our_name_of_a_setting_wins_over_the_suites() {
    let loaded = loaded(&[
        ("Logging__LogLevel__Default", "Warning"),
        ("Log__Level", "debug"),
        ("Security__RateLimit__MaxBackoffDelay", ""),
    ]);
    assert_eq!(loaded.config.log.level, "debug");
    assert_eq!(
        loaded.warnings,
        [
            "environment variable Logging__LogLevel__Default has no effect, \
             because environment variable Log__Level is set as well"
        ]
    );
}

#[test]
fn a_wrong_value_under_a_name_of_the_suite_is_explained() {
    for (name, text, reason) in [
        (
            "Logging__LogLevel__Default",
            "Verbose",
            "\"Verbose\" is not one of Trace, Debug,",
        ),
        (
            "Security__RateLimit__BaseBackoffDelay",
            "soon",
            "\"soon\" is not a duration",
        ),
        (
            "Security__RateLimit__BaseBackoffDelay",
            "00:01:00",
            "the first delay is longer than the longest",
        ),
    ] {
        let error = error(name, text);
        let expected = format!("environment variable {name}: {reason}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn what_the_suite_sets_beside_is_told_in_one_line_by_its_names() {
    let loaded = loaded(&[
        ("Jwt__Key", "hunter2"),
        ("ASPNETCORE_ENVIRONMENT", "Production"),
        ("DOTNET_ENVIRONMENT", "Production"),
        ("AllowedHosts", "*"),
        ("Security__AuthenticationSalt", "hunter2"),
        ("Security__RateLimit__MaxAttempts", "5"),
        ("Logging__LogLevel__Microsoft", "Warning"),
        ("ConnectionStrings__Redis", "hunter2"),
        ("Smtp__Port", "25"),
        ("Other__Port", "25"),
        ("DOTNET_ROOT", "/usr/share/dotnet"),
    ]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(
        loaded.without_effect.unwrap(),
        "settings of the .NET suite without effect here: ASPNETCORE_ENVIRONMENT, AllowedHosts, \
             ConnectionStrings__Redis, DOTNET_ENVIRONMENT, Jwt__Key, Logging__LogLevel__Microsoft, \
             Security__AuthenticationSalt, Security__RateLimit__MaxAttempts, Smtp__Port"
    );
    // What is nearly a setting of ours stays a mistake.
    assert!(error("Pop3__Ports", "110").contains("did you mean Pop3__Port?"));
}

#[test]
fn an_appsettings_file_is_read_and_the_environment_wins_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("appsettings.JSON");
    let text = r#"{
        "Logging": { "LogLevel": { "Default": "Information", "Microsoft.AspNetCore": "Warning" } },
        "AllowedHosts": "*",
        "ConnectionStrings": { "DefaultConnection": "Host=db;Database=d;Username=u;Password=hunter2" },
        "Pop3": { "Enabled": true, "Port": 1110, "SessionTimeout": "00:20:00" }, // POP3
        "Jwt": { "Key": "hunter2" },
    }"#;
    fs::write(&file, text).unwrap();
    let variables = variables(&[
        ("Pop3__Port", "2110"),
        ("Logging__LogLevel__Default", "Error"),
        ("Oidc__Authority", "x"),
    ]);
    let loaded = load(Some(&file), variables).unwrap();
    assert_eq!(loaded.config.pop3.port, 2110);
    assert_eq!(
        loaded.config.pop3.session_timeout,
        Duration::from_secs(1200)
    );
    assert_eq!(&*loaded.config.database.url, "postgres://u:hunter2@db/d");
    assert_eq!(loaded.config.log.level, "error");
    let origin = format!("{}: ConnectionStrings.DefaultConnection", file.display());
    assert_eq!(loaded.origins["database.url"], origin);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(
        loaded.without_effect.unwrap(),
        "settings of the .NET suite without effect here: AllowedHosts, Jwt.Key, \
             Logging.LogLevel.Microsoft.AspNetCore, Oidc__Authority"
    );
}
