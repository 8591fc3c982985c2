//! What a QUIT deleted and can be brought back, and what expires.

use std::time::Duration;

use restante::accounts::{Accounts, Quota};
use restante::identity::new_name;
use restante::store::{
    Database, Delivery, EXPIRY, GcReport, Outcome, Recipient, RestoreSelector, Retention, SqlStore,
    UserId,
};

use super::{SESSION, all_stored, messages, unique_ids, version};
use crate::support::eventually_async;
use crate::support::mail::{ADA, BOB, add, message, octets, prepare, store};
use crate::support::place::{Place, Sql, on_each};

/// How long deletions are kept here; nobody waits for it.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

async fn with_retention(place: &Place) -> SqlStore {
    let keeping = Retention {
        deleted: KEPT,
        expire_after: Some(KEPT),
    };
    SqlStore::new(place.open().await, new_name()).with_retention(keeping)
}

/// Collects garbage, as the server does, until so many deleted messages are left.
async fn collect_until(server: &SqlStore, sql: &Sql, left: i64) {
    eventually_async("deleted messages to go", async || {
        server.collect_garbage().await.unwrap();
        (sql.count("deleted_messages").await == left).then_some(())
    })
    .await;
}

#[test]
fn a_session_s_deletions_come_back_as_they_were_and_no_others() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        let written: Vec<_> = (0..5).map(|n| message(n, 200_000)).collect();
        store(&database, &[ada, bob], &written).await;
        let before = server.open(ada, 0).await.unwrap();
        let all = messages(&before);
        server.delete(ada, &all[1..3], SESSION).await.unwrap();
        server.delete(ada, &all[4..], "another").await.unwrap();
        let bobs = messages(&server.open(bob, 0).await.unwrap());
        server.delete(bob, &bobs, SESSION).await.unwrap();
        server.collect_garbage().await.unwrap();
        assert_eq!(server.open(ada, 0).await.unwrap().snapshot.len(), 2);

        let known = database.deletions(ada).await.unwrap();
        let known: Vec<_> = known
            .iter()
            .map(|it| (it.session.as_str(), it.messages))
            .collect();
        assert!(
            known.contains(&(SESSION, 2)) && known.contains(&("another", 1)),
            "{known:?}"
        );
        let earlier = version(&sql, ada).await;
        let restored = database
            .restore(ada, RestoreSelector::Session(SESSION))
            .await;
        assert_eq!(restored.unwrap(), 2);
        assert!(version(&sql, ada).await > earlier, "logins look again");
        let after = server.open(ada, 0).await.unwrap();
        assert_eq!(unique_ids(&after), unique_ids(&before)[..4]);
        assert_eq!(messages(&after), all[..4]);
        for (stored, written) in all_stored(&after).into_iter().zip(&written) {
            assert!(octets(&server, stored).await == *written);
        }
        // It is done, and there is no such session.
        for session in [SESSION, "nobody", ""] {
            let nothing = database
                .restore(ada, RestoreSelector::Session(session))
                .await;
            assert_eq!(nothing.unwrap(), 0);
        }
        assert!(server.open(bob, 0).await.unwrap().snapshot.is_empty());

        // Again and again, with readers meanwhile.
        let lease = server.lease(ada, version(&sql, ada).await);
        server.delete(ada, &all[..4], "third").await.unwrap();
        assert_eq!(
            database
                .restore(ada, RestoreSelector::Since(Duration::from_secs(3600)))
                .await
                .unwrap(),
            5
        );
        server.delete(ada, &all[..4], "fourth").await.unwrap();
        server.collect_garbage().await.unwrap();
        for (stored, written) in all_stored(&after).into_iter().zip(&written) {
            assert!(octets(&server, stored).await == *written);
        }
        drop(lease);
        assert_eq!(
            database
                .restore(ada, RestoreSelector::Session("fourth"))
                .await
                .unwrap(),
            4
        );
        let after = server.open(ada, 0).await.unwrap();
        assert_eq!(unique_ids(&after), unique_ids(&before));
    });
}

#[test]
fn what_is_kept_no_longer_leaves_the_database_and_can_not_come_back() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100), message(2, 100)]).await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all[..1], "one").await.unwrap();
        server.delete(ada, &all[1..], "two").await.unwrap();
        // As if a week had gone by for one of them.
        for (table, at) in [
            ("deleted_messages", "deleted_at_ms"),
            ("deletions", "deleted_at_ms"),
        ] {
            sql.run(&format!(
                "UPDATE {table} SET {at} = {at} - {0}, kept_until_ms = kept_until_ms - {0} \
                 WHERE session_id = 'one'",
                KEPT.as_millis()
            ))
            .await;
        }
        assert_eq!(
            database
                .restore(ada, RestoreSelector::Session("one"))
                .await
                .unwrap(),
            0
        );
        collect_until(&server, &sql, 1).await;
        assert_eq!(sql.count("contents").await, 1);
        assert_eq!(
            database
                .restore(ada, RestoreSelector::Since(Duration::MAX))
                .await
                .unwrap(),
            1
        );
    });
}

