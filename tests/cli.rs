//! The commands, as whoever runs the server types them: what they do, print and exit with.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use pop3::MessageNumber;
use restante::accounts::Accounts;
use restante::store::MailStore;
use serde_json::Value;

use crate::support::cli::{self, Cli, Outcome};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, signal};
use crate::support::mail::{ADA, BOB, fill, message, octets};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;
use crate::support::{eventually, run};

// --- user ---

#[test]
fn users_are_added_listed_disabled_enabled_and_removed() {
    on_each_blocking(|place| {
        let user = |words: &str| cli::run(&place.url, &format!("user {words}"));
        assert_eq!(
            user("list").ok(),
            "ADDRESS  STATE  MESSAGES  OCTETS  ALIASES\n"
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
            "ADDRESS          STATE     MESSAGES  OCTETS  ALIASES\n\
             ada@example.com  enabled   1         7       a@example.com b@example.com\n\
             bob@example.com  disabled  0         0\n"
        );
        let list: Value = serde_json::from_str(&user("list --json").ok()).unwrap();
        let expected = serde_json::json!([
            { "address": ADA, "aliases": ["a@example.com", "b@example.com"],
              "disabled": false, "messages": 1, "octets": 7 },
            { "address": BOB, "aliases": [], "disabled": true, "messages": 0, "octets": 0 },
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

// --- key ---

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
            "\"imap\" is no scope; the one that there is, is pop3",
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
    let misspelt = key("create ada@example.com --name x --expires-in soon");
    assert_eq!((misspelt.code, misspelt.stdout.as_str()), (Some(2), ""));
    assert!(
        misspelt
            .stderr
            .contains("\"soon\" is not a duration; write 10m"),
        "{misspelt:?}"
    );
}

// --- deliver ---

#[test]
fn what_is_delivered_is_there_as_it_will_be_sent() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com --alias a@example.com").ok();
        let large = message(7, 3_000_000);
        let eight_bit = b"Subject: \xe4\0\nand a bare \r in it\n\n.\n..";
        assert_eq!(deliver(place, "A@Example.com", eight_bit).ok(), "");
        assert_eq!(deliver(place, ADA, &large).ok(), "");
        cli::run(&place.url, "user disable ada@example.com").ok();
        assert_eq!(deliver(place, ADA, b"to whom it may concern").ok(), "");
        let expected: [&[u8]; 3] = [
            b"Subject: \xe4\0\r\nand a bare \r in it\r\n\r\n.\r\n..\r\n",
            &large,
            b"to whom it may concern\r\n",
        ];
        assert!(maildrop(place, ADA) == expected);
    });
}

#[test]
fn an_mta_learns_what_to_do_with_a_message_that_was_not_stored() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let unknown = deliver(place, "eve@example.com", b"hello").failed(67);
        assert!(unknown.contains("no user eve@example.com"), "{unknown}");
        for nothing in ["nobody", "", "@"] {
            deliver(place, nothing, b"hello").failed(67);
        }
        let empty = deliver(place, ADA, b"").failed(65);
        assert!(empty.contains("is empty"), "{empty}");
        assert!(maildrop(place, ADA).is_empty());
    });
}

#[test]
fn an_mta_keeps_the_message_when_the_server_is_set_up_wrongly() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let taken = free_port();
    let nobody_there = format!("postgres://u:hunter2@127.0.0.1:{taken}/db");
    let file = place.folder.path().join("restante.toml");
    std::fs::write(&file, "[Pop3]\nProt = 110\n").unwrap();
    let missing = place.folder.path().join("missing.toml");
    for (name, value, words) in [
        ("Pop3__Prot", "110", "did you mean Pop3__Port?"),
        ("Pop3__SessionTimeout", "soon", "is not a duration"),
        (
            "Database__Url",
            "mysql://db/restante",
            "database URL begins with",
        ),
        (
            "Database__Url",
            "sqlite:///dev/null/restante.db",
            "/dev/null",
        ),
        (
            "Database__Url",
            &format!("sqlite://{}", place.folder.path().display()),
            "can't be opened",
        ),
        ("Database__Url", &nobody_there, "can't be opened"),
        ("Log__Level", "=loud", "Log__Level"),
    ] {
        let outcome = deliver_with(&place, ADA, b"hello").env(name, value).run();
        let error = outcome.failed(75);
        assert!(
            error.contains(words) && !error.contains("hunter2"),
            "{name}={value}: {error}"
        );
    }
    for file in [&file, &missing] {
        let outcome = deliver_with(&place, ADA, b"hello")
            .args([Path::new("--config"), file])
            .run();
        outcome.failed(75);
    }
    assert!(maildrop(&place, ADA).is_empty());
}

