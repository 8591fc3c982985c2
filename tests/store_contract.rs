//! What [`MailStore`] and delivery promise, on SQLite and on PostgreSQL alike.
//!
//! Waiting for what `tidy` removes needs no clock: a second message that nothing protects goes at
//! the same time, and once it is gone, what is still there is there on purpose.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use pop3::MessageNumber;
use restante::accounts::Accounts;
use restante::store::{
    CHUNK_OCTETS, ContentId, Database, Delivery, MailStore, Maildrop, MaildropVersion, MessageId,
    OpenError, SqlStore, StoreError, TIDY_INTERVAL, UserId,
};

use crate::support::mail::{ADA, BOB, add, message, octets, prepare, store};
use crate::support::place::{Kind, Place, Sql, on_each, on_each_blocking};
use crate::support::{cli, eventually_async, run};

/// From this size on, a delivery writes while the message still arrives.
const WRITTEN_EARLY: usize = 8 * CHUNK_OCTETS;

// --- Opening a maildrop ---

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
        }
    });
}

#[test]
fn an_empty_maildrop_opens_and_so_does_that_of_nobody() {
    on_each(async |place| {
        let server = place.server().await;
        let ada = add(&place.open().await, ADA).await;
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());
        let nobody = server.open(UserId(4711), 10).await.unwrap();
        assert!(nobody.snapshot.is_empty());
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
        // Whoever looked for octets would fail.
        sql.run("DROP TABLE chunks").await;
        let all = server.open(ada, 0).await.unwrap();
        assert_eq!(all.snapshot.len(), 100_000);
        assert_eq!(all.snapshot.octets(), 700_000);
        assert_eq!(all.snapshot.unique_id_of(number(1)), Some("bulk1"));
        assert_eq!(
            all.snapshot.unique_id_of(number(100_000)),
            Some("bulk100000")
        );
        let newest = server.open(ada, 1000).await.unwrap();
        assert_eq!(newest.snapshot.len(), 1000);
        assert_eq!(newest.snapshot.unique_id_of(number(1)), Some("bulk99001"));
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
        server.delete(ada, &messages(&newest)).await.unwrap();
        store(&database, &[ada], &vec![b"same".to_vec(); 50]).await;
        let after = unique_ids(&server.open(ada, 0).await.unwrap());
        assert_eq!(after.len(), 100);
        assert_eq!(after.iter().filter(|id| distinct.contains(id)).count(), 50);
    });
}

// --- Octets ---

#[test]
fn messages_of_every_size_come_back_octet_for_octet() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let around = |size: usize| [size - 1, size, size + 1];
        let sizes = [
            [3, 10, 1000],
            around(CHUNK_OCTETS),
            around(2 * CHUNK_OCTETS),
            around(WRITTEN_EARLY),
            around(2 * WRITTEN_EARLY),
            [WRITTEN_EARLY + CHUNK_OCTETS, 5_000_000, 5_000_001],
        ];
        let sizes = sizes.as_flattened();
        let written: Vec<_> = (1u64..)
            .zip(sizes)
            .map(|(n, size)| message(n, *size))
            .collect();
        store(&database, &[ada], &written).await;

        let maildrop = server.open(ada, 0).await.unwrap();
        assert_eq!(maildrop.snapshot.len(), sizes.len());
        for (at, message) in written.iter().enumerate() {
            let number = number(at as u64 + 1);
            assert_eq!(maildrop.snapshot.octets_of(number), Some(sizes[at] as u64));
            let content = maildrop.content(number).unwrap();
            assert!(octets(&server, content).await == *message, "{}", sizes[at]);
            check_chunks(&server, content, message).await;
        }
        let total: usize = sizes.iter().sum();
        assert_eq!(maildrop.snapshot.octets(), total as u64);
    });
}

