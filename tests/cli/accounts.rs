//! `restante user` and `restante key`.

use serde_json::Value;

use super::deliver;
use crate::support::cli;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB};
use crate::support::place::{on_each_blocking, sqlite};

#[test]
fn users_are_added_listed_disabled_enabled_and_removed() {
    on_each_blocking(|place| {
        let user = |words: &str| cli::run(&place.url, &format!("user {words}"));
        assert_eq!(
            user("list").ok(),
            "ADDRESS  STATE  MESSAGES  OCTETS  QUOTA  ALIASES\n"
        );
        assert_eq!(user("add Bob@Example.com").ok(), "");
        assert_eq!(
            user("add ada@example.com --alias A@example.com --alias b@example.com").ok(),
            ""
        );
        assert_eq!(deliver(place, ADA, b"hello").ok(), "");
        assert_eq!(user("disable bob@example.com").ok(), "");
        assert_eq!(
            user("list").ok(),
            "ADDRESS          STATE     MESSAGES  OCTETS  QUOTA  ALIASES\n\
             ada@example.com  enabled   1         7       none   a@example.com b@example.com\n\
             bob@example.com  disabled  0         0       none\n"
        );
        let list: Value = serde_json::from_str(&user("list --json").ok()).unwrap();
        let quota = serde_json::json!({ "octets": null, "messages": null });
        let expected = serde_json::json!([
            { "address": ADA, "aliases": ["a@example.com", "b@example.com"],
              "disabled": false, "messages": 1, "octets": 7, "quota": quota },
            { "address": BOB, "aliases": [], "disabled": true, "messages": 0, "octets": 0,
              "quota": quota },
        ]);
        assert_eq!(list, expected);
        assert_eq!(user("enable BOB@example.com").ok(), "");
        assert!(!user("list").ok().contains("disabled"));
        assert_eq!(user("remove b@example.com").ok(), "");
        assert_eq!(user("remove bob@example.com").ok(), "");
        assert_eq!(user("list --json").ok().trim(), "[]");
    });
}

#[test]
fn a_quota_is_given_changed_and_enforced_at_delivery() {
    on_each_blocking(|place| {
        let user = |words: &str| cli::run(&place.url, &format!("user {words}"));
        user("add ada@example.com --quota-octets 1KiB --quota-messages 2").ok();
        let quota = || {
            let list: Value = serde_json::from_str(&user("list --json").ok()).unwrap();
            list[0]["quota"].clone()
        };
        assert_eq!(
            quota(),
            serde_json::json!({ "octets": 1024, "messages": 2 })
        );
        assert!(user("list").ok().contains("2 messages, 1024 octets"));
        // Exactly as much as there is room for, and one octet more.
        let full = "ada@example.com is full";
        assert!(deliver(place, ADA, &[b'a'; 1023]).failed(73).contains(full));
        assert_eq!(deliver(place, ADA, &[b'a'; 1022]).ok(), "");
        assert!(deliver(place, ADA, b"").failed(65).contains("empty"));
        deliver(place, ADA, b"a").failed(73);
        user("quota ADA@example.com --octets none").ok();
        assert_eq!(
            quota(),
            serde_json::json!({ "octets": null, "messages": 2 })
        );
        assert_eq!(deliver(place, "ada+tag@example.com", b"a").ok(), "");
        deliver(place, ADA, b"a").failed(73);
        user("quota ada@example.com --messages none").ok();
        assert_eq!(deliver(place, ADA, b"a").ok(), "");
        for (words, what) in [
            ("--octets many", "\"many\" is not a size"),
            ("--messages -1", "-1"),
            ("--messages few", "give a number, or none"),
            ("", "--octets"),
        ] {
            let refused = user(&format!("quota ada@example.com {words}"));
            assert_eq!(refused.code, Some(2), "{refused:?}");
            assert!(refused.stderr.contains(what), "{refused:?}");
        }
        let refused = user("quota ada@example.com --messages 9223372036854775808").failed(1);
        assert!(refused.contains("for no limit, give none"), "{refused}");
        let refused = user("quota bob@example.com --octets 1").failed(1);
        assert!(refused.contains("there is no user bob@example.com"));
    });
}

#[test]
fn what_is_wrong_with_a_user_is_said_with_what_to_do() {
    let place = sqlite();
    let user = |words: &str| cli::run(&place.url, &format!("user {words}")).failed(1);
    cli::run(&place.url, "user add ada@example.com").ok();
    assert_eq!(
        user("add ADA@example.com"),
        "restante: the address ada@example.com is taken already\n"
    );
    assert_eq!(
        user("add ada"),
        "restante: \"ada\" is no address: it must look like name@example.com, in at most 248 octets\n"
    );
    for command in ["remove", "disable", "enable"] {
        assert_eq!(
            user(&format!("{command} eve@example.com")),
            "restante: there is no user eve@example.com (restante user list shows all)\n"
        );
    }
}

