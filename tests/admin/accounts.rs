//! Users and keys over HTTP.

use serde_json::json;

use super::Watched;
use crate::support::cli;
use crate::support::mail::{ADA, BOB, fill, message};
use crate::support::place::on_each_blocking;

#[test]
fn users_are_added_disabled_enabled_and_removed() {
    on_each_blocking(|place| {
        let bob = fill(&place.url, BOB, &[message(1, 100)]);
        let watched = Watched::start(&place.url, &[]);
        let admin = &watched.admin;
        let new = json!({"address": "Ada@Example.com", "aliases": ["lovelace@example.com"]});
        assert_eq!(admin.send("POST", "/api/users", &new).status, 201);
        let taken = admin.send("POST", "/api/users", &new).problem(409);
        assert_eq!(taken, "the address ada@example.com is taken already");
        admin
            .send("POST", "/api/users", &json!({"address": "ada"}))
            .problem(400);
        let users = admin.json("/api/users");
        let listed = json!({
            "address": ADA, "aliases": ["lovelace@example.com"], "disabled": false,
            "messages": 0, "octets": 0, "quota": {"octets": null, "messages": null},
        });
        assert_eq!(users["users"][0], listed);
        assert_eq!(users["users"][1]["messages"], 1);
        // The command line prints the same.
        let told = cli::run(&place.url, "user list --json").ok();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&told).unwrap(),
            users["users"]
        );

        let mut client = watched.daemon.login(BOB, &bob);
        client.ok("DELE 1");
        let path = "/api/users/BOB@example.com";
        let quota = json!({"quota": {"octets": 1000}});
        assert_eq!(admin.send("PATCH", path, &quota).status, 204);
        let listed = &admin.json("/api/users")["users"][1]["quota"];
        assert_eq!(*listed, json!({"octets": 1000, "messages": null}));
        let nothing = admin.send("PATCH", path, &json!({})).problem(400);
        assert_eq!(nothing, "give disabled, quota or both");
        assert_eq!(
            admin.send("PATCH", path, &json!({"disabled": true})).status,
            204
        );
        assert_eq!(client.read_to_end(), b"");
        let mut refused = watched.daemon.connect();
        refused.ok(&format!("USER {BOB}"));
        assert!(
            refused
                .command(&format!("PASS {bob}"))
                .starts_with("-ERR [AUTH]")
        );
        assert_eq!(
            admin
                .send("PATCH", path, &json!({"disabled": false}))
                .status,
            204
        );
        let mut client = watched.daemon.login(BOB, &bob);
        assert_eq!(admin.ask("DELETE", path, "").status, 204);
        assert_eq!(client.read_to_end(), b"");
        admin.ask("DELETE", path, "").problem(404);
        admin
            .send("PATCH", path, &json!({"disabled": true}))
            .problem(404);
    });
}

#[test]
fn a_key_is_shown_once_and_its_sessions_end_when_it_is_revoked() {
    on_each_blocking(|place| {
        let other = fill(&place.url, ADA, &[message(1, 100)]);
        let watched = Watched::start(&place.url, &[]);
        let admin = &watched.admin;
        let path = "/api/users/ada@example.com/keys";
        let request = json!({"name": "phone", "expires_in": "90d"});
        let made = admin.send("POST", path, &request);
        assert_eq!(made.status, 201);
        let made = made.json();
        let key = made["key"].as_str().unwrap();
        assert_eq!(admin.send("POST", path, &request).status, 409);
        for bad in [
            json!({"name": ""}),
            json!({"name": "x", "scopes": ["imap"]}),
            json!({"name": "x", "scopes": []}),
            json!({"name": "x", "expires_in": "soon"}),
            json!({"name": "x", "expires_in": "0s"}),
            json!({"name": "x", "networks": ["here"]}),
            json!({"name": "x", "networks": [""]}),
            json!({"name": "x", "short": true}),
            json!({"name": "x", "short": "yes"}),
        ] {
            admin.send("POST", path, &bad).problem(400);
        }
        let short = json!({"name": "x", "short": true, "networks": ["127.0.0.0/8"]});
        let short = admin.send("POST", path, &short).json();
        assert_eq!(short["key"].as_str().unwrap().len(), 27);
        watched.daemon.login(ADA, short["key"].as_str().unwrap());
        let nobody = "/api/users/eve@example.com/keys";
        admin.send("POST", nobody, &request).problem(404);
        admin.get(nobody).problem(404);

        let mut with_other = watched.daemon.login(ADA, &other);
        let mut client = watched.daemon.login(ADA, key);
        let listed = admin.get(path);
        assert!(!listed.text.contains(&key[17..]), "{listed:?}");
        let listed = listed.json();
        assert_eq!(listed["keys"][1]["name"], "phone");
        assert_eq!(listed["keys"][1]["state"], "valid");
        let told = cli::run(&place.url, "key list ada@example.com --json").ok();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told[1]["id"], made["id"]);

        let revoke = format!("/api/keys/{}", made["id"]);
        assert_eq!(admin.ask("DELETE", &revoke, "").status, 204);
        assert_eq!(client.read_to_end(), b"");
        with_other.ok("NOOP");
        for path in [revoke.as_str(), "/api/keys/0", "/api/keys/x"] {
            admin.ask("DELETE", path, "").problem(404);
        }
        assert!(!watched.daemon.log().contains(&key[17..]));
    });
}