/// Whichever part of a message is asked for, it is that part.
async fn check_chunks(server: &SqlStore, content: ContentId, message: &[u8]) {
    let pieces: Vec<Vec<u8>> = message.chunks(CHUNK_OCTETS).map(<[u8]>::to_vec).collect();
    let count = u32::try_from(pieces.len()).unwrap();
    for from in 0..count + 2 {
        let chunks = server.chunks(content, from..from + 2).await.unwrap();
        let expected: Vec<_> = pieces.iter().skip(from as usize).take(2).collect();
        assert!(
            chunks.iter().eq(expected),
            "{} octets, chunk {from}",
            message.len()
        );
    }
    let first = server.first_chunks(&[content]).await.unwrap();
    assert_eq!((first.len(), first[0].0), (1, content));
    assert!(first[0].1[..] == pieces[0]);
    for length in [
        0,
        1,
        8 * 1024,
        CHUNK_OCTETS,
        CHUNK_OCTETS + 1,
        u32::MAX as usize,
    ] {
        let asked = u32::try_from(length).unwrap();
        let beginning = server.beginning(content, asked).await.unwrap();
        assert!(
            beginning == pieces[0][..length.min(pieces[0].len())],
            "{length}"
        );
    }
}

#[test]
fn the_first_chunks_of_any_number_of_contents_come_at_once() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let written: Vec<_> = (0..130).map(|n| message(n, 100)).collect();
        store(&database, &[ada], &written).await;
        let maildrop = server.open(ada, 0).await.unwrap();
        let contents = contents(&maildrop);
        for count in [0, 1, 2, 4, 5, 16, 17, 63, 64, 65, 128, 129, 130] {
            let found = server.first_chunks(&contents[..count]).await.unwrap();
            assert_eq!(found.len(), count);
            let found: HashMap<_, _> = found.into_iter().collect();
            for at in 0..count {
                assert_eq!(found[&contents[at]][..], written[at]);
            }
        }
        // One that is not there is left out.
        let asked = [contents[0], ContentId(-1), ContentId(i64::MAX), contents[1]];
        let found = server.first_chunks(&asked).await.unwrap();
        let found: HashSet<_> = found.into_iter().map(|(content, _)| content).collect();
        assert_eq!(found, HashSet::from([contents[0], contents[1]]));
    });
}

#[test]
fn a_content_that_is_not_there_has_no_octets() {
    on_each(async |place| {
        let server = place.server().await;
        let nothing = ContentId(4711);
        assert!(server.chunks(nothing, 0..9).await.unwrap().is_empty());
        let beginning = server.beginning(nothing, 9).await;
        assert!(matches!(beginning, Err(StoreError::NoContent(id)) if id == nothing));
    });
}

// --- Delivery ---

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
                let mut delivery = Delivery::new(database.clone());
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
                    let mut delivery = Delivery::new(database.clone());
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
        let mut measuring = Delivery::measuring();
        let mut delivery = Delivery::new(database.clone());
        for piece in large.chunks(70_000) {
            measuring.write(piece).await.unwrap();
            delivery.write(piece).await.unwrap();
        }
        let (measured, prepared) = (measuring.finish(), delivery.finish());
        assert_eq!(measured.octets(), large.len() as u64);
        assert_eq!(prepared.octets(), measured.octets());
        assert_eq!(prepared.digest(), measured.digest());
        let digest = measured.digest().to_vec();
        let now = SystemTime::now();
        database.store(&[ada], vec![(prepared, now)]).await.unwrap();
        store(&database, &[ada], &[large, b"other".to_vec()]).await;
        let digests = database.digests(ada).await.unwrap();
        assert_eq!(digests.get(&digest), Some(&2));
        assert_eq!(digests.values().sum::<usize>(), 3);
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
        // Whoever is named twice receives one copy.
        let recipients = [users.clone(), users.clone()].concat();
        for size in [1000, WRITTEN_EARLY + 1] {
            store(&database, &recipients, &[message(1, size)]).await;
        }
        assert_eq!(sql.count("messages").await, 10);
        assert_eq!(sql.count("contents").await, 2);
        assert_eq!(sql.count("chunks").await, 1 + 9);
        assert_eq!(sql.count("unfinished").await, 0);
        for user in users {
            let maildrop = server.open(user, 0).await.unwrap();
            assert_eq!(maildrop.snapshot.len(), 2);
            let content = maildrop.content(number(2)).unwrap();
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
        let nobody = [users[0], UserId(4711), users[1]];
        assert!(database.store(&nobody, batch().await).await.is_err());
        let rows = format!("user_id = {}", users[1].0);
        sql.refuse("INSERT", "messages", &rows).await;
        assert!(database.store(&users, batch().await).await.is_err());
        sql.allow("messages").await;

        assert_eq!(sql.count("messages").await, 0);
        assert_eq!(
            sql.number("SELECT MAX(maildrop_version) FROM users").await,
            0
        );
        // Only what belongs to no maildrop yet, and expires.
        assert_eq!(sql.count("contents").await, sql.count("unfinished").await);

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
        let mut broken = Delivery::new(database.clone());
        broken.write(&message(1, 2 * WRITTEN_EARLY)).await.unwrap();
        assert_eq!(sql.count("unfinished").await, 1);
        let hour_ago = "UPDATE unfinished SET touched_at_ms = touched_at_ms - 3600000";
        sql.run(hour_ago).await;
        let mut lively = Delivery::new(database.clone());
        lively.write(&message(2, 2 * WRITTEN_EARLY)).await.unwrap();

        assert_eq!(server.tidy().await.unwrap().broken_deliveries, 1);
        assert_eq!(server.tidy().await.unwrap().broken_deliveries, 0);
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
        let mut delivery = Delivery::new(database.clone());
        for piece in large.chunks(WRITTEN_EARLY) {
            sql.run("UPDATE unfinished SET touched_at_ms = 0").await;
            delivery.write(piece).await.unwrap();
            assert_eq!(server.tidy().await.unwrap().broken_deliveries, 0);
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
            database.abandon(prepared).await.unwrap();
        }
        for table in ["unfinished", "chunks", "contents"] {
            assert_eq!(sql.count(table).await, 0, "{table}");
        }
    });
}

