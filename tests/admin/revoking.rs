//! A key that is revoked, and a user who is disabled or removed, have no live sessions.

use serde_json::Value;

use crate::support::cli;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB, fill, message};
use crate::support::place::{Place, on_each_blocking};

/// The number of the user's only key.
fn key_number(place: &Place, user: &str) -> i64 {
    let keys = cli::run(&place.url, &format!("key list {user} --json")).ok();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    keys[0]["id"].as_i64().unwrap()
}

#[test]
fn sessions_end_when_another_process_bars_their_key_or_user() {
    on_each_blocking(|place| {
        let users = [ADA, BOB, "eve@example.com", "joe@example.com"];
        let keys = users.map(|user| fill(&place.url, user, &[message(1, 100)]));
        let daemon = Daemon::start(&place.url);
        let mut sessions: Vec<_> = users
            .iter()
            .zip(&keys)
            .map(|(user, key)| daemon.login(user, key))
            .collect();
        for client in &mut sessions {
            client.ok("DELE 1");
        }
        let revoked = key_number(place, ADA);
        for words in [
            format!("key revoke {revoked}"),
            format!("user disable {BOB}"),
            "user remove eve@example.com".to_owned(),
        ] {
            cli::run(&place.url, &words).ok();
        }
        for client in &mut sessions[..3] {
            assert_eq!(client.read_to_end(), b"");
        }
        // The last one goes on, and nobody else's deletions were committed.
        sessions[3].ok("QUIT");
        let list = cli::run(&place.url, "user list --json").ok();
        let list: Value = serde_json::from_str(&list).unwrap();
        let messages: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["messages"])
            .collect();
        assert_eq!(messages, [1, 1, 0]);
        daemon.wait_for_log("key or user no longer good");
    });
}
