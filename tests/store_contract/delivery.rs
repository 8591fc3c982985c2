//! Messages that arrive.

use std::collections::HashSet;
use std::time::SystemTime;

use restante::store::{CHUNK_OCTETS, Database, Match, MessageWriter, SqlStore, StoreError, UserId};

use super::{WRITTEN_EARLY, number};
use crate::support::mail::{ADA, BOB, add, message, octets, prepare, store};
use crate::support::place::on_each;

#[test]
fn line_ends_become_canonical_however_the_message_arrives() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let odd = b"a\nb\r\nc\rd\0\xff\x80\r\r\n\n.\r\n..\n\r\n\rend".repeat(3);
        for ending in ["", "\n", "\r", "\r\n"] {
            let arrived = [odd.as_slice(), ending.as_bytes()].concat();
            for cut in [1, 2, 3, 5, 7, arrived.len()] {
                let mut delivery = MessageWriter::new(database.clone());
                for piece in arrived.chunks(cut) {
                    delivery.write(piece).await.unwrap();
                    delivery.write(b"").await.unwrap();
                }
                let stored = deliver(&database, &server, ada, delivery).await;
                assert_eq!(stored, canonical(&arrived), "{ending:?} {cut}");
            }
        }
    });
}

#[test]
fn a_line_end_on_the_seam_of_two_chunks_stays_one() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        for seam in [CHUNK_OCTETS, WRITTEN_EARLY] {
            for line_end in ["\n", "\r\n", "\r", "\r\r\n"] {
                for before in [seam - 2, seam - 1, seam] {
                    let arrived = [
                        "x".repeat(before).as_bytes(),
                        line_end.as_bytes(),
                        b"last line",
                    ]
                    .concat();
                    let mut delivery = MessageWriter::new(database.clone());
                    // The network cuts right behind the CR.
                    let (head, tail) = arrived.split_at(before + 1);
                    delivery.write(head).await.unwrap();
                    delivery.write(tail).await.unwrap();
                    let stored = deliver(&database, &server, ada, delivery).await;
                    assert!(stored == canonical(&arrived), "{before} {line_end:?}");
                }
            }
        }
    });
}

#[test]
fn what_is_measured_is_what_would_be_stored() {
    on_each(async |place| {
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let large = message(1, WRITTEN_EARLY + 12_345);
        let mut measuring = MessageWriter::measuring();
        let mut delivery = MessageWriter::new(database.clone());
        for piece in large.chunks(70_000) {
            measuring.write(piece).await.unwrap();
            delivery.write(piece).await.unwrap();
        }
        let (measured, prepared) = (measuring.finish(), delivery.finish());
        assert_eq!(measured.octets(), large.len() as u64);
        assert_eq!(prepared.octets(), measured.octets());
        assert_eq!(prepared.digest(), measured.digest());
        let now = SystemTime::now();
        database.store(&[ada], vec![(prepared, now)]).await.unwrap();
        store(&database, &[ada], &[large, b"other".to_vec()]).await;
        // An import knows it again, as often as it is there.
        let mut known = database.known(ada).await.unwrap();
        let mut meet = || known.by_octets(&measured, measured.digest(), &HashSet::new());
        assert!(matches!(meet(), Some(Match::There(_))) && matches!(meet(), Some(Match::There(_))));
        assert_eq!(meet(), None);
    });
}

#[test]
fn a_message_is_kept_once_however_many_users_receive_it() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let mut users = Vec::new();
        for name in 0..5 {
            users.push(add(&database, &format!("{name}@example.com")).await);
        }
        // A user who is named twice receives one copy.
        let recipients = [users.clone(), users.clone()].concat();
        for size in [1000, WRITTEN_EARLY + 1] {
            store(&database, &recipients, &[message(1, size)]).await;
        }
        assert_eq!(sql.count("messages").await, 10);
        assert_eq!(sql.count("contents").await, 2);
        assert_eq!(sql.count("chunks").await, 1 + 9);
        assert_eq!(sql.count("pending_contents").await, 0);
        for user in users {
            let maildrop = server.open(user, 0).await.unwrap();
            assert_eq!(maildrop.snapshot.len(), 2);
            let content = maildrop.stored(number(2)).unwrap();
            assert!(octets(&server, content).await == message(1, WRITTEN_EARLY + 1));
        }
    });
}

