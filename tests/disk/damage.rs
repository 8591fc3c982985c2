//! A page of the file that says something else than was written there.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;

use pop3::MessageNumber;
use restante::store::{MailStore, UserId};

use super::database;
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
    let page = page_of(found.unwrap().0) as u64;
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[0xee; PAGE], page).unwrap();
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
        let user = UserId(sql.number("SELECT id FROM users").await);
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
    assert_eq!(left("departures"), 1);
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
