//! The write-ahead log.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use super::{beside, database};
use crate::served::Served;
use crate::support::eventually_async;
use crate::support::mail::{message, prepare};
use crate::support::place::sqlite;

const MIB: u64 = 1 << 20;

/// How many pages are in the log, and how many of them are in the database, too.
async fn log(connection: &DatabaseConnection) -> (i64, i64) {
    let look = "PRAGMA wal_checkpoint(NOOP)";
    let look = Statement::from_string(connection.get_database_backend(), look);
    let row = connection.query_one_raw(look).await.unwrap().unwrap();
    (
        row.try_get_by_index(1).unwrap(),
        row.try_get_by_index(2).unwrap(),
    )
}

/// Another process that reads for long, as a backup does.
async fn reader(url: &str) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1);
    let reader = sea_orm::Database::connect(options).await.unwrap();
    reader.execute_unprepared("BEGIN").await.unwrap();
    let read = "SELECT COUNT(*) FROM messages";
    reader.execute_unprepared(read).await.unwrap();
    reader
}

#[test]
fn what_a_long_reader_has_kept_in_the_log_is_moved_beside_the_commits_and_not_in_them() {
    let served = Served::start(sqlite(), &[]);
    let owner = served.owner(&[]);
    let url = served.place.url.clone();
    let file = beside(&database(&served.place), "-wal");
    let log_file = file.clone();
    served.ask(async move |running| {
        let watching = sea_orm::Database::connect(&url).await.unwrap();
        let mut left_by_a_commit = 0;
        for round in 0..3 {
            let reader = reader(&url).await;
            let large = prepare(&running.database, &message(round, 80 << 20)).await;
            let large = vec![(large, SystemTime::now())];
            running.database.store(&[owner.id], large).await.unwrap();
            let (pages, moved) = log(&watching).await;
            assert!(
                pages - moved > 19_000,
                "the reader keeps {moved} of {pages} back"
            );
            reader.execute_unprepared("COMMIT").await.unwrap();
            let small = prepare(&running.database, b"small").await;
            let small = vec![(small, SystemTime::now())];
            running.database.store(&[owner.id], small).await.unwrap();
            // Unless the time to look had just come.
            let (pages, moved) = log(&watching).await;
            left_by_a_commit = left_by_a_commit.max(pages - moved);
            eventually_async("the log to be emptied", async || {
                let (pages, moved) = log(&watching).await;
                let octets = std::fs::metadata(&log_file).unwrap().len();
                (pages - moved < 1000 && octets <= 64 * MIB).then_some(())
            })
            .await;
        }
        assert!(left_by_a_commit > 19_000, "{left_by_a_commit}");
        watching.close().await.unwrap();
    });
    drop(served);
    assert!(!file.exists(), "a stop empties the log");
}

#[test]
fn the_log_does_not_grow_while_messages_come_and_go_all_the_time() {
    const WRITERS: u64 = 4;
    const MESSAGES: u64 = 60;
    let served = Served::start(sqlite(), &[]);
    let owner = served.owner(&[message(1, 20_000)]);
    let file = beside(&database(&served.place), "-wal");
    let all_written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !all_written.load(Relaxed) {
                    let mut client = served.login(&owner);
                    client.ok("RETR 1");
                    client.read_stuffed(Vec::new());
                    client.ok("QUIT");
                }
            });
        }
        let id = owner.id;
        let written = served.ask(async move |running| {
            let write = async |writer: u64| {
                for at in 0..MESSAGES {
                    let size = if at % 10 == 0 { 3 * MIB } else { MIB / 2 };
                    let size = usize::try_from(size).unwrap();
                    let message = message(writer * MESSAGES + at, size);
                    let message = prepare(&running.database, &message).await;
                    let message = vec![(message, SystemTime::now())];
                    running.database.store(&[id], message).await.unwrap();
                }
            };
            tokio::join!(write(0), write(1), write(2), write(3));
            WRITERS * MESSAGES
        });
        all_written.store(true, Relaxed);
        assert_eq!(written, 240);
    });
    let octets = std::fs::metadata(&file).unwrap().len();
    assert!(octets < 80 * MIB, "{octets}");
}
