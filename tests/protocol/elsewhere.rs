//! Defects found in other servers that no other test here would show.

use std::collections::HashSet;
use std::time::SystemTime;

use super::{SMALL, assert_same, on_each, sqlite};
use crate::served::Served;
use crate::support::daemon::Daemon;
use crate::support::mail::{self, ADA};
use crate::support::{eventually, place};

#[test]
fn copies_of_one_message_have_unique_ids_of_their_own() {
    let message = b"Message-ID: <the-same@example.com>\r\n\r\nbody\r\n".to_vec();
    on_each(|served| {
        let owner = served.owner(&vec![message.clone(); 50]);
        let listing = served.login(&owner).body("UIDL");
        let listing = String::from_utf8(listing).unwrap();
        let ids: HashSet<&str> = listing
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(ids.len(), 50);
        for id in ids {
            assert!((1..=70).contains(&id.len()), "{id:?}");
            assert!(
                id.bytes().all(|octet| (0x21..=0x7e).contains(&octet)),
                "{id:?}"
            );
        }
    });
}

#[test]
fn one_recipient_deletes_and_the_other_keeps_the_message() {
    on_each(|served| {
        let (deletes, keeps) = (served.owner(&[]), served.owner(&[]));
        let recipients = [deletes.id, keeps.id];
        served.ask(async move |running| {
            let prepared = mail::prepare(&running.database, SMALL).await;
            let messages = vec![(prepared, SystemTime::now())];
            running.database.store(&recipients, messages).await.unwrap();
        });
        let mut wire = served.login(&deletes);
        wire.ok("DELE 1");
        wire.ok("QUIT");
        assert_eq!(served.login(&deletes).ok("STAT"), "+OK 0 0");
        assert_same(
            &served.login(&keeps).body("RETR 1"),
            SMALL,
            "the other copy",
        );
    });
}

#[test]
fn words_of_clients_do_not_become_series_of_metrics() {
    let served = sqlite();
    let metrics =
        |served: &Served| served.ask(async |running| running.server().metrics().render().unwrap());
    let before = metrics(&served).lines().count();
    let mut wire = served.connect();
    for n in 0..15 {
        assert!(wire.command(&format!("XWORD{n} {n}")).starts_with("-ERR"));
    }
    wire.command("CAPA");
    let after = eventually("the commands to be counted", || {
        let after = metrics(&served);
        after.contains("{command=\"UNKNOWN\"} 15").then_some(after)
    });
    assert_eq!(after.lines().count(), before, "{after}");
    assert!(!after.to_uppercase().contains("XWORD"), "{after}");
}

#[test]
fn wrong_keys_do_not_block_the_right_one() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    for _ in 0..10 {
        let mut wire = served.connect();
        for _ in 0..3 {
            wire.ok(&format!("USER {}", owner.address));
            assert!(wire.command("PASS wrong").starts_with("-ERR [AUTH]"));
        }
        assert_eq!(wire.read_to_end().unwrap(), b"");
    }
    served.login(&owner).ok("STAT");
}

#[test]
fn a_certificate_file_that_is_half_written_breaks_no_login() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec()]);
    let file = served.place.folder.path().join("certificate.pem");
    std::fs::write(file, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    served.login_tls(&owner).ok("STAT");
}

#[test]
fn neither_keys_nor_mail_are_in_the_log() {
    let place = place::sqlite();
    let mail = b"Subject: tulips\r\n\r\nhyacinths\r\n".to_vec();
    let key = mail::fill(&place.url, ADA, &[mail]);
    let daemon = Daemon::start_with(&place.url, &[("Log__Level", "trace")]);
    let mut client = daemon.connect();
    client.ok(&format!("USER {ADA}"));
    assert!(client.command("PASS daffodils").starts_with("-ERR [AUTH]"));
    assert!(client.command("PASS crocuses").starts_with("-ERR"));
    assert!(client.command("snowdrops").starts_with("-ERR"));
    client.ok(&format!("USER {ADA}"));
    client.ok(&format!("PASS {key}"));
    client.body("RETR 1");
    client.ok("DELE 1");
    client.ok("QUIT");
    daemon.wait_for_log("session ended");
    let log = daemon.log();
    let secrets = [
        "daffodils",
        "crocuses",
        "snowdrops",
        "tulips",
        "hyacinths",
        &key,
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}
