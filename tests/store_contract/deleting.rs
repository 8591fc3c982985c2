//! What QUIT asks for.

use restante::store::StoreError;

use super::{SESSION, insert_messages, messages, unique_ids, version};
use crate::support::mail::{ADA, BOB, add, message, store};
use crate::support::place::on_each;

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
            ("INSERT", "deleted_messages", "message_id"),
        ] {
            let rows = format!("{column} = {}", all[2400].0);
            sql.refuse(event, table, &rows).await;
            let failed = server.delete(ada, &all, SESSION).await;
            assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
            sql.allow(table).await;
            let after = server.open(ada, 0).await.unwrap();
            assert_eq!(unique_ids(&after), unique_ids(&before));
            assert_eq!(sql.count("deleted_messages").await, 0);
            assert_eq!(self::version(&sql, ada).await, version);
        }
        server.delete(ada, &all, SESSION).await.unwrap();
        assert!(server.open(ada, 0).await.unwrap().snapshot.is_empty());
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
            server.delete(ada, &[message], SESSION).await.unwrap();
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
                        server.delete(user, some, SESSION).await.unwrap();
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
