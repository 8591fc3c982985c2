//! The database itself.

use restante::accounts::Accounts;
use restante::store::{Database, OpenError};

use super::{SESSION, messages};
use crate::support::mail::{ADA, add, message, store};
use crate::support::place::{Kind, on_each, on_each_blocking};
use crate::support::{cli, eventually_async, run};

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
            let deleted = server.delete(ada, &messages(&before), SESSION).await;
            let left = sql
                .count(&format!("messages WHERE user_id = {}", ada.row()))
                .await;
            assert_eq!(left, if deleted.is_ok() { 0 } else { 2 });
            deleted.ok()
        })
        .await;
        // The connections that read have ended, too.
        let opened = async || server.open(ada, 0).await.ok();
        let after = eventually_async("the maildrop", opened).await;
        assert!(after.snapshot.is_empty());
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
