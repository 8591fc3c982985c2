//! A page of the file that says something else than was written there.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;

use pop3::MessageNumber;
use restante::store::UserId;

use super::database;
use crate::lmtp::Mta;
use crate::support::cli;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Place, sqlite};
use crate::support::postgres::free_port;
use crate::support::{eventually, run};

const PAGE: usize = 4096;

/// Overwrites the page in which this text stands.
fn overwrite_the_page_of(place: &Place, text: &[u8]) {
    overwrite_the_page_of_kind(place, text, |_| true);
}

/// Overwrites the first page in which this text stands and whose first octet is of this kind.
fn overwrite_the_page_of_kind(place: &Place, text: &[u8], is_of_kind: fn(u8) -> bool) {
    let file = database(place);
    let octets = fs::read(&file).unwrap();
    let page_of = |at: usize| at - at % PAGE;
    let mut places = octets.windows(text.len()).enumerate();
    let found = places.find(|(at, it)| *it == text && is_of_kind(octets[page_of(*at)]));
    overwrite(place, page_of(found.unwrap().0));
}

/// Overwrites the first page of a table or an index.
fn overwrite_the_root_of(place: &Place, name: &str) {
    let root = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'");
    let root = run(async || {
        let sql = place.sql().await;
        let root = sql.number(&root).await;
        sql.close().await;
        usize::try_from(root).unwrap()
    });
    overwrite(place, (root - 1) * PAGE);
}

fn overwrite(place: &Place, at: usize) {
    let file = OpenOptions::new().write(true).open(database(place));
    file.unwrap()
        .write_all_at(&[0xee; PAGE], at as u64)
        .unwrap();
}

/// What goes on although one table or index can't be read at all.
struct Damage {
    of: &'static str,
    login: bool,
    retrieve: bool,
    delete: bool,
    deliver: bool,
}

const NOTHING: Damage = Damage {
    of: "",
    login: false,
    retrieve: false,
    delete: false,
    deliver: false,
};

/// What is refused is what needs the page.
const DAMAGES: [Damage; 10] = [
    // Nothing but the health check reads it as long as no address changes.
    Damage {
        of: "sqlite_autoindex_users_1",
        login: true,
        retrieve: true,
        delete: true,
        deliver: true,
    },
    // It numbers new rows.
    Damage {
        of: "sqlite_sequence",
        login: true,
        retrieve: true,
        delete: true,
        deliver: false,
    },
    Damage {
        of: "users",
        ..NOTHING
    },
    Damage {
        of: "addresses",
        ..NOTHING
    },
    Damage {
        of: "api_keys",
        deliver: true,
        ..NOTHING
    },
    Damage {
        of: "messages",
        ..NOTHING
    },
    Damage {
        of: "messages_user_id_unique_id_key",
        login: true,
        retrieve: true,
        ..NOTHING
    },
    Damage {
        of: "contents",
        login: true,
        retrieve: true,
        ..NOTHING
    },
    Damage {
        of: "chunks",
        login: true,
        delete: true,
        ..NOTHING
    },
    Damage {
        of: "deleted_messages",
        login: true,
        retrieve: true,
        deliver: true,
        ..NOTHING
    },
];

impl Damage {
    /// Tries all of it on a database that is damaged so.
    fn is_survived(&self) {
        let place = sqlite();
        let messages: Vec<_> = (0..3).map(|seed| message(seed, 20_000)).collect();
        let key = fill(&place.url, ADA, &messages);
        overwrite_the_root_of(&place, self.of);
        let [lmtp, admin] = [free_port(), free_port()];
        let daemon = Daemon::start_with(
            &place.url,
            &[
                ("Lmtp__Port", &lmtp.to_string()),
                ("Admin__Port", &admin.to_string()),
            ],
        );
        let admin = Http::new(SocketAddr::from(([127, 0, 0, 1], admin)));
        let mut client = daemon.connect();
        client.ok(&format!("USER {ADA}"));
        self.is("login", self.login, &client.command(&format!("PASS {key}")));
        if self.login {
            if self.retrieve {
                assert_eq!(client.body("RETR 1"), messages[0], "{}", self.of);
            } else {
                self.is("retrieve", false, &client.command("RETR 1"));
            }
            client.ok("DELE 1");
            self.is("delete", self.delete, &client.command("QUIT"));
        }
        let mut mta = Mta::hello(lmtp);
        mta.expect("MAIL FROM:<eve@example.net>", "250");
        mta.send(format!("RCPT TO:<{ADA}>\r\n").as_bytes());
        let answer = mta.read();
        let answer = match answer.starts_with("250 ") {
            true => mta.data(b"Subject: new\r\n\r\nbody\r\n", 1).remove(0),
            false => answer,
        };
        let expected = if self.deliver { "250 " } else { "451 4.3.0 " };
        assert!(answer.starts_with(expected), "{}: {answer}", self.of);
        eventually("health to be degraded", || {
            (admin.json("/healthz")["status"] == "Degraded").then_some(())
        });
        daemon.wait_for_log("the database is damaged in places");
        let told = daemon
            .log()
            .matches("the database is damaged in places")
            .count();
        assert_eq!(told, 1, "{}", daemon.log());
    }