#[test]
fn an_mta_keeps_the_message_while_the_database_is_locked() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    run(async || {
        let sql = place.sql().await;
        sql.run("BEGIN IMMEDIATE").await;
        let locked = deliver(&place, ADA, b"hello").failed(75);
        assert!(locked.contains("locked"), "{locked}");
    });
    assert!(maildrop(&place, ADA).is_empty());
    deliver(&place, ADA, b"hello").ok();
}

// --- import ---

/// Three messages, the last of them first in time, one twice, and one that is none.
const MBOX: &str = "\
From ada@example.com Thu Jan  1 00:00:30 2026
Subject: one

>From the sea
.

From ada@example.com Thu Jan  1 00:00:20 2026
Subject: two

From ada@example.com Thu Jan  1 00:00:10 2026
Subject: three

From ada@example.com Thu Jan  1 00:00:40 2026
Subject: two

";

#[test]
fn an_mbox_is_imported_once_however_often_it_is_tried() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let mbox = file(place, "mbox", MBOX);
        let summary = import(place, &mbox, &["--dry-run"]).ok();
        assert_eq!(
            summary,
            "4 messages to be imported, 0 already there, 0 skipped\n"
        );
        assert!(maildrop(place, ADA).is_empty());
        let summary = import(place, &mbox, &[]).ok();
        assert_eq!(summary, "4 messages imported, 0 already there, 0 skipped\n");
        let there = "0 messages imported, 4 already there, 0 skipped\n";
        assert_eq!(import(place, &mbox, &[]).ok(), there);
        assert_eq!(
            import(place, &mbox, &["--dry-run"]).ok(),
            there.replace("imported", "to be imported")
        );
        let expected: [&[u8]; 4] = [
            b"Subject: three\r\n",
            b"Subject: two\r\n",
            b"Subject: one\r\n\r\nFrom the sea\r\n.\r\n",
            b"Subject: two\r\n",
        ];
        assert_eq!(maildrop(place, ADA), expected);
        // Of one more copy, one more is imported.
        let more = file(place, "more", &format!("{MBOX}From x\nSubject: two\n"));
        assert_eq!(
            import(place, &more, &[]).ok(),
            "1 messages imported, 4 already there, 0 skipped\n"
        );
    });
}

#[test]
fn an_import_says_what_it_skipped_and_why() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let mbox = file(
        &place,
        "mbox",
        &format!("{MBOX}From x\n\nFrom y\nSubject: six\n"),
    );
    let outcome = import(&place, &mbox, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(
        outcome.stdout,
        "5 messages imported, 0 already there, 1 skipped\n"
    );
    let where_it_is = format!(
        "skipped mbox {}, message 5 (octet {})",
        mbox.display(),
        MBOX.len()
    );
    assert_eq!(
        outcome.stderr,
        format!("{where_it_is}: the message is empty\n")
    );

    let folder = place.folder.path().join("letters");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.eml"), "Subject: seven\n").unwrap();
    std::fs::write(folder.join("b.eml"), "").unwrap();
    std::fs::write(folder.join("c\x1b[31m.txt"), "notes").unwrap();
    let outcome = import(&place, &folder, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(
        outcome.stdout,
        "1 messages imported, 0 already there, 2 skipped\n"
    );
    let skipped: Vec<_> = outcome.stderr.lines().collect();
    assert!(
        skipped[0].ends_with("b.eml: the file is empty"),
        "{skipped:?}"
    );
    assert!(skipped[1].ends_with("does not end in .eml"), "{skipped:?}");
    assert!(!outcome.stderr.contains('\x1b'), "{outcome:?}");
}

#[test]
fn every_form_of_mail_can_be_imported() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let eml = file(&place, "letter.eml", "Subject: eml\n");
    let maildir = place.folder.path().join("Maildir");
    for folder in ["cur", "new", "tmp", ".Sent/cur"] {
        std::fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    for (name, subject) in [
        ("cur/1:2,S", "cur"),
        ("new/2", "new"),
        (".Sent/cur/3:2,S", "sent"),
    ] {
        std::fs::write(maildir.join(name), format!("Subject: {subject}\n")).unwrap();
    }
    std::fs::write(maildir.join("tmp/4"), "Subject: half a mess").unwrap();
    assert_eq!(
        import(&place, &eml, &[]).ok(),
        "1 messages imported, 0 already there, 0 skipped\n"
    );
    assert_eq!(
        import(&place, &maildir, &[]).ok(),
        "3 messages imported, 0 already there, 0 skipped\n"
    );
    let mut found: Vec<_> = maildrop(&place, ADA);
    found.sort();
    let expected = ["cur", "eml", "new", "sent"].map(|subject| format!("Subject: {subject}\r\n"));
    assert_eq!(found, expected.map(String::into_bytes));
}

#[test]
fn what_can_not_be_imported_is_said_with_what_was_expected() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let picture = file(&place, "picture.png", "\u{89}PNG");
    let empty = file(&place, "empty", "");
    let missing = place.folder.path().join("missing");
    for (source, words) in [
        (picture.to_str().unwrap(), "is no mail: expected an mbox"),
        (empty.to_str().unwrap(), "it is empty"),
        (missing.to_str().unwrap(), "does not exist"),
        (
            place.folder.path().to_str().unwrap(),
            "holds no message: expected a Maildir",
        ),
        ("/dev/null", "neither a file nor a folder"),
        ("pop3://ada@example.com:110", "not possible yet"),
    ] {
        let error = import(&place, Path::new(source), &[]).failed(1);
        assert!(error.contains(words), "{error}");
    }
    let eve = Cli::new(&place.url)
        .args(["import", "eve@example.com", "/dev/null"])
        .run();
    assert!(eve.failed(1).contains("no user eve@example.com"));
}

