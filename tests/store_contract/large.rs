//! Deletions and removals that are too large for one transaction: they are all or nothing for
//! clients, and done in steps.

use std::ops::Range;
use std::time::Duration;

use restante::accounts::{Accounts, QuotaChange};
use restante::identity::new_name;
use restante::store::{
    Delivery, Intake, MessageId, Outcome, Recipient, RestoreSelector, Retention, SqlStore, UserId,
};

use super::{SESSION, insert_messages, messages, unique_ids, version};
use crate::support::eventually_async;
use crate::support::mail::{ADA, add, message, prepare, store};
use crate::support::place::{Place, Sql, on_each};

/// So many messages take three transactions.
const MANY: usize = 12_000;

/// A user with [`MANY`] messages.
struct Large {
    server: SqlStore,
    sql: Sql,
    ada: UserId,
    all: Vec<MessageId>,
}

impl Large {
    async fn open(place: &Place) -> Self {
        let server = place.server().await;
        let sql = place.sql().await;
        let ada = add(&place.open().await, ADA).await;
        insert_messages(&sql, ada, MANY).await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        assert_eq!(all.len(), MANY);
        Self {
            server,
            sql,
            ada,
            all,
        }
    }

    /// What a login would see.
    async fn seen(&self) -> Vec<MessageId> {
        messages(&self.server.open(self.ada, 0).await.unwrap())
    }

    /// The messages that are left when those of this range are deleted.
    fn but_for(&self, deleted: Range<usize>) -> Vec<MessageId> {
        [&self.all[..deleted.start], &self.all[deleted.end..]].concat()
    }

    /// Tidies as the server does, until a table has so many rows.
    async fn collect_until(&self, table: &str, rows: i64) {
        eventually_async(&format!("{rows} rows in {table}"), async || {
            self.server.collect_garbage().await.unwrap();
            (self.sql.count(table).await == rows).then_some(())
        })
        .await;
    }
}

#[test]
fn a_large_deletion_is_all_or_nothing_and_is_done_in_steps() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let deleted = 100..MANY - 100;
        let before = version(&large.sql, large.ada).await;
        let gone = &large.all[deleted.clone()];

        let fault = "number = 2";
        large.sql.refuse("INSERT", "deletion_batches", fault).await;
        let failed = large.server.delete(large.ada, gone, SESSION).await;
        assert!(failed.is_err());
        large.sql.allow("deletion_batches").await;
        assert_eq!(large.seen().await, large.all);
        assert_eq!(version(&large.sql, large.ada).await, before);

        large.server.delete(large.ada, gone, SESSION).await.unwrap();
        let left = large.but_for(deleted.clone());
        assert_eq!(large.seen().await, left);
        // Nothing has moved yet.
        assert_eq!(large.sql.count("deleted_messages").await, 0);
        let newest = large.server.open(large.ada, 150).await.unwrap();
        assert_eq!(newest.snapshot.hidden(), 50);
        assert_eq!(messages(&newest), left[50..]);

        // A fault in the second step leaves the first done, and nobody sees the difference.
        let fault = format!("id = {}", large.all[7000].0);
        large.sql.refuse("DELETE", "messages", &fault).await;
        large.server.collect_garbage().await.unwrap_err();
        let moved = large.sql.count("deleted_messages").await;
        assert!(moved > 0 && moved < gone.len() as i64, "{moved}");
        assert_eq!(large.seen().await, left);
        large.sql.allow("messages").await;
        large.collect_until("deletion_batches", 0).await;
        assert_eq!(large.seen().await, left);

        large.collect_until("deleted_messages", 0).await;
        large.collect_until("deletions", 0).await;
        assert_eq!(large.sql.count("messages").await, left.len() as i64);
    });
}

#[test]
fn what_a_large_deletion_has_freed_is_free_at_once() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let database = place.open().await;
        let accounts = Accounts::new(database.clone());
        let limit = QuotaChange {
            messages: Some(Some(MANY as u64)),
            octets: Some(Some(MANY as u64 * 7)),
        };
        accounts.set_quota(ADA, limit).await.unwrap();
        let room = async || accounts.addressee(ADA).await.unwrap().room;
        assert!(!room().await.fits(1));
        large
            .server
            .delete(large.ada, &large.all[..6000], SESSION)
            .await
            .unwrap();
        let freed = room().await;
        assert_eq!((freed.messages, freed.octets), (Some(6000), Some(42_000)));
        let user = &accounts.list().await.unwrap()[0];
        assert_eq!((user.messages, user.octets), (6000, 42_000));
        store(&database, &[large.ada], &[message(1, 100)]).await;
        assert_eq!(large.seen().await.len(), 6001);
    });
}

#[test]
fn two_sessions_may_delete_the_same_and_a_session_reads_on_what_it_sees() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let (server, ada) = (&large.server, large.ada);
        let there = place.server().await;
        let lease = there.lease(ada, version(&large.sql, ada).await);
        there.collect_garbage().await.unwrap();
        server
            .delete(ada, &large.all[..8000], SESSION)
            .await
            .unwrap();
        server
            .delete(ada, &large.all[2000..], "another")
            .await
            .unwrap();
        assert!(large.seen().await.is_empty());
        // Another server may do the steps, such as when the first has been killed.
        eventually_async("all to be moved", async || {
            there.collect_garbage().await.unwrap();
            let moved = large.sql.count("deleted_messages").await;
            (moved == MANY as i64).then_some(())
        })
        .await;
        eventually_async("both deletions to be held", async || {
            server.collect_garbage().await.unwrap();
            there.collect_garbage().await.unwrap();
            (large.sql.count("remote_leases").await == 2).then_some(())
        })
        .await;
        assert_eq!(large.sql.count("deleted_messages").await, MANY as i64);
        drop(lease);
        eventually_async("all to go", async || {
            there.collect_garbage().await.unwrap();
            server.collect_garbage().await.unwrap();
            (large.sql.count("deleted_messages").await == 0).then_some(())
        })
        .await;
        for table in ["messages", "contents", "deletions", "remote_leases"] {
            large.collect_until(table, 0).await;
        }
    });
}