// --- Deleting ---

#[test]
fn a_failed_delete_deletes_nothing() {
    on_each(async |place| {
        let server = place.server().await;
        let ada = add(&place.open().await, ADA).await;
        let sql = place.sql().await;
        // More than fit into one statement, with the fault near the end.
        insert_messages(&sql, ada, 2500).await;
        let before = server.open(ada, 0).await.unwrap();
        let all = messages(&before);
        let version = version(&sql, ada).await;
        for (event, table, column) in [
            ("DELETE", "messages", "id"),
            ("INSERT", "departures", "message_id"),
        ] {
            let rows = format!("{column} = {}", all[2400].0);
            sql.refuse(event, table, &rows).await;
            let failed = server.delete(ada, &all).await;
            assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
            sql.allow(table).await;
            let after = server.open(ada, 0).await.unwrap();
            assert_eq!(unique_ids(&after), unique_ids(&before));
            assert_eq!(sql.count("departures").await, 0);
            assert_eq!(self::version(&sql, ada).await, version);
        }
        server.delete(ada, &all).await.unwrap();
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());
    });
}

#[test]
fn exactly_the_named_messages_of_this_user_are_deleted() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        let written: Vec<_> = (0..6).map(|n| message(n, 100)).collect();
        store(&database, &[ada, bob], &written).await;
        let adas = messages(&server.open(ada, 0).await.unwrap());
        let bobs = messages(&server.open(bob, 0).await.unwrap());

        // With one twice, one that never was and all of somebody else.
        let mut named = vec![adas[1], adas[4], adas[1], MessageId(i64::MAX)];
        named.extend(&bobs);
        server.delete(ada, &named).await.unwrap();

        let left = server.open(ada, 0).await.unwrap();
        assert_eq!(messages(&left), [adas[0], adas[2], adas[3], adas[5]]);
        assert_eq!(messages(&server.open(bob, 0).await.unwrap()), bobs);
        let content = left.content(number(2)).unwrap();
        assert_eq!(octets(&server, content).await, written[2]);
    });
}

#[test]
fn deleting_twice_is_the_same_as_once() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        store(
            &database,
            &[ada],
            &[message(1, 100), message(2, 100), message(3, 100)],
        )
        .await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all[..1]).await.unwrap();
        server.delete(ada, &all[..2]).await.unwrap();
        server.delete(ada, &all[..2]).await.unwrap();
        assert_eq!(messages(&server.open(ada, 0).await.unwrap()), all[2..]);
        server.delete(ada, &[]).await.unwrap();
        server.delete(UserId(4711), &all).await.unwrap();
        assert_eq!(messages(&server.open(ada, 0).await.unwrap()), all[2..]);
    });
}

#[test]
fn every_change_of_a_maildrop_gives_it_another_version() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        let mut seen = vec![version(&sql, ada).await];
        let bobs = version(&sql, bob).await;
        store(&database, &[ada], &[message(1, 100)]).await;
        seen.push(version(&sql, ada).await);
        store(&database, &[ada], &[message(2, 100), message(3, 100)]).await;
        seen.push(version(&sql, ada).await);
        for message in messages(&server.open(ada, 0).await.unwrap()) {
            server.delete(ada, &[message]).await.unwrap();
            seen.push(version(&sql, ada).await);
        }
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
        assert_eq!(version(&sql, bob).await, bobs);
    });
}