#[test]
fn a_delivery_reaches_all_its_recipients_or_none() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let users = [add(&database, ADA).await, add(&database, BOB).await];
        let batch = async || {
            let mut batch = Vec::new();
            for (seed, size) in [(1, 100), (2, WRITTEN_EARLY + 1), (3, 200)] {
                let prepared = prepare(&database, &message(seed, size)).await;
                batch.push((prepared, SystemTime::now()));
            }
            batch
        };
        let nobody = [users[0], UserId::from_row(4711), users[1]];
        assert!(database.store(&nobody, batch().await).await.is_err());
        let rows = format!("user_id = {}", users[1].row());
        sql.refuse("INSERT", "messages", &rows).await;
        assert!(database.store(&users, batch().await).await.is_err());
        sql.allow("messages").await;

        assert_eq!(sql.count("messages").await, 0);
        assert_eq!(
            sql.number("SELECT MAX(maildrop_version) FROM users").await,
            0
        );
        // Only what belongs to no maildrop yet, and expires.
        assert_eq!(
            sql.count("contents").await,
            sql.count("pending_contents").await
        );

        // Nothing that failed is in the way of the next try.
        database.store(&users, batch().await).await.unwrap();
        for user in users {
            assert_eq!(server.open(user, 0).await.unwrap().snapshot.len(), 3);
        }
    });
}

#[test]
fn a_delivery_that_was_broken_off_is_removed_after_an_hour() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        let mut broken = MessageWriter::new(database.clone());
        broken.write(&message(1, 2 * WRITTEN_EARLY)).await.unwrap();
        assert_eq!(sql.count("pending_contents").await, 1);
        let hour_ago = "UPDATE pending_contents SET written_at_ms = written_at_ms - 3600000";
        sql.run(hour_ago).await;
        let mut lively = MessageWriter::new(database.clone());
        lively.write(&message(2, 2 * WRITTEN_EARLY)).await.unwrap();

        assert_eq!(server.collect_garbage().await.unwrap().broken_deliveries, 1);
        assert_eq!(server.collect_garbage().await.unwrap().broken_deliveries, 0);
        assert_eq!(sql.count("contents").await, 1);
        assert_eq!(sql.count("chunks").await, 16);

        // It learns so, whether it goes on or ends.
        let went_on = broken.write(&message(1, WRITTEN_EARLY)).await;
        assert!(matches!(went_on, Err(StoreError::DeliveryExpired)));
        let ended = vec![(broken.finish(), SystemTime::now())];
        let ended = database.store(&[ada], ended).await;
        assert!(matches!(ended, Err(StoreError::DeliveryExpired)));
        assert_eq!(
            deliver(&database, &server, ada, lively).await.len(),
            2 * WRITTEN_EARLY
        );
        assert_eq!(sql.count("messages").await, 1);
        assert_eq!(sql.count("contents").await, 1);
    });
}

#[test]
fn a_slow_delivery_lives_as_long_as_it_grows() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        let large = message(1, 4 * WRITTEN_EARLY);
        let mut delivery = MessageWriter::new(database.clone());
        for piece in large.chunks(WRITTEN_EARLY) {
            sql.run("UPDATE pending_contents SET written_at_ms = 0")
                .await;
            delivery.write(piece).await.unwrap();
            assert_eq!(server.collect_garbage().await.unwrap().broken_deliveries, 0);
        }
        assert!(deliver(&database, &server, ada, delivery).await == large);
    });
}

#[test]
fn what_is_abandoned_leaves_at_once() {
    on_each(async |place| {
        let database = place.open().await;
        let sql = place.sql().await;
        for size in [100, WRITTEN_EARLY + 1] {
            let prepared = prepare(&database, &message(1, size)).await;
            database.abandon(&prepared).await.unwrap();
        }
        for table in ["pending_contents", "chunks", "contents"] {
            assert_eq!(sql.count(table).await, 0, "{table}");
        }
    });
}

/// Stores a message that has arrived, and reads it back.
async fn deliver(
    database: &Database,
    server: &SqlStore,
    user: UserId,
    delivery: MessageWriter,
) -> Vec<u8> {
    let now = SystemTime::now();
    let prepared = delivery.finish();
    let counted = prepared.octets();
    database
        .store(&[user], vec![(prepared, now)])
        .await
        .unwrap();
    let maildrop = server.open(user, 1).await.unwrap();
    assert_eq!(maildrop.snapshot.octets(), counted);
    octets(server, maildrop.stored(number(1)).unwrap()).await
}

/// The canonical form, told as plainly as it can be.
fn canonical(octets: &[u8]) -> Vec<u8> {
    let mut canonical = Vec::new();
    for octet in octets {
        if *octet == b'\n' && canonical.last() != Some(&b'\r') {
            canonical.push(b'\r');
        }
        canonical.push(*octet);
    }
    if !canonical.ends_with(b"\r\n") {
        if canonical.last() != Some(&b'\r') {
            canonical.push(b'\r');
        }
        canonical.push(b'\n');
    }
    canonical
}