#[test]
fn a_new_key_is_printed_alone_and_opens_the_maildrop_until_revoked() {
    on_each_blocking(|place| {
        let key = |words: &str| cli::run(&place.url, &format!("key {words}"));
        cli::run(&place.url, "user add ada@example.com --alias a@example.com").ok();
        let printed = key("create a@example.com --name laptop").ok();
        let secret = printed.strip_suffix('\n').unwrap();
        assert!(secret.starts_with("rst_") && secret.len() == 60, "{secret}");
        assert!(secret.bytes().all(|octet| octet.is_ascii_graphic()));
        let again = key("create ada@example.com --name phone --scope pop3 --expires-in 90d").ok();
        assert_ne!(again, printed);

        let daemon = Daemon::start(&place.url);
        daemon.login(ADA, secret).ok("QUIT");
        let list: Value = serde_json::from_str(&key("list ADA@example.com --json").ok()).unwrap();
        let ids: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_i64().unwrap())
            .collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(
            (&list[0]["name"], &list[0]["state"]),
            (&"laptop".into(), &"valid".into())
        );
        assert_eq!(list[0]["scopes"], serde_json::json!(["pop3"]));
        assert_eq!(
            (&list[0]["expires_at"], &list[0]["revoked_at"]),
            (&Value::Null, &Value::Null)
        );
        assert!(secret.starts_with(list[0]["prefix"].as_str().unwrap()));
        assert!(list[1]["expires_at"].as_str() > list[1]["created_at"].as_str());

        assert_eq!(key(&format!("revoke {}", ids[0])).ok(), "");
        let mut client = daemon.connect();
        client.ok(&format!("USER {ADA}"));
        assert!(
            client
                .command(&format!("PASS {secret}"))
                .starts_with("-ERR [AUTH]")
        );
        let table = key("list ada@example.com").ok();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["ID", "STATE", "SCOPES", "CREATED", "LAST", "USED", "NAME"]
        );
        assert!(
            lines[1].contains("revoked") && lines[1].ends_with("laptop"),
            "{table}"
        );
        assert!(
            lines[2].contains("valid") && lines[2].ends_with("phone"),
            "{table}"
        );
        assert!(!table.contains(&secret[17..]));
    });
}

#[test]
fn a_short_key_is_for_a_network_and_can_be_typed_into_a_short_field() {
    let place = sqlite();
    let key = |words: &str| cli::run(&place.url, &format!("key {words}"));
    cli::run(&place.url, "user add ada@example.com").ok();
    let refused = key("create ada@example.com --name printer --short").failed(1);
    assert!(
        refused.starts_with("restante: a short key needs a network")
            && refused.contains("it must open nothing from elsewhere"),
        "{refused}"
    );
    let words = "create ada@example.com --name printer --short --network 127.0.0.1";
    let printed = key(words).ok();
    let short = printed.strip_suffix('\n').unwrap();
    assert!(short.len() <= 30 && short.bytes().all(|c| c.is_ascii_alphanumeric()));
    let daemon = Daemon::start(&place.url);
    daemon.login(ADA, short).ok("QUIT");
    daemon.login(ADA, &short.to_uppercase()).ok("QUIT");
    // Who pastes it into the wrong field has not given it away.
    let mut client = daemon.connect();
    for name in [format!("{short}@example.com"), format!("{ADA}{short}")] {
        client.ok(&format!("USER {name}"));
        assert!(client.command("PASS x").starts_with("-ERR"));
    }
    let log = daemon.log().to_lowercase();
    assert!(
        log.contains("login refused") && !log.contains(short),
        "{log}"
    );
}

#[test]
fn what_is_wrong_with_a_key_is_said_with_what_to_do() {
    let place = sqlite();
    let key = |words: &str| cli::run(&place.url, &format!("key {words}"));
    cli::run(&place.url, "user add ada@example.com").ok();
    key("create ada@example.com --name laptop").ok();
    for (words, error) in [
        (
            "create eve@example.com --name x",
            "there is no user eve@example.com (restante user list shows all)",
        ),
        (
            "list eve@example.com",
            "there is no user eve@example.com (restante user list shows all)",
        ),
        (
            "create ada@example.com --name laptop",
            "ada@example.com has a key named \"laptop\" already: revoke it first, or choose another name",
        ),
        (
            "create ada@example.com --name x --scope imap",
            "\"imap\" is no scope; those that there are, are pop3 and pop3:read",
        ),
        (
            "revoke 4711",
            "there is no key 4711 that could be revoked (restante key list shows them)",
        ),
    ] {
        assert_eq!(
            key(words).failed(1),
            format!("restante: {error}\n"),
            "{words}"
        );
    }
    // A script whose variable is empty must not make a key that works everywhere.
    let unlimited = key("create ada@example.com --name x --network ,");
    assert_eq!((unlimited.code, unlimited.stdout.as_str()), (Some(2), ""));
    let misspelt = key("create ada@example.com --name x --expires-in soon");
    assert_eq!((misspelt.code, misspelt.stdout.as_str()), (Some(2), ""));
    assert!(
        misspelt
            .stderr
            .contains("\"soon\" is not a duration; write 10m"),
        "{misspelt:?}"
    );
}