#[test]
fn sessions_and_deliveries_at_the_same_time_do_not_lose_each_others_work() {
    on_each(async |place| {
        let database = place.open().await;
        let server = place.server().await;
        let users = [add(&database, ADA).await, add(&database, BOB).await];
        let first: Vec<_> = (0..40).map(|n| message(n, 100)).collect();
        store(&database, &users, &first).await;
        let mut work = tokio::task::JoinSet::new();
        for user in users {
            let all = messages(&server.open(user, 0).await.unwrap());
            let backwards = all.iter().rev().copied().collect();
            // Two servers delete the same messages, in opposite orders.
            for messages in [all, backwards] {
                let server = place.server().await;
                work.spawn(async move {
                    for some in messages.chunks(5) {
                        server.delete(user, some).await.unwrap();
                    }
                });
            }
        }
        for recipients in [users, [users[1], users[0]]] {
            let database = place.open().await;
            work.spawn(async move {
                for seed in 0..20 {
                    store(&database, &recipients, &[message(seed, 200)]).await;
                }
            });
        }
        work.join_all().await;
        for user in users {
            let maildrop = server.open(user, 0).await.unwrap();
            assert_eq!(maildrop.snapshot.len(), 40);
            assert_eq!(maildrop.snapshot.octets(), 40 * 200);
        }
    });
}

// --- What open sessions can still read ---

#[test]
fn what_a_lease_protects_is_readable_until_it_ends_and_gone_then() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        let large = message(1, WRITTEN_EARLY + 1);
        store(&database, &[ada], std::slice::from_ref(&large)).await;
        store(&database, &[bob], &[message(2, 100)]).await;
        let lease = lease(&server, &sql, ada).await;
        let adas = server.open(ada, 0).await.unwrap();
        let bobs = server.open(bob, 0).await.unwrap();
        server.delete(ada, &messages(&adas)).await.unwrap();
        server.delete(bob, &messages(&bobs)).await.unwrap();
        // New logins see neither, at once.
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());

        tidy_until_gone(&[&server], &sql, &bobs).await;
        let content = adas.content(number(1)).unwrap();
        assert!(octets(&server, content).await == large);
        assert!(server.first_chunks(&[content]).await.unwrap().len() == 1);
        assert_eq!(server.beginning(content, 7).await.unwrap()[..], *b"Subject");

        drop(lease);
        tidy_until_gone(&[&server], &sql, &adas).await;
        for table in ["contents", "chunks", "departures", "holds"] {
            assert_eq!(sql.count(table).await, 0, "{table}");
        }
    });
}

#[test]
fn a_lease_protects_only_what_left_after_it_and_from_its_own_maildrop() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        store(&database, &[ada], &[message(1, 100)]).await;
        store(&database, &[bob], &[message(2, 100)]).await;
        let older = server.open(ada, 0).await.unwrap();
        let bobs = server.open(bob, 0).await.unwrap();
        server.delete(ada, &messages(&older)).await.unwrap();
        let _adas_lease = lease(&server, &sql, ada).await;
        server.delete(bob, &messages(&bobs)).await.unwrap();
        tidy_until_gone(&[&server], &sql, &older).await;
        tidy_until_gone(&[&server], &sql, &bobs).await;
    });
}

#[test]
fn each_of_several_sessions_keeps_what_it_can_see() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100), message(2, 100)]).await;
        let first = lease(&server, &sql, ada).await;
        let second = lease(&server, &sql, ada).await;
        let before = server.open(ada, 0).await.unwrap();
        server.delete(ada, &messages(&before)[..1]).await.unwrap();
        let third = lease(&server, &sql, ada).await;
        let between = server.open(ada, 0).await.unwrap();
        server.delete(ada, &messages(&between)).await.unwrap();

        drop(first);
        server.tidy().await.unwrap();
        drop(second);
        // The third never saw the first message.
        eventually_async("the first message to go", async || {
            server.tidy().await.unwrap();
            (sql.count("contents").await == 1).then_some(())
        })
        .await;
        let content = between.content(number(1)).unwrap();
        assert_eq!(octets(&server, content).await, message(2, 100));
        drop(third);
        tidy_until_gone(&[&server], &sql, &between).await;
    });
}

