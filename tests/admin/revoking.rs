//! A key that is revoked, and a user who is disabled or removed, have no live sessions.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::Watched;
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
        daemon.wait_for_log("key revoked or user disabled");
    });
}

#[test]
fn nobody_is_cut_off_who_logs_in_while_keys_are_looked_at() {
    on_each_blocking(|place| {
        let [ada, bob, _] = [ADA, BOB, "eve@example.com"].map(|user| fill(&place.url, user, &[]));
        let watched = Watched::start(&place.url, &[]);
        // While somebody is logged in, every change makes the server look at keys and users.
        let _there = watched.daemon.login(BOB, &bob);
        let looking = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while looking.load(Ordering::Relaxed) {
                    let disable = json!({"disabled": true});
                    let path = "/api/users/eve@example.com";
                    assert_eq!(watched.admin.send("PATCH", path, &disable).status, 204);
                }
            });
            let log_in_and_out = || {
                for _ in 0..100 {
                    let mut client = watched.daemon.login(ADA, &ada);
                    client.ok("STAT");
                    client.ok("QUIT");
                }
            };
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(log_in_and_out)).collect();
            let cut_off = clients.into_iter().filter_map(|it| it.join().err()).count();
            looking.store(false, Ordering::Relaxed);
            assert_eq!(cut_off, 0);
        });
    });
}