    fn is(&self, what: &str, possible: bool, answer: &str) {
        let expected = if possible { "+OK" } else { "-ERR [SYS/TEMP]" };
        assert!(answer.starts_with(expected), "{} {what}: {answer}", self.of);
    }
}

#[test]
fn a_table_or_an_index_that_is_damaged_concerns_what_needs_it_alone() {
    for damage in DAMAGES {
        damage.is_survived();
    }
}

#[test]
fn a_database_that_is_damaged_at_its_beginning_is_not_opened_and_it_is_told_what_to_do() {
    let place = sqlite();
    fill(&place.url, ADA, &[]);
    for at_migrations in [true, false] {
        if at_migrations {
            overwrite_the_root_of(&place, "seaql_migrations");
        } else {
            overwrite(&place, 0);
        }
        for command in ["serve", "user list", "migrate"] {
            let why = cli::run(&place.url, command).failed(1);
            assert!(why.contains("restore a backup, or recover"), "{why}");
        }
    }
}

#[test]
fn a_login_that_meets_a_damaged_page_is_refused_and_health_tells_of_it() {
    /// What the leaves of a table begin with; the unique-ids are in an index, too.
    const LEAF: u8 = 0x0d;
    let place = sqlite();
    let messages: Vec<_> = (0..300).map(|seed| message(seed, 100)).collect();
    let key = fill(&place.url, ADA, &messages);
    let unique_id = run(async || {
        let sql = place.sql().await;
        let user = UserId::from_row(sql.number("SELECT id FROM users").await);
        sql.close().await;
        let opened = place.server().await.open(user, 0).await.unwrap();
        let number = MessageNumber::new(150).unwrap();
        opened.snapshot.unique_id_of(number).unwrap().to_owned()
    });
    // Rows before it are good.
    overwrite_the_page_of_kind(&place, unique_id.as_bytes(), |first| first == LEAF);
    let port = free_port();
    let daemon = Daemon::start_with(&place.url, &[("Admin__Port", &*port.to_string())]);
    let admin = Http::new(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut client = daemon.connect();
    client.ok(&format!("USER {ADA}"));
    let answer = client.command(&format!("PASS {key}"));
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    eventually("health to be degraded", || {
        (admin.json("/healthz")["status"] == "Degraded").then_some(())
    });
}

#[test]
fn what_a_damaged_page_does_not_concern_is_removed_and_health_tells_of_the_damage() {
    let place = sqlite();
    let mut messages: Vec<_> = (0..12).map(|seed| message(seed, 30_000)).collect();
    let marked = b"this line stands in the damaged page\r\n";
    messages[5].splice(15_000..15_000, *marked);
    let key = fill(&place.url, ADA, &messages);
    overwrite_the_page_of(&place, marked);
    let port = free_port();
    let settings = [("Admin__Port", &*port.to_string())];
    let daemon = Daemon::start_with(&place.url, &settings);
    let admin = Http::new(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut client = daemon.login(ADA, &key);
    for number in 1..=12 {
        client.ok(&format!("DELE {number}"));
    }
    client.ok("QUIT");
    let left = |table: &'static str| {
        run(async || {
            let sql = place.sql().await;
            let left = sql.count(table).await;
            sql.close().await;
            left
        })
    };
    eventually("all but the damaged message to go", || {
        (left("contents") == 1).then_some(())
    });
    assert_eq!(left("deleted_messages"), 1);
    daemon.wait_for_log("the database is damaged: this is not removed, all else is");
    let health = eventually("health to be degraded", || {
        let health = admin.json("/healthz");
        (health["status"] == "Degraded").then_some(health)
    });
    assert!(
        health.to_string().contains("it is damaged in places"),
        "{health}"
    );
    let metrics = admin.get("/metrics").text;
    assert!(
        metrics.contains("\nrestante_database_damaged 1\n"),
        "{metrics}"
    );

    // It is told once, and what is deleted from now on goes, too.
    let deliver = cli::Cli::new(&place.url).args(["deliver", ADA]);
    assert_eq!(deliver.stdin(b"another").run().code, Some(0));
    let mut client = daemon.login(ADA, &key);
    client.ok("DELE 1");
    client.ok("QUIT");
    eventually("the other message to go", || {
        (left("contents") == 1).then_some(())
    });
    let told = daemon.log().matches("this is not removed").count();
    assert_eq!(told, 1);
}

#[test]
fn a_message_in_a_damaged_page_is_refused_and_the_others_are_read() {
    let place = sqlite();
    let mut messages: Vec<_> = (0..3).map(|seed| message(seed, 30_000)).collect();
    let marked = b"this line stands in the damaged page\r\n";
    messages[1].splice(15_000..15_000, *marked);
    let key = fill(&place.url, ADA, &messages);
    overwrite_the_page_of(&place, marked);
    let port = free_port();
    let settings = [("Admin__Port", &*port.to_string())];
    let daemon = Daemon::start_with(&place.url, &settings);
    let admin = Http::new(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut client = daemon.login(ADA, &key);
    assert_eq!(client.body("RETR 1"), messages[0]);
    let answer = client.command("RETR 2");
    assert!(answer.starts_with("-ERR [SYS/"), "{answer}");
    assert_eq!(client.body("RETR 3"), messages[2]);
    eventually("health to be degraded", || {
        (admin.json("/healthz")["status"] == "Degraded").then_some(())
    });
}
