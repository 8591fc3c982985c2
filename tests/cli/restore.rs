//! `restante restore`, while the server runs.

use serde_json::Value;

use crate::support::cli;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::on_each_blocking;

#[test]
fn the_id_in_the_log_brings_a_session_s_deletions_back() {
    on_each_blocking(|place| {
        let key = fill(
            &place.url,
            ADA,
            &[message(1, 100), message(2, 100), message(3, 100)],
        );
        let daemon = Daemon::start_with(&place.url, &[("Pop3__DeletedRetention", "1d")]);
        let restore =
            |words: &str| cli::run(&place.url, &format!("restore ada@example.com {words}"));
        let mut client = daemon.login(ADA, &key);
        let before = client.body("UIDL");
        client.ok("DELE 1");
        client.ok("DELE 3");
        client.ok("QUIT");
        daemon.wait_for_log("session ended");
        let mut client = daemon.login(ADA, &key);
        assert!(client.ok("STAT").starts_with("+OK 1 "));
        client.ok("QUIT");

        let refused = restore("--session nobody").failed(1);
        assert!(
            refused.contains("restore ada@example.com --list"),
            "{refused}"
        );
        let refused = cli::run(&place.url, "restore eve@example.com --since 1h").failed(1);
        assert!(refused.contains("no user eve@example.com"), "{refused}");
        for words in [
            "",
            "--session a --since 1h",
            "--since soon",
            "--since 1h --json",
        ] {
            assert_eq!(restore(words).code, Some(2), "{words}");
        }
        let list: Value = serde_json::from_str(&restore("--list --json").ok()).unwrap();
        assert_eq!(list[0]["messages"], 2);
        let id = list[0]["session"].as_str().unwrap();
        let deletion = daemon.log();
        let deletion = deletion
            .lines()
            .find(|line| line.contains("messages deleted"));
        assert!(deletion.unwrap().contains(id), "the log has the same id");
        assert!(restore("--list").ok().contains(id));
        assert_eq!(
            restore(&format!("--session {id}")).ok(),
            "2 messages restored\n"
        );
        let mut client = daemon.login(ADA, &key);
        assert_eq!(client.body("UIDL"), before);
        client.ok("DELE 2");
        client.ok("QUIT");
        assert_eq!(restore("--since 10m").ok(), "1 messages restored\n");
        restore("--since 10m").failed(1);
        let mut client = daemon.login(ADA, &key);
        assert_eq!(client.body("UIDL"), before);
    });
}

#[test]
fn a_session_that_saw_a_deleted_message_may_delete_it_again_once_it_is_back() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 200_000), message(2, 100)]);
        let daemon = Daemon::start_with(&place.url, &[("Pop3__DeletedRetention", "1d")]);
        let restore = || cli::run(&place.url, "restore ada@example.com --since 1h").ok();
        let mut open = daemon.login(ADA, &key);
        let before = open.body("RETR 1");
        let mut other = daemon.login(ADA, &key);
        other.ok("DELE 1");
        other.ok("QUIT");
        assert_eq!(restore(), "1 messages restored\n");
        assert!(open.body("RETR 1") == before);
        open.ok("DELE 1");
        open.ok("QUIT");
        assert!(daemon.login(ADA, &key).ok("STAT").starts_with("+OK 1 "));
        assert_eq!(restore(), "1 messages restored\n");
        assert!(daemon.login(ADA, &key).body("RETR 1") == before);
    });
}

#[test]
fn what_has_been_here_too_long_goes_while_the_session_that_sees_it_reads_on() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 200_000), message(2, 100)]);
        let settings = [
            ("Pop3__ExpireAfter", "1d"),
            ("Pop3__DeletedRetention", "1d"),
        ];
        let daemon = Daemon::start_with(&place.url, &settings);
        let mut open = daemon.login(ADA, &key);
        crate::support::run(async || {
            let aged = "UPDATE messages SET stored_at_ms = stored_at_ms - 86460000 \
                WHERE octets = 200000";
            place.sql().await.run(aged).await;
        });
        daemon.wait_for_log("messages have expired user=\"ada@example.com\" count=1");
        assert!(daemon.login(ADA, &key).ok("STAT").starts_with("+OK 1 "));
        assert!(open.body("RETR 1") == message(1, 200_000));
        // What has expired is kept like what was deleted, and is here since it was brought back.
        let restored = cli::run(&place.url, "restore ada@example.com --since 1d").ok();
        assert_eq!(restored, "1 messages restored\n");
        assert!(daemon.login(ADA, &key).ok("STAT").starts_with("+OK 2 "));
    });
}

#[test]
fn capa_tells_in_whole_days_when_messages_expire() {
    let place = crate::support::place::sqlite();
    let key = fill(&place.url, ADA, &[]);
    for (setting, line) in [
        ("never", "EXPIRE NEVER"),
        ("36h", "EXPIRE 1"),
        ("60d", "EXPIRE 60"),
    ] {
        let daemon = Daemon::start_with(&place.url, &[("Pop3__ExpireAfter", setting)]);
        let mut client = daemon.connect();
        for _ in 0..2 {
            let capabilities = String::from_utf8(client.body("CAPA")).unwrap();
            assert!(
                capabilities.contains(&format!("\r\n{line}\r\n")),
                "{capabilities}"
            );
            client = daemon.login(ADA, &key);
        }
    }
}