#[test]
fn without_retention_what_is_deleted_is_gone_at_once() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100)]).await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all, SESSION).await.unwrap();
        assert_eq!(
            database
                .restore(ada, RestoreSelector::Session(SESSION))
                .await
                .unwrap(),
            0
        );
        collect_until(&server, &sql, 0).await;
        assert_eq!(sql.count("contents").await, 0);
    });
}

#[test]
fn nothing_is_kept_of_a_user_who_is_removed() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        store(&database, &[ada], &[message(1, 100), message(2, 100)]).await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all[..1], SESSION).await.unwrap();
        let accounts = Accounts::new(database.clone());
        accounts.remove(ADA).await.unwrap();
        collect_until(&server, &sql, 0).await;
        assert_eq!(sql.count("contents").await, 0);
    });
}

#[test]
fn a_message_expires_by_the_time_that_it_has_been_here() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        // They were received years ago, and are here since now.
        store(
            &database,
            &[ada],
            &[message(1, 100), message(2, 100), message(3, 100)],
        )
        .await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        assert_eq!(server.collect_garbage().await.unwrap().expired, 0);
        let age = |message: usize, by: u128| {
            let id = all[message].0;
            format!("UPDATE messages SET stored_at_ms = stored_at_ms - {by} WHERE id = {id}")
        };
        // One has been here for a minute less than a week, one for a minute more.
        sql.run(&age(0, KEPT.as_millis() - 60_000)).await;
        sql.run(&age(1, KEPT.as_millis() + 60_000)).await;
        let earlier = version(&sql, ada).await;
        assert_eq!(server.collect_garbage().await.unwrap().expired, 1);
        assert!(version(&sql, ada).await > earlier, "logins look again");
        let left = server.open(ada, 0).await.unwrap();
        assert_eq!(messages(&left), [all[0], all[2]]);
        // It is kept like what was deleted, and comes back to stay.
        let kept = database.deletions(ada).await.unwrap();
        assert_eq!((kept[0].session.as_str(), kept[0].messages), (EXPIRY, 1));
        assert_eq!(restored(&database, ada, EXPIRY).await, 1);
        assert_eq!(messages(&server.open(ada, 0).await.unwrap()), all);
        assert_eq!(server.collect_garbage().await.unwrap().expired, 0);
        // What is brought back has been here since then.
        server.delete(ada, &all[..1], SESSION).await.unwrap();
        database
            .restore(ada, RestoreSelector::Session(SESSION))
            .await
            .unwrap();
        sql.run(&age(0, 120_000)).await;
        assert_eq!(server.collect_garbage().await.unwrap().expired, 0);
    });
}

#[test]
fn servers_that_share_a_database_keep_and_remove_together() {
    on_each(async |place| {
        let [here, there] = [with_retention(place).await, with_retention(place).await];
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        let delivery = Delivery {
            message: prepare(&database, &message(1, 300_000)).await,
            recipients: vec![Recipient {
                user: ada,
                trace_headers: b"X: head\r\n".to_vec(),
            }],
        };
        database.deliver(&[delivery]).await.unwrap();
        let whole = [b"X: head\r\n".to_vec(), message(1, 300_000)].concat();
        let lease = there.lease(ada, version(&sql, ada).await);
        let seen = there.open(ada, 0).await.unwrap();
        let stored = all_stored(&seen)[0];
        here.collect_garbage().await.unwrap();
        there.collect_garbage().await.unwrap();

        here.delete(ada, &messages(&seen), "first").await.unwrap();
        // While it is kept there is nothing to agree on, so nobody writes a beat.
        let beats = "SELECT CAST(SUM(heartbeat) AS BIGINT) FROM servers";
        let before = sql.number(beats).await;
        for server in [&here, &there, &here, &there] {
            assert_eq!(server.collect_garbage().await.unwrap(), GcReport::default());
        }
        assert_eq!(sql.number(beats).await, before);
        assert_eq!(restored(&database, ada, "first").await, 1);
        assert!(octets(&there, stored).await == whole);

        // The session that saw it all along deletes it, by the key that it knows.
        there.delete(ada, &messages(&seen), "second").await.unwrap();
        assert!(here.open(ada, 0).await.unwrap().snapshot.is_empty());
        assert_eq!(restored(&database, ada, "first").await, 0);
        for table in ["deleted_messages", "deletions"] {
            sql.run(&format!("UPDATE {table} SET kept_until_ms = 1"))
                .await;
        }
        assert_eq!(restored(&database, ada, "second").await, 0);
        eventually_async(
            "the other server to hold what its session reads",
            async || {
                here.collect_garbage().await.unwrap();
                there.collect_garbage().await.unwrap();
                // Of both deletions, though the first has left nothing.
                (sql.count("remote_leases").await == 2).then_some(())
            },
        )
        .await;
        assert!(octets(&there, stored).await == whole);
        drop(lease);
        eventually_async("the message to go", async || {
            there.collect_garbage().await.unwrap();
            here.collect_garbage().await.unwrap();
            (sql.count("deleted_messages").await == 0).then_some(())
        })
        .await;
        for table in ["contents", "chunks", "trace_headers", "remote_leases"] {
            assert_eq!(sql.count(table).await, 0, "{table}");
        }
    });
}