// --- Settings ---

#[test]
fn a_mistake_in_the_settings_is_named_with_its_place_and_its_mend() {
    let place = sqlite();
    let file = |text: &str| {
        let file = file(&place, "restante.toml", text);
        let outcome = Cli::new(&place.url)
            .args([Path::new("--config"), &file])
            .args(["user", "list"])
            .run();
        outcome.failed(1).replace(file.to_str().unwrap(), "FILE")
    };
    let variable = |name: &str, value: &str| {
        let outcome = Cli::new(&place.url)
            .env(name, value)
            .args(["user", "list"])
            .run();
        outcome.failed(1)
    };
    assert_eq!(
        variable("POP3__MAX_CONNS_PER_USER", "7"),
        "restante: environment variable POP3__MAX_CONNS_PER_USER: there is no such setting; \
         did you mean Pop3__MaxConnectionsPerUser?\n"
    );
    assert_eq!(
        file("[pop3]\nmax_conns_per_user = 7\n"),
        "restante: FILE: pop3.max_conns_per_user: there is no such setting; \
         did you mean pop3.max_connections_per_user?\n"
    );
    assert!(file("[pop]\nport = 7\n").contains("no such section; did you mean [pop3]?"));
    for error in [
        variable("Pop3__SessionTimeout", "ten minutes"),
        file("[pop3]\nsession_timeout = \"ten minutes\"\n"),
    ] {
        assert!(
            error.contains("\"ten minutes\" is not a duration; write 10m, 90s"),
            "{error}"
        );
    }
    assert!(variable("Pop3__Port", "65536").contains("not a whole number from 0 to 65535"));
    assert!(file("[pop3\n").contains("is not valid TOML"));
    let missing = Cli::new(&place.url)
        .args(["--config", "/missing.toml", "user", "list"])
        .run();
    assert!(missing.failed(1).contains("cannot read /missing.toml"));
}

#[test]
fn the_environment_wins_over_the_file_and_both_name_the_database() {
    let [one, other] = [sqlite(), sqlite()];
    cli::run(&one.url, "user add one@example.com").ok();
    cli::run(&other.url, "user add other@example.com").ok();
    let text = format!(
        "[database]\nurl = \"{}\"\n\n[log]\nlevel = \"warn\"\n",
        other.url
    );
    let file = file(&other, "restante.toml", &text);
    let list = |environment: &[(&str, &str)]| {
        let mut command = cli::restante();
        command.args(["user", "list", "--config"]).arg(&file);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&[]).contains("other@example.com"));
    for name in ["Database__Url", "DATABASE__URL", "database__url"] {
        assert!(
            list(&[(name, &one.url)]).contains("one@example.com"),
            "{name}"
        );
    }
}

