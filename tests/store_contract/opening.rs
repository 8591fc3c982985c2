//! Opening a maildrop.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use restante::store::{SqlMaildrop, SqlStore, UserId};

use super::{SESSION, all_stored, insert_messages, messages, number, unique_ids};
use crate::support::mail::{ADA, BOB, add, octets, prepare, store};
use crate::support::place::on_each;

#[test]
fn a_maildrop_shows_the_newest_messages_with_the_oldest_of_them_first() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        // In the order of delivery; messages of the same time stay in it.
        for (name, seconds) in [("c", 30), ("e", 50), ("a", -10), ("b", 0), ("d", 30)] {
            let epoch = SystemTime::UNIX_EPOCH;
            let apart = Duration::from_secs(u64::try_from(seconds).unwrap_or(10));
            let at = if seconds < 0 {
                epoch - apart
            } else {
                epoch + apart
            };
            let prepared = prepare(&database, name.as_bytes()).await;
            database.store(&[ada], vec![(prepared, at)]).await.unwrap();
        }
        for (limit, expected) in [
            (0, "abcde"),
            (1, "e"),
            (3, "cde"),
            (4, "bcde"),
            (5, "abcde"),
            (6, "abcde"),
            (u32::MAX, "abcde"),
        ] {
            let maildrop = server.open(ada, limit).await.unwrap();
            let texts: String = texts(&server, &maildrop).await.concat();
            assert_eq!(texts.replace("\r\n", ""), expected, "limit {limit}");
            let hidden = maildrop.snapshot.hidden();
            assert_eq!(hidden, 5 - expected.len() as u64, "limit {limit}");
        }
    });
}

#[test]
fn an_empty_maildrop_opens_and_so_does_that_of_nobody() {
    on_each(async |place| {
        let server = place.server().await;
        let ada = add(&place.open().await, ADA).await;
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());
        let nobody = server.open(UserId::from_row(4711), 10).await.unwrap();
        assert!(nobody.snapshot.is_empty() && nobody.snapshot.hidden() == 0);
        assert_eq!(nobody.message(number(1)), None);
    });
}

#[test]
fn a_maildrop_of_100_000_messages_opens_without_their_octets() {
    on_each(async |place| {
        let server = place.server().await;
        let ada = add(&place.open().await, ADA).await;
        let sql = place.sql().await;
        insert_messages(&sql, ada, 100_000).await;
        // A query for octets would fail.
        sql.run("DROP TABLE chunks").await;
        let all = server.open(ada, 0).await.unwrap();
        assert_eq!(all.snapshot.len(), 100_000);
        assert_eq!(all.snapshot.octets(), 700_000);
        assert_eq!(all.snapshot.unique_id_of(number(1)), Some("bulk1"));
        assert_eq!(
            all.snapshot.unique_id_of(number(100_000)),
            Some("bulk100000")
        );
        for limit in [1000, 10_000, 10_001, 10_002, 99_999, 100_000, 200_000] {
            let newest = server.open(ada, limit).await.unwrap().snapshot;
            let hidden = 100_000_u64.saturating_sub(limit.into());
            let first = format!("bulk{}", hidden + 1);
            assert_eq!(newest.len() as u64, 100_000 - hidden);
            assert_eq!(newest.unique_id_of(number(1)), Some(first.as_str()));
            assert_eq!(newest.hidden(), hidden);
        }
        // Where one query more is needed, and where not.
        for count in [10_002, 10_001, 10_000, 9999] {
            sql.run(&format!(
                "DELETE FROM messages WHERE received_at_ms > {count}"
            ))
            .await;
            let last = u64::try_from(count).unwrap();
            for limit in [0, 10_000, 10_001, 20_000] {
                let opened = server.open(ada, limit).await.unwrap().snapshot;
                let hidden = match limit {
                    0 => 0,
                    limit => last.saturating_sub(limit.into()),
                };
                assert_eq!(
                    (opened.len() as u64, opened.hidden()),
                    (last - hidden, hidden)
                );
                let newest = format!("bulk{count}");
                let number = number(opened.len() as u64);
                assert_eq!(opened.unique_id_of(number), Some(newest.as_str()));
            }
        }
    });
}

#[test]
fn unique_ids_differ_for_ever_and_stay() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let users = [add(&database, ADA).await, add(&database, BOB).await];
        // The same text again and again: its copies are messages of their own.
        store(&database, &users, &vec![b"same".to_vec(); 100]).await;
        let [ada, bob] = users;
        let before = unique_ids(&server.open(ada, 0).await.unwrap());
        let others = unique_ids(&server.open(bob, 0).await.unwrap());
        let distinct: HashSet<_> = before.iter().chain(&others).collect();
        assert_eq!(distinct.len(), 200);

        let newest = server.open(ada, 50).await.unwrap();
        assert_eq!(unique_ids(&newest), before[50..]);
        let elsewhere = place.server().await;
        assert_eq!(unique_ids(&elsewhere.open(ada, 0).await.unwrap()), before);

        // Those that come after a deletion are new again.
        server
            .delete(ada, &messages(&newest), SESSION)
            .await
            .unwrap();
        store(&database, &[ada], &vec![b"same".to_vec(); 50]).await;
        let after = unique_ids(&server.open(ada, 0).await.unwrap());
        assert_eq!(after.len(), 100);
        assert_eq!(after.iter().filter(|id| distinct.contains(id)).count(), 50);
    });
}

async fn texts(server: &SqlStore, maildrop: &SqlMaildrop) -> Vec<String> {
    let mut texts = Vec::new();
    for message in all_stored(maildrop) {
        texts.push(String::from_utf8(octets(server, message).await).unwrap());
    }
    texts
}
