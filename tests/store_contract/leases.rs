//! What open sessions can still read.
//!
//! Waiting for what garbage collection removes needs no clock: a second message that nothing protects goes at
//! the same time, and once it is gone, what is still there is there on purpose.

use std::time::Duration;

use restante::accounts::Accounts;
use restante::store::{GC_INTERVAL, SqlMaildrop, SqlStore, UserId, VersionLease};

use super::{SESSION, WRITTEN_EARLY, all_stored, messages, number, version};
use crate::support::eventually_async;
use crate::support::mail::{ADA, BOB, add, message, octets, store};
use crate::support::place::{Place, Sql, on_each};

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
        server.delete(ada, &messages(&adas), SESSION).await.unwrap();
        server.delete(bob, &messages(&bobs), SESSION).await.unwrap();
        // New logins see neither, at once.
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());

        collect_until_gone(&[&server], &sql, &bobs).await;
        let content = adas.stored(number(1)).unwrap();
        assert!(octets(&server, content).await == large);
        assert!(server.first_chunks(&[content]).await.unwrap().len() == 1);
        assert_eq!(
            server.beginning(content, 7).await.unwrap().content[..],
            *b"Subject"
        );

        drop(lease);
        collect_until_gone(&[&server], &sql, &adas).await;
        for table in ["contents", "chunks", "deleted_messages", "remote_leases"] {
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
        server
            .delete(ada, &messages(&older), SESSION)
            .await
            .unwrap();
        let _adas_lease = lease(&server, &sql, ada).await;
        server.delete(bob, &messages(&bobs), SESSION).await.unwrap();
        collect_until_gone(&[&server], &sql, &older).await;
        collect_until_gone(&[&server], &sql, &bobs).await;
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
        server
            .delete(ada, &messages(&before)[..1], SESSION)
            .await
            .unwrap();
        let third = lease(&server, &sql, ada).await;
        let between = server.open(ada, 0).await.unwrap();
        server
            .delete(ada, &messages(&between), SESSION)
            .await
            .unwrap();

        drop(first);
        server.collect_garbage().await.unwrap();
        drop(second);
        // The third never saw the first message.
        eventually_async("the first message to go", async || {
            server.collect_garbage().await.unwrap();
            (sql.count("contents").await == 1).then_some(())
        })
        .await;
        let content = between.stored(number(1)).unwrap();
        assert_eq!(octets(&server, content).await, message(2, 100));
        drop(third);
        collect_until_gone(&[&server], &sql, &between).await;
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
        let content = bobs.stored(number(1)).unwrap();
        server.delete(ada, &messages(&adas), SESSION).await.unwrap();
        eventually_async("the deleted message to go", async || {
            server.collect_garbage().await.unwrap();
            (sql.count("deleted_messages").await == 0).then_some(())
        })
        .await;
        assert!(octets(&server, content).await == large);
        server.delete(bob, &messages(&bobs), SESSION).await.unwrap();
        collect_until_gone(&[&server], &sql, &bobs).await;
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
        collect_until_gone(&[&server], &sql, &bobs).await;
        let content = adas.stored(number(1)).unwrap();
        assert_eq!(octets(&server, content).await, message(1, 100));
        // A QUIT of such a session has nothing left to do.
        server.delete(ada, &messages(&adas), SESSION).await.unwrap();
        drop(lease);
        collect_until_gone(&[&server], &sql, &adas).await;
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
        here.delete(ada, &messages(&adas), SESSION).await.unwrap();
        here.delete(bob, &messages(&bobs), SESSION).await.unwrap();

        collect_until_gone(&[&there, &here], &sql, &bobs).await;
        let content = adas.stored(number(1)).unwrap();
        assert_eq!(octets(&there, content).await, message(1, 100));
        drop(lease);
        collect_until_gone(&[&there, &here], &sql, &adas).await;
    });
}

#[test]
fn a_server_that_has_never_looked_is_waited_for() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let ada = add(&place.open().await, ADA).await;
        // Both have been running for a while, with nothing to collect.
        here.collect_garbage().await.unwrap();
        there.collect_garbage().await.unwrap();
        keeps_its_message_without_looking(place, &here, &there, ada).await;
    });
}

#[test]
fn a_server_that_is_late_for_its_look_is_waited_for() {
    on_each(async |place| {
        let [here, there] = [place.server().await, place.server().await];
        let ada = add(&place.open().await, ADA).await;
        // Both have collected before.
        store(&place.open().await, &[ada], &[message(2, 100)]).await;
        let before = here.open(ada, 0).await.unwrap();
        here.delete(ada, &messages(&before), SESSION).await.unwrap();
        collect_until_gone(&[&here, &there], &place.sql().await, &before).await;
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
    let content = adas.stored(number(1)).unwrap();
    here.delete(ada, &messages(&adas), SESSION).await.unwrap();
    let late = GC_INTERVAL + Duration::from_millis(1500);
    let until = tokio::time::Instant::now() + late;
    while tokio::time::Instant::now() < until {
        here.collect_garbage().await.unwrap();
        let there = octets(there, content).await;
        assert!(
            there == message(1, 100),
            "removed while a session can read it"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    there.collect_garbage().await.unwrap();
    here.collect_garbage().await.unwrap();
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
        here.delete(ada, &messages(&adas), SESSION).await.unwrap();
        there.collect_garbage().await.unwrap();
        here.collect_garbage().await.unwrap();
        assert_eq!(sql.count("remote_leases").await, 1);
        there.leave().await.unwrap();
        assert_eq!(sql.count("remote_leases").await, 0);
        collect_until_gone(&[&here], &sql, &adas).await;
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
        here.delete(ada, &messages(&adas), SESSION).await.unwrap();
        there.collect_garbage().await.unwrap();
        assert_eq!(sql.count("remote_leases").await, 1);
        // It was only held up, as when its machine was asleep.
        sql.run("DELETE FROM remote_leases").await;
        sql.run("DELETE FROM servers").await;
        there.collect_garbage().await.unwrap();
        assert_eq!(sql.count("remote_leases").await, 1);
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
        here.delete(ada, &messages(&adas), SESSION).await.unwrap();
        there.collect_garbage().await.unwrap();
        assert_eq!(sql.count("remote_leases").await, 1);
        // The other one says nothing any more.
        collect_until_gone(&[&here], &sql, &adas).await;
        assert_eq!(sql.count("remote_leases").await, 0);
        assert_eq!(
            sql.number("SELECT CAST(COUNT(*) AS BIGINT) FROM servers")
                .await,
            1
        );
    });
}

/// Collects garbage on these servers, as they do, until the octets of this maildrop are gone.
async fn collect_until_gone(servers: &[&SqlStore], sql: &Sql, maildrop: &SqlMaildrop) {
    let keys: Vec<_> = all_stored(maildrop)
        .iter()
        .map(|stored| stored.content.0.to_string())
        .collect();
    let keys = keys.join(",");
    eventually_async("the octets to go", async || {
        for server in servers {
            server.collect_garbage().await.unwrap();
        }
        let contents = sql.count(&format!("contents WHERE id IN ({keys})")).await;
        let chunks = sql
            .count(&format!("chunks WHERE content_id IN ({keys})"))
            .await;
        (contents + chunks == 0).then_some(())
    })
    .await;
}

/// The lease that a session takes which logs in now.
async fn lease(server: &SqlStore, sql: &Sql, user: UserId) -> VersionLease {
    server.lease(user, version(sql, user).await)
}