#[test]
fn a_connection_string_names_a_database_of_postgresql() {
    let Some(place) = crate::support::place::postgres() else {
        return;
    };
    cli::run(&place.url, "user add ada@example.com").ok();
    let url = url::Url::parse(&place.url).unwrap();
    let (port, database) = (url.port().unwrap(), url.path().trim_start_matches('/'));
    let text = format!("Host=127.0.0.1;Port={port};Database={database};Username=postgres");
    let mut command = cli::restante();
    command.env("ConnectionStrings__DefaultConnection", text);
    let output = command.args(["user", "list"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(ADA));
}

#[test]
fn a_setting_whose_feature_is_not_there_yet_is_accepted_with_a_warning() {
    let place = sqlite();
    let outcome = Cli::new(&place.url)
        .env("Pop3__DeletedRetention", "7d")
        .args(["user", "list"])
        .run();
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome
            .stderr
            .contains("Pop3.DeletedRetention has no effect yet"),
        "{outcome:?}"
    );
}

// --- serve ---

#[test]
fn a_server_that_can_not_start_says_why() {
    let place = sqlite();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let serve = |settings: &[(&str, &str)]| {
        let mut cli = Cli::new(&place.url)
            .args(["serve"])
            .env("Pop3__BindAddress", "127.0.0.1");
        for (name, value) in settings {
            cli = cli.env(name, value);
        }
        cli.run().failed(1)
    };
    assert_eq!(
        serve(&[("Pop3__Port", &taken)]),
        format!(
            "restante: cannot listen on 127.0.0.1:{taken}: another program listens there; stop it, \
             or set Pop3__Port and Pop3__SecurePort\n"
        )
    );
    let elsewhere = serve(&[("Pop3__Port", "11110"), ("Pop3__BindAddress", "192.0.2.1")]);
    assert!(
        elsewhere.contains("no such address; check Pop3__BindAddress"),
        "{elsewhere}"
    );
    let nowhere = serve(&[("Pop3__Port", "0"), ("Pop3__SecurePort", "0")]);
    assert!(
        nowhere.contains("nothing to listen on: set Pop3__Port"),
        "{nowhere}"
    );
    let database = serve(&[("Database__Url", "sqlite:///dev/null/restante.db")]);
    assert!(
        database.contains("the folder /dev/null of the database can't be made"),
        "{database}"
    );
    let missing = place.folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    let certificate = serve(&[
        ("Pop3__Port", "0"),
        ("Pop3__SecurePort", &free_port().to_string()),
        ("Pop3__CertificatePath", missing),
        ("Pop3__CertificateKeyPath", missing),
    ]);
    assert!(certificate.contains(missing), "{certificate}");
}

#[test]
fn a_server_without_authentication_serves_loopback_only_and_users_that_exist() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    for address in ["", "0.0.0.0", "::", "192.0.2.1"] {
        let outcome = Cli::new(&place.url)
            .args(["serve"])
            .env("Pop3__RequireAuthentication", "false")
            .env("Pop3__Port", &free_port().to_string())
            .env("Pop3__BindAddress", address)
            .run();
        let error = outcome.failed(1);
        assert!(
            error.contains("needs Pop3__BindAddress=127.0.0.1 (or ::1)"),
            "{error}"
        );
    }
    let daemon = Daemon::start_with(&place.url, &[("Pop3__RequireAuthentication", "false")]);
    assert!(daemon.log().contains("any key opens any maildrop"));
    assert_eq!(
        daemon.login(ADA, "whatever").body("RETR 1"),
        message(1, 100)
    );
    let mut eve = daemon.connect();
    eve.ok("USER eve@example.com");
    assert!(eve.command("PASS whatever").starts_with("-ERR [AUTH]"));
}

#[test]
fn a_signal_stops_the_server_in_order() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 100), message(2, 100)]);
        for name in ["TERM", "INT"] {
            let mut daemon = Daemon::start(&place.url);
            let mut greeted = daemon.connect();
            let mut client = daemon.login(ADA, &key);
            client.ok("DELE 1");
            daemon.signal(name);
            // Who has not logged in loses nothing.
            assert_eq!(greeted.read_to_end(), b"");
            let refused = std::net::TcpStream::connect(daemon.address);
            let refused = refused.map(|mut stream| std::io::Read::read(&mut stream, &mut [0]));
            assert!(!matches!(refused, Ok(Ok(1..))));
            client.ok("QUIT");
            assert_eq!(daemon.wait(), Some(0));
            assert!(daemon.log().contains("stopped"));
        }
        assert!(maildrop(place, ADA).is_empty());
    });
}