#[test]
fn a_shared_content_stays_while_anyone_has_the_message() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        let large = message(1, WRITTEN_EARLY + 1);
        store(&database, &[ada, bob], std::slice::from_ref(&large)).await;
        let adas = server.open(ada, 0).await.unwrap();
        let bobs = server.open(bob, 0).await.unwrap();
        let content = bobs.content(number(1)).unwrap();
        server.delete(ada, &messages(&adas)).await.unwrap();
        eventually_async("the departed message to go", async || {
            server.tidy().await.unwrap();
            (sql.count("departures").await == 0).then_some(())
        })
        .await;
        assert!(octets(&server, content).await == large);
        server.delete(bob, &messages(&bobs)).await.unwrap();
        tidy_until_gone(&[&server], &sql, &bobs).await;
    });
}

#[test]
fn a_removed_user_s_sessions_go_on_and_then_nothing_is_left() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        store(&database, &[ada], &[message(1, 100)]).await;
        store(&database, &[bob], &[message(2, 100)]).await;
        let lease = lease(&server, &sql, ada).await;
        let adas = server.open(ada, 0).await.unwrap();
        let bobs = server.open(bob, 0).await.unwrap();
        let accounts = Accounts::new(database.clone());
        accounts.remove(ADA).await.unwrap();
        accounts.remove(BOB).await.unwrap();
        tidy_until_gone(&[&server], &sql, &bobs).await;
        let content = adas.content(number(1)).unwrap();
        assert_eq!(octets(&server, content).await, message(1, 100));
        // A QUIT of such a session has nothing left to do.
        server.delete(ada, &messages(&adas)).await.unwrap();
        drop(lease);
        tidy_until_gone(&[&server], &sql, &adas).await;
    });
}

#[test]
fn a_session_of_another_server_keeps_what_it_can_see() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        store(&database, &[ada], &[message(1, 100)]).await;
        store(&database, &[bob], &[message(2, 100)]).await;
        let lease = lease(&there, &sql, ada).await;
        let adas = there.open(ada, 0).await.unwrap();
        let bobs = there.open(bob, 0).await.unwrap();
        here.delete(ada, &messages(&adas)).await.unwrap();
        here.delete(bob, &messages(&bobs)).await.unwrap();

        tidy_until_gone(&[&there, &here], &sql, &bobs).await;
        let content = adas.content(number(1)).unwrap();
        assert_eq!(octets(&there, content).await, message(1, 100));
        drop(lease);
        tidy_until_gone(&[&there, &here], &sql, &adas).await;
    });
}

#[test]
fn a_server_that_has_never_looked_is_waited_for() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let ada = add(&place.open().await, ADA).await;
        // Both have been running for a while, with nothing to tidy.
        here.tidy().await.unwrap();
        there.tidy().await.unwrap();
        keeps_its_message_without_looking(place, &here, &there, ada).await;
    });
}

#[test]
fn a_server_that_is_late_for_its_look_is_waited_for() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let ada = add(&place.open().await, ADA).await;
        // Both have tidied before.
        store(&place.open().await, &[ada], &[message(2, 100)]).await;
        let before = here.open(ada, 0).await.unwrap();
        here.delete(ada, &messages(&before)).await.unwrap();
        tidy_until_gone(&[&here, &there], &place.sql().await, &before).await;
        keeps_its_message_without_looking(place, &here, &there, ada).await;
    });
}