#[test]
fn what_is_kept_counts_for_no_quota() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let quota = Quota {
            octets: None,
            messages: Some(1),
        };
        let accounts = Accounts::new(database.clone());
        let ada = accounts.add_with_quota(ADA, &[], quota).await.unwrap();
        let deliver = async |seed| {
            let delivery = Delivery {
                message: prepare(&database, &message(seed, 100)).await,
                recipients: vec![Recipient {
                    user: ada,
                    trace_headers: Vec::new(),
                }],
            };
            database.deliver(&[delivery]).await.unwrap().concat()
        };
        assert_eq!(deliver(1).await, [Outcome::Stored]);
        assert_eq!(deliver(2).await, [Outcome::OverQuota]);
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all, SESSION).await.unwrap();
        let listed = accounts.list().await.unwrap();
        assert_eq!((listed[0].messages, listed[0].octets), (0, 0));
        assert_eq!(deliver(3).await, [Outcome::Stored]);
        // The user's own mail comes back all the same.
        assert_eq!(restored(&database, ada, SESSION).await, 1);
        assert_eq!(server.open(ada, 0).await.unwrap().snapshot.len(), 2);
    });
}

#[test]
fn a_restore_that_fails_restores_nothing() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let sql = place.sql().await;
        let ada = add(&database, ADA).await;
        let written: Vec<_> = (0..3).map(|n| message(n, 100)).collect();
        store(&database, &[ada], &written).await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all, SESSION).await.unwrap();
        let earlier = version(&sql, ada).await;
        for (event, table, column) in [
            ("INSERT", "messages", "id"),
            ("DELETE", "deleted_messages", "message_id"),
        ] {
            let rows = format!("{column} = {}", all[2].0);
            sql.refuse(event, table, &rows).await;
            let failed = database
                .restore(ada, RestoreSelector::Session(SESSION))
                .await;
            assert!(failed.is_err(), "{failed:?}");
            sql.allow(table).await;
            assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());
        }
        // Nor does one that finds nothing change the maildrop.
        assert_eq!(restored(&database, ada, "nobody").await, 0);
        assert_eq!(version(&sql, ada).await, earlier);
        assert_eq!(restored(&database, ada, SESSION).await, 3);
    });
}

async fn restored(database: &Database, user: UserId, session: &str) -> u64 {
    let which = RestoreSelector::Session(session);
    database.restore(user, which).await.unwrap()
}

#[test]
fn mail_that_can_not_be_removed_now_keeps_no_other_s_from_expiring() {
    on_each(async |place| {
        let server = with_retention(place).await;
        let database = place.open().await;
        let sql = place.sql().await;
        let [ada, bob] = [add(&database, ADA).await, add(&database, BOB).await];
        // More than expire at once, and older. Nobody may change the maildrop of a removed user.
        super::insert_messages(&sql, ada, 1500).await;
        sql.run("UPDATE messages SET stored_at_ms = 1").await;
        Accounts::new(database.clone()).remove(ADA).await.unwrap();
        store(&database, &[bob], &[message(1, 100)]).await;
        sql.run(&format!(
            "UPDATE messages SET stored_at_ms = 2 WHERE user_id = {}",
            bob.row()
        ))
        .await;
        let collected = server.collect_garbage().await.unwrap();
        assert_eq!(collected.expired, 1);
        assert!(server.open(bob, 0).await.unwrap().snapshot.is_empty());
    });
}
