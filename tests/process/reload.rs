//! SIGHUP: what changes while the server runs.

use crate::served::certificate_file;
use crate::support::cli;
use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::sqlite;

#[test]
fn a_hangup_takes_up_level_and_limits_and_tells_what_needs_a_restart() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let file = place.folder.path().join("restante.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[pop3]\nmax_bad_commands = 20\n[log]\nlevel = \"info\"\n");
    let mut daemon = Daemon::start_with(
        &place.url,
        &[
            ("RESTANTE_CONFIG", file.to_str().unwrap()),
            ("Pop3__ShutdownTimeout", "1h"),
        ],
    );
    let mut old = daemon.login(ADA, &key);

    write(
        "[pop3]\nmax_bad_commands = 1\nmax_connections_per_user = 1\nmax_messages_per_session = 7\nsession_timeout = \"7m\"\n[log]\nlevel = \"debug\"\n",
    );
    daemon.signal("HUP");
    daemon.wait_for_log("needs a restart setting=\"pop3.max_messages_per_session\"");
    for setting in [
        "log.level",
        "pop3.max_bad_commands",
        "pop3.session_timeout",
        "pop3.write_timeout",
    ] {
        assert!(
            daemon
                .log()
                .contains(&format!("a setting has changed setting=\"{setting}\""))
        );
    }
    // Open sessions go on as they began; new ones find the new limit.
    for _ in 0..5 {
        assert!(old.command("WHAT").starts_with("-ERR"));
    }
    let mut new = daemon.connect();
    assert!(new.command("WHAT").starts_with("-ERR"));
    assert_eq!(new.read_to_end(), b"");
    let mut second = daemon.connect();
    second.ok("USER ada@example.com");
    assert!(
        second
            .command(&format!("PASS {key}"))
            .starts_with("-ERR [IN-USE]")
    );
    second.ok("QUIT");
    old.ok("DELE 1");
    old.ok("QUIT");
    daemon.wait_for_log("DEBUG");

    write("[pop3]\nmax_bad_commands = \"many\"\n");
    daemon.signal("HUP");
    daemon.wait_for_log("the settings stay as they were");
    assert!(daemon.log().contains("is not a whole number"));
    daemon.connect().ok("QUIT");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn what_auth_offers_changes_with_a_hangup_for_sessions_that_begin_then() {
    let place = sqlite();
    let certificate = certificate_file(place.folder.path());
    let file = place.folder.path().join("restante.toml");
    let write = |text: &str| {
        let certificate = certificate.display();
        let certificate = format!("[pop3]\ncertificate_path = \"{certificate}\"\n");
        std::fs::write(&file, certificate + text).unwrap();
    };
    write("");
    let settings = [("RESTANTE_CONFIG", file.to_str().unwrap())];
    let daemon = Daemon::start_with(&place.url, &settings);
    let mut old = daemon.connect();
    let mechanisms = |client: &mut Client| String::from_utf8(client.body("AUTH")).unwrap();
    let before = mechanisms(&mut old);
    assert_eq!(before, "SCRAM-SHA-256\r\nPLAIN\r\nLOGIN\r\n");

    write("channel_binding = \"offer\"\nauth_mechanisms = [\"scram-sha-256-plus\", \"login\"]\n");
    daemon.signal("HUP");
    daemon.wait_for_log("a setting has changed setting=\"pop3.channel_binding\"");
    let log = daemon.log();
    assert!(log.contains("setting=\"pop3.auth_mechanisms\""), "{log}");
    assert!(log.contains("are locked out: mutt and NeoMutt"), "{log}");
    assert_eq!(mechanisms(&mut daemon.connect()), "LOGIN\r\n");
    assert_eq!(mechanisms(&mut old), before);
}

#[test]
fn what_is_kept_and_what_expires_changes_with_a_restart_and_not_with_a_hangup() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let file = place.folder.path().join("restante.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[pop3]\ndeleted_retention = \"1d\"\nexpire_after = \"2d\"\n");
    let settings = [("RESTANTE_CONFIG", file.to_str().unwrap())];
    let daemon = Daemon::start_with(&place.url, &settings);
    write("[pop3]\ndeleted_retention = \"0\"\nexpire_after = \"7d\"\n");
    daemon.signal("HUP");
    for setting in ["pop3.deleted_retention", "pop3.expire_after"] {
        daemon.wait_for_log(&format!("needs a restart setting=\"{setting}\""));
    }
    // What CAPA tells is what the server does.
    let mut client = daemon.login(ADA, &key);
    let capabilities = String::from_utf8(client.body("CAPA")).unwrap();
    assert!(capabilities.contains("\r\nEXPIRE 2\r\n"), "{capabilities}");
    client.ok("DELE 1");
    client.ok("QUIT");
    let restored = cli::run(&place.url, "restore ada@example.com --since 1h").ok();
    assert_eq!(restored, "1 messages restored\n");
}