/// One server deletes and tidies; the other is late for its look by more than a second.
async fn keeps_its_message_without_looking(
    place: &Place,
    here: &SqlStore,
    there: &SqlStore,
    ada: UserId,
) {
    let sql = place.sql().await;
    store(&place.open().await, &[ada], &[message(1, 100)]).await;
    let _lease = lease(there, &sql, ada).await;
    let adas = there.open(ada, 0).await.unwrap();
    let content = adas.content(number(1)).unwrap();
    here.delete(ada, &messages(&adas)).await.unwrap();
    let late = TIDY_INTERVAL + Duration::from_millis(1500);
    let until = tokio::time::Instant::now() + late;
    while tokio::time::Instant::now() < until {
        here.tidy().await.unwrap();
        let there = octets(there, content).await;
        assert!(
            there == message(1, 100),
            "removed while a session can read it"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    there.tidy().await.unwrap();
    here.tidy().await.unwrap();
    assert_eq!(octets(there, content).await, message(1, 100));
}

#[test]
fn a_server_that_has_left_keeps_nothing() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100)]).await;
        let _lease = lease(&there, &sql, ada).await;
        let adas = there.open(ada, 0).await.unwrap();
        here.delete(ada, &messages(&adas)).await.unwrap();
        there.tidy().await.unwrap();
        here.tidy().await.unwrap();
        assert_eq!(sql.count("holds").await, 1);
        there.leave().await.unwrap();
        assert_eq!(sql.count("holds").await, 0);
        tidy_until_gone(&[&here], &sql, &adas).await;
    });
}

#[test]
fn a_server_that_was_taken_for_dead_says_again_what_it_holds() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100)]).await;
        let _lease = lease(&there, &sql, ada).await;
        let adas = there.open(ada, 0).await.unwrap();
        here.delete(ada, &messages(&adas)).await.unwrap();
        there.tidy().await.unwrap();
        assert_eq!(sql.count("holds").await, 1);
        // It was only held up, as when its machine was asleep.
        sql.run("DELETE FROM holds").await;
        sql.run("DELETE FROM servers").await;
        there.tidy().await.unwrap();
        assert_eq!(sql.count("holds").await, 1);
    });
}

#[test]
fn what_a_dead_server_held_goes_after_a_while() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100)]).await;
        let _lease = lease(&there, &sql, ada).await;
        let adas = there.open(ada, 0).await.unwrap();
        here.delete(ada, &messages(&adas)).await.unwrap();
        there.tidy().await.unwrap();
        assert_eq!(sql.count("holds").await, 1);
        // The other one says nothing any more.
        tidy_until_gone(&[&here], &sql, &adas).await;
        assert_eq!(sql.count("holds").await, 0);
        assert_eq!(
            sql.number("SELECT CAST(COUNT(*) AS BIGINT) FROM servers")
                .await,
            1
        );
    });
}

// --- The database itself ---

#[test]
fn a_broken_connection_costs_a_try_and_deletes_nothing() {
    on_each(async |place| {
        if place.kind == Kind::Sqlite {
            return; // It has no connections that could break.
        }
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100), message(2, 100)]).await;
        let before = server.open(ada, 0).await.unwrap();
        let others =
            "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sql.run(&format!("SELECT pg_terminate_backend(pid) FROM {others}"))
            .await;
        eventually_async("the deletion", async || {
            let deleted = server.delete(ada, &messages(&before)).await;
            let left = sql
                .count(&format!("messages WHERE user_id = {}", ada.0))
                .await;
            assert_eq!(left, if deleted.is_ok() { 0 } else { 2 });
            deleted.ok()
        })
        .await;
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());
    });
}

#[test]
fn migrating_twice_is_the_same_as_once() {
    on_each(async |place| {
        let database = Database::open(&place.url).await.unwrap();
        assert!(database.migrate().await.unwrap() > 0);
        let ada = add(&database, ADA).await;
        assert_eq!(database.migrate().await.unwrap(), 0);
        let again = place.open().await;
        assert_eq!(Accounts::new(again).find(ADA).await.unwrap(), ada);
    });
}

#[test]
fn two_processes_can_migrate_at_the_same_time() {
    for _ in 0..3 {
        on_each_blocking(|place| {
            let outputs = std::thread::scope(|scope| {
                let processes: Vec<_> = (0..3)
                    .map(|_| scope.spawn(|| cli::run(&place.url, "migrate").ok()))
                    .collect();
                processes
                    .into_iter()
                    .map(|it| it.join().unwrap())
                    .collect::<Vec<_>>()
            });
            let idle = outputs
                .iter()
                .filter(|it| it.starts_with("0 schema changes"));
            assert_eq!(idle.count(), 2, "{outputs:?}");
        });
    }
}

#[test]
fn a_schema_of_a_newer_version_is_refused() {
    on_each(async |place| {
        let database = place.open().await;
        let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m2999_future', 1)";
        place.sql().await.run(newer).await;
        assert!(database.migrate().await.is_err());
    });
}