#[test]
fn what_several_sessions_delete_is_counted_once() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let delete = async |which: Range<usize>| {
            let messages = &large.all[which];
            let deleted = large.server.delete(large.ada, messages, SESSION).await;
            deleted.unwrap()
        };
        assert_eq!(delete(0..8000).await, 8000);
        // Some of them are written down and not yet moved.
        assert_eq!(delete(7990..8010).await, 10);
        assert_eq!(delete(0..MANY).await, MANY - 8010);
        assert_eq!(delete(0..10).await, 0);
        let accounts = Accounts::new(place.open().await);
        let size = async || {
            let user = &accounts.list().await.unwrap()[0];
            (user.messages, user.octets)
        };
        assert_eq!(size().await, (0, 0));
        large.collect_until("deletion_batches", 0).await;
        assert_eq!(size().await, (0, 0));
        assert!(large.seen().await.is_empty());
    });
}

#[test]
fn large_messages_are_removed_one_transaction_after_the_other_in_one_round() {
    on_each(async |place| {
        let server = place.server().await;
        let sql = place.sql().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let written: Vec<_> = (0..5).map(|n| message(n, 100)).collect();
        store(&database, &[ada], &written).await;
        let all = messages(&server.open(ada, 0).await.unwrap());
        server.delete(ada, &all, SESSION).await.unwrap();
        // As if each were more than one transaction removes.
        sql.run("UPDATE contents SET octets = 40000000").await;
        let removed = eventually_async("the messages to go", async || {
            let collected = server.collect_garbage().await.unwrap();
            (collected.removed > 0).then_some(collected.removed)
        });
        assert_eq!(removed.await, 5);
    });
}

#[test]
fn a_large_deletion_can_be_brought_back_before_and_after_it_was_moved() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let database = place.open().await;
        let keeping = Retention {
            deleted: Duration::from_secs(86_400),
            expire_after: None,
        };
        let server = SqlStore::new(place.open().await, new_name()).with_retention(keeping);
        let gone = &large.all[..9000];
        for is_moved in [false, true] {
            server.delete(large.ada, gone, SESSION).await.unwrap();
            if is_moved {
                eventually_async("all to be moved", async || {
                    server.collect_garbage().await.unwrap();
                    (large.sql.count("deletion_batches").await == 0).then_some(())
                })
                .await;
            }
            let known = database.deletions(large.ada).await.unwrap();
            let known: Vec<_> = known.iter().map(|it| it.messages).collect();
            assert_eq!(known, [9000]);
            let restored = database.restore(large.ada, RestoreSelector::Session(SESSION));
            assert_eq!(restored.await.unwrap(), 9000);
            assert_eq!(large.seen().await, large.all);
        }
    });
}

#[test]
fn an_export_and_an_import_see_what_a_login_sees() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let database = place.open().await;
        let gone = &large.all[..9000];
        large.server.delete(large.ada, gone, SESSION).await.unwrap();
        let reading = database.reading().await.unwrap();
        assert_eq!(reading.size(large.ada).await.unwrap(), (3000, 21_000));
        drop(reading);
        let ids = unique_ids(&large.server.open(large.ada, 0).await.unwrap());
        let gone = &large.all[9000..];
        large.server.delete(large.ada, gone, SESSION).await.unwrap();
        // None of them is in the way of one that comes back with its name.
        let mut known = database.known(large.ada).await.unwrap();
        assert!(known.by_id(&ids[0]).is_none());
    });
}

#[test]
fn a_user_is_removed_at_once_and_a_large_maildrop_is_emptied_in_steps() {
    on_each(async |place| {
        let large = Large::open(place).await;
        let (database, ada) = (place.open().await, large.ada);
        let accounts = Accounts::new(database.clone());
        let gone = &large.all[..9000];
        large.server.delete(ada, gone, SESSION).await.unwrap();

        assert_eq!(accounts.remove(ADA).await.unwrap(), ada);
        assert!(accounts.find(ADA).await.is_err());
        assert!(accounts.addressee(ADA).await.is_err());
        assert!(accounts.list().await.unwrap().is_empty());
        // Mail whose recipient was there a moment ago.
        let delivery = Delivery {
            message: prepare(&database, &message(1, 10)).await,
            recipients: vec![Recipient {
                user: ada,
                trace_headers: Vec::new(),
            }],
        };
        let delivered = Intake::new(database.clone()).deliver(delivery).await;
        assert_eq!(delivered.unwrap().outcomes, [Outcome::NoSuchUser]);
        assert_eq!(large.sql.count("messages").await, MANY as i64);
        // The address is free.
        let again = add(&database, ADA).await;
        store(&database, &[again], &[message(2, 10)]).await;

        let fault = format!("id = {}", large.all[7000].0);
        large.sql.refuse("DELETE", "messages", &fault).await;
        large.server.collect_garbage().await.unwrap_err();
        large.sql.allow("messages").await;
        large.collect_until("messages", 1).await;
        large.collect_until("users", 1).await;
        large.collect_until("deleted_messages", 0).await;
        large.collect_until("deletions", 0).await;
        assert_eq!(large.sql.count("contents").await, 1);
        let kept = large.server.open(again, 0).await.unwrap();
        assert_eq!(kept.snapshot.len(), 1);
    });
}
