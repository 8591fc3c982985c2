//! Moves what is in the write-ahead log into the database, beside the commits and not in them.
//!
//! SQLite's own checkpoint runs inside the COMMIT that finds a thousand pages in the log. After a
//! reader that took long (a backup, an export) that are gigabytes, and everybody who writes waits.
//! Here a connection of its own moves them while commits go on, and only the little that is left
//! then is moved while no commit runs: with that, the log begins anew.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Connection, Row, Sqlite, SqlitePool, raw_sql,
};
use tokio_util::sync::CancellationToken;

use super::files::SqliteFiles;
use super::{COMMIT_ALONE, with_pragmas};
use crate::log_throttle::LogThrottle;

/// So many pages in the log are moved; fewer wait for more. It is SQLite's own measure.
const WORTH_MOVING: i64 = 1000;

/// From so many pages on, the log is to begin anew.
const LOG_PAGES: i64 = 4000;

/// Number of pages moved while no commit runs; if commits are faster than that, more each time.
const FINISHED_PAGES: i64 = 1000;

/// How large the file of the log may stay once it has begun anew, in octets. To make a file longer
/// again costs each commit more than to write over what is there.
const LOG_FILE_OCTETS: u64 = 64 << 20;

/// Number of octets by which the file is shortened at once: commits wait meanwhile.
const SHORTENED_OCTETS: u64 = 32 << 20;

/// Time for which commits are gathered before the log is checked.
const GATHER: Duration = Duration::from_millis(100);

/// How long to wait until it is tried again, when a reader still needs what is in the log.
const READER_PAUSE: Duration = Duration::from_secs(1);

/// Pause after a fault, such as a full disk.
const FAULT_PAUSE: Duration = Duration::from_secs(5);

/// Maximum wait for readers while no commit runs.
const READERS_TIMEOUT: Duration = Duration::from_millis(20);

/// Empties the log of one database.
pub(super) struct Checkpointer {
    files: Arc<SqliteFiles>,
    /// The connection that writes.
    writer: SqlitePool,
    /// How many pages may be moved while no commit runs.
    allowed: i64,
    faults: LogThrottle,
}

/// The time of the next check.
enum Next {
    /// When something has been committed.
    AfterCommit,
    /// After this time.
    After(Duration),
}

/// How many pages are in the log, and how many of them are in the database, too.
#[derive(Debug, Clone, Copy)]
struct Log {
    pages: i64,
    moved: i64,
    is_busy: bool,
}

impl Log {
    fn left(self) -> i64 {
        self.pages - self.moved
    }
}

impl Checkpointer {
    pub(super) fn new(files: Arc<SqliteFiles>, writer: SqlitePool) -> Self {
        Self {
            files,
            writer,
            allowed: FINISHED_PAGES,
            faults: LogThrottle::default(),
        }
    }

    /// Works until it is told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let Err(error) = self.work(&stop).await else {
                return;
            };
            if let Some(before) = self.faults.allow() {
                tracing::warn!(error = %error, before, "the write-ahead log was not emptied");
            }
            let pause = tokio::time::sleep(FAULT_PAUSE);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Works until it is told to stop, or something fails.
    async fn work(&mut self, stop: &CancellationToken) -> Result<(), sqlx::Error> {
        let options = SqliteConnectOptions::from_str(self.files.url())?;
        let options = with_pragmas(options).busy_timeout(READERS_TIMEOUT);
        let options = options.disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await?;
        self.files.checkpoint_apart();
        raw_sql(COMMIT_ALONE).execute(&self.writer).await?;
        let worked = stop.run_until_cancelled(self.look_again_and_again(&mut connection));
        let worked = worked.await;
        // If it were only dropped, the time when it is closed would be unknown.
        let closed = connection.close().await;
        match worked {
            Some(Err(error)) => Err(error),
            Some(Ok(never)) => match never {},
            None => closed,
        }
    }

    async fn look_again_and_again(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Infallible, sqlx::Error> {
        loop {
            match self.look(connection).await? {
                Next::AfterCommit => {
                    self.files.committed().await;
                    tokio::time::sleep(GATHER).await;
                }
                Next::After(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    async fn look(&mut self, connection: &mut SqliteConnection) -> Result<Next, sqlx::Error> {
        if self.files.check().is_err() {
            // Somebody may be copying what is left of them.
            return Ok(Next::After(FAULT_PAUSE));
        }
        let mut log = checkpoint(connection, "NOOP").await?;
        // On a full disk no commit may need a longer file.
        let is_full = self.files.space().is_full();
        let (worth_moving, most) = if is_full {
            (1, 1)
        } else {
            (WORTH_MOVING, LOG_PAGES)
        };
        if log.left() >= worth_moving {
            let before = log.moved;
            log = checkpoint(connection, "PASSIVE").await?;
            if log.left() >= self.allowed {
                // A reader needs it, or much was written meanwhile.
                let progress = log.moved > before && !log.is_busy;
                return Ok(Next::After(if progress { GATHER } else { READER_PAUSE }));
            }
        }
        let is_long = self.files.log_octets() > LOG_FILE_OCTETS;
        if log.pages < most && !is_long {
            return Ok(Next::AfterCommit);
        }
        let has_begun_anew = self.begin_anew(connection).await?;
        Ok(match has_begun_anew {
            true if self.files.log_octets() > LOG_FILE_OCTETS => Next::After(GATHER),
            true => Next::AfterCommit,
            false => Next::After(READER_PAUSE),
        })
    }

    /// Lets the log begin anew, and shortens its file if it is long: a part of it, since commits
    /// wait for that. False if it could not be done now.
    async fn begin_anew(&mut self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        // While the writer is held, nothing in this process writes.
        let mut writer = self.writer.acquire().await?;
        let left = checkpoint(connection, "NOOP").await?.left();
        if left > self.allowed {
            self.allowed *= 2;
            return Ok(false);
        }
        self.allowed = FINISHED_PAGES;
        if checkpoint(connection, "RESTART").await?.is_busy {
            return Ok(false);
        }
        let octets = self.files.log_octets();
        let limit = octets.saturating_sub(SHORTENED_OCTETS).max(LOG_FILE_OCTETS);
        let limit = format!("PRAGMA journal_size_limit = {limit}");
        raw_sql(AssertSqlSafe(limit)).execute(&mut *writer).await?;
        if octets > LOG_FILE_OCTETS {
            write_something(&mut writer).await?;
        }
        Ok(true)
    }
}

async fn checkpoint(
    connection: &mut SqliteConnection,
    mode: &'static str,
) -> Result<Log, sqlx::Error> {
    let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
    let row = raw_sql(AssertSqlSafe(checkpoint))
        .fetch_one(connection)
        .await?;
    Ok(Log {
        is_busy: row.try_get::<i64, _>(0)? != 0,
        pages: row.try_get(1)?,
        moved: row.try_get(2)?,
    })
}

/// The file of the log is shortened by the first who writes to it. The version of the schema, as
/// SQLite itself may keep it, is written as it was.
async fn write_something(writer: &mut PoolConnection<Sqlite>) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let version = raw_sql("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await?;
    let version: i64 = version.try_get(0)?;
    let write = format!("PRAGMA user_version = {version}");
    raw_sql(AssertSqlSafe(write))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