#[test]
fn a_database_that_would_forget_is_refused() {
    run(async || {
        for url in [
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://",
            "sqlite:",
            "sqlite://?mode=memory",
            "sqlite://restante.db?mode=memory",
        ] {
            let opened = Database::open(url).await;
            assert!(matches!(opened, Err(OpenError::NoFile)), "{url}");
        }
    });
}

#[test]
fn a_database_whose_folder_has_an_unusual_name_is_made_where_the_url_says() {
    run(async || {
        let folder = tempfile::tempdir().unwrap();
        for (written, name) in [("a b", "a b"), ("c%20d", "c d"), ("ü", "ü"), ("e#f", "e#f")] {
            let url = format!("sqlite://{}/{written}/mail.db", folder.path().display());
            let opened = Database::open(&url).await;
            opened.unwrap().close().await.unwrap();
            assert!(folder.path().join(name).join("mail.db").exists(), "{url}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    });
}

#[test]
fn a_closed_database_can_be_opened_again_with_all_that_was_in_it() {
    on_each(async |place| {
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100)]).await;
        database.close().await.unwrap();
        let maildrop = place.server().await.open(ada, 0).await.unwrap();
        assert_eq!(maildrop.snapshot.len(), 1);
        if place.kind == Kind::Sqlite {
            let file = place.url.strip_prefix("sqlite://").unwrap();
            assert!(std::path::Path::new(file).exists());
        }
    });
}

// --- What the tests are made of ---

fn number(number: u64) -> MessageNumber {
    MessageNumber::new(number).unwrap()
}

fn numbers(maildrop: &Maildrop) -> impl Iterator<Item = MessageNumber> {
    (1..=maildrop.snapshot.len() as u64).map(number)
}

fn messages(maildrop: &Maildrop) -> Vec<MessageId> {
    numbers(maildrop)
        .filter_map(|n| maildrop.message(n))
        .collect()
}

fn contents(maildrop: &Maildrop) -> Vec<ContentId> {
    numbers(maildrop)
        .filter_map(|n| maildrop.content(n))
        .collect()
}

fn unique_ids(maildrop: &Maildrop) -> Vec<String> {
    let unique_id = |n| maildrop.snapshot.unique_id_of(n).unwrap().to_owned();
    numbers(maildrop).map(unique_id).collect()
}

async fn texts(server: &SqlStore, maildrop: &Maildrop) -> Vec<String> {
    let mut texts = Vec::new();
    for content in contents(maildrop) {
        texts.push(String::from_utf8(octets(server, content).await).unwrap());
    }
    texts
}

async fn version(sql: &Sql, user: UserId) -> MaildropVersion {
    let version = format!("SELECT maildrop_version FROM users WHERE id = {}", user.0);
    MaildropVersion(sql.number(&version).await)
}

/// The lease that a session takes which logs in now.
async fn lease(server: &SqlStore, sql: &Sql, user: UserId) -> restante::store::Lease {
    server.lease(user, version(sql, user).await)
}

/// Stores a message that has arrived, and reads it back.
async fn deliver(
    database: &Database,
    server: &SqlStore,
    user: UserId,
    delivery: Delivery,
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
    octets(server, maildrop.content(number(1)).unwrap()).await
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

/// Calls `tidy` on these servers, as they do, until the octets of this maildrop are gone.
async fn tidy_until_gone(servers: &[&SqlStore], sql: &Sql, maildrop: &Maildrop) {
    let keys: Vec<_> = contents(maildrop)
        .iter()
        .map(|key| key.0.to_string())
        .collect();
    let keys = keys.join(",");
    eventually_async("the octets to go", async || {
        for server in servers {
            server.tidy().await.unwrap();
        }
        let contents = sql.count(&format!("contents WHERE id IN ({keys})")).await;
        let chunks = sql
            .count(&format!("chunks WHERE content_id IN ({keys})"))
            .await;
        (contents + chunks == 0).then_some(())
    })
    .await;
}

/// Gives a user so many messages of 7 octets, past the program.
async fn insert_messages(sql: &Sql, user: UserId, count: usize) {
    sql.run("INSERT INTO contents (id, octets, digest) VALUES (1000000, 7, 'digest')")
        .await;
    sql.run(&format!(
        "INSERT INTO messages (user_id, content_id, octets, unique_id, received_at_ms) \
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
         SELECT {}, 1000000, 7, 'bulk' || CAST(n AS TEXT), n FROM numbers",
        user.0
    ))
    .await;
}