#[test]
fn a_second_signal_ends_the_server_at_once_and_deletes_nothing() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 100)]);
        let mut daemon = Daemon::start_with(&place.url, &[("Pop3__ShutdownTimeout", "1h")]);
        let mut client = daemon.login(ADA, &key);
        client.ok("DELE 1");
        daemon.signal("TERM");
        daemon.wait_for_log("stopping");
        // The session is alive, so the server has reason to wait.
        client.ok("NOOP");
        daemon.signal("TERM");
        assert_eq!(daemon.wait(), Some(1));
        assert!(daemon.log().contains("stopped at once by a second signal"));
        assert_eq!(maildrop(place, ADA).len(), 1);
    });
}

// --- demo ---

#[test]
fn a_demo_shows_mail_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let rest = folder.path().join("rest");
    std::fs::create_dir(&rest).unwrap();
    let mut child = cli::restante()
        .arg("demo")
        .env("TMPDIR", &rest)
        .current_dir(&rest)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&printed).unwrap())
        .spawn()
        .unwrap();
    let text = eventually("the demo to say what to type", || {
        let text = std::fs::read_to_string(&printed).unwrap();
        text.contains("Ctrl-C").then_some(text)
    });
    // curl pop3://ada%40example.com:KEY@127.0.0.1:PORT/
    let url = text
        .split_whitespace()
        .find(|word| word.starts_with("pop3://"))
        .unwrap();
    let url = url::Url::parse(url).unwrap();
    assert_eq!(
        (url.username(), url.host_str()),
        ("ada%40example.com", Some("127.0.0.1"))
    );
    let port = url.port().unwrap();
    assert!(port >= 1024);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = Client::login(address, ADA, url.password().unwrap());
    let listing = String::from_utf8(client.body("LIST")).unwrap();
    assert!(listing.lines().count() >= 12);
    let mut largest = 0;
    for line in listing.lines() {
        let (number, octets) = line.split_once(' ').unwrap();
        let octets: usize = octets.parse().unwrap();
        assert_eq!(client.body(&format!("RETR {number}")).len(), octets);
        largest = largest.max(octets);
    }
    assert!(largest >= 5_000_000);
    client.ok("QUIT");
    signal(child.id(), "INT");
    assert_eq!(cli::wait(&mut child), Some(0));
    assert_eq!(std::fs::read_dir(&rest).unwrap().count(), 0);
}

// --- The program itself ---

#[test]
fn migrate_says_what_it_did() {
    on_each_blocking(|place| {
        let first = cli::run(&place.url, "migrate").ok();
        assert!(
            first.ends_with(" schema changes applied, the schema is up to date\n"),
            "{first}"
        );
        assert!(!first.starts_with("0 "), "{first}");
        let again = "0 schema changes applied, the schema is up to date\n";
        assert_eq!(cli::run(&place.url, "migrate").ok(), again);
    });
}

#[test]
fn the_program_tells_its_version_and_its_commands() {
    let version = cli::run("sqlite://unused", "--version").ok();
    assert_eq!(version, format!("restante {}\n", env!("CARGO_PKG_VERSION")));
    let help = cli::run("sqlite://unused", "--help").ok();
    for command in [
        "serve", "demo", "user", "key", "deliver", "import", "migrate",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let unknown = cli::run("sqlite://unused", "serv");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("'serve'"), "{unknown:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    for arguments in [["user", "list", "--json"].as_slice(), &["user", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = cli::restante();
        command
            .args(arguments)
            .env("Database__Url", &place.url)
            .stdout(writer);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

// --- What the tests are made of ---

fn deliver_with(place: &Place, address: &str, message: &[u8]) -> Cli {
    Cli::new(&place.url)
        .args(["deliver", address])
        .stdin(message)
}

fn deliver(place: &Place, address: &str, message: &[u8]) -> Outcome {
    deliver_with(place, address, message).run()
}

fn import(place: &Place, source: &Path, options: &[&str]) -> Outcome {
    let cli = Cli::new(&place.url).args(["import", ADA]).args([source]);
    cli.args(options).run()
}

/// Writes a file beside the database.
fn file(place: &Place, name: &str, text: &str) -> PathBuf {
    let file = place.folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// What a user's messages say, the oldest first.
fn maildrop(place: &Place, address: &str) -> Vec<Vec<u8>> {
    run(async || {
        let user = Accounts::new(place.open().await)
            .find(address)
            .await
            .unwrap();
        let store = place.server().await;
        let maildrop = store.open(user, 0).await.unwrap();
        let mut messages = Vec::new();
        for number in (1..).map_while(MessageNumber::new) {
            let Some(content) = maildrop.content(number) else {
                break;
            };
            messages.push(octets(&store, content).await);
        }
        messages
    })
}
