//! SQLite's files: opening, permissions, and a check that they are still in place.

mod checkpoint;
mod files;
mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sea_orm::sqlx::{self, Connection, raw_sql};
use sea_orm::{ConnectOptions, DatabaseConnection, DbErr, RuntimeErr};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::database::{OpenError, common_options, connect};
use super::faults;

use checkpoint::Checkpointer;
pub(super) use files::SqliteFiles;
pub use files::open_to_others;
pub(crate) use space::Disk;
pub(super) use space::ReserveUse;
use space::Space;

/// Number of connections that read from SQLite; more were no faster on two cores.
pub(super) const READERS: u32 = 4;

/// Maximum wait for another process that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause before another try to open a file that another process has locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// Octets of the file that are mapped into memory for reading.
const MAPPED_OCTETS: u64 = 1 << 30;

/// Number of rows that SQLite's thread may read ahead.
const ROW_BUFFER: usize = 1024;

/// The connections to a file: the ones that read, and the one that writes.
pub(super) struct SqliteConnections {
    pub(super) read: DatabaseConnection,
    pub(super) write: DatabaseConnection,
    pub(super) files: SqliteFiles,
}

/// Opens the file that a URL names, and makes it and its folder if they are missing, accessible to
/// this user alone under any umask.
pub(super) async fn open(url: &str, file: &Path) -> Result<SqliteConnections, OpenError> {
    if !is_read_only(url) {
        files::make(file)?;
    }
    match open_files(url, file).await {
        Err(OpenError::Connect(error)) => Err(why_not_opened(error, file)),
        opened => opened,
    }
}

fn why_not_opened(error: DbErr, file: &Path) -> OpenError {
    let refuses_octets = || Space::new(file).refuses_octets();
    if faults::is_disk_full(&error) || (faults::is_refused_by_system(&error) && refuses_octets()) {
        return OpenError::DiskFull(error);
    }
    if faults::is_damage(&error) {
        return OpenError::Damaged(error);
    }
    OpenError::Connect(error)
}

/// Gives up a part of the reserve of this database, so that it can be opened on a full disk.
/// Returns false if there is no reserve.
pub(crate) fn give_up_some_reserve(url: &str) -> bool {
    let Ok(Some(file)) = sqlite_file(url) else {
        return false;
    };
    Space::new(&file).give_up_some_reserve()
}

async fn open_files(url: &str, file: &Path) -> Result<SqliteConnections, OpenError> {
    let apart = Arc::<AtomicBool>::default();
    // The writer connects first: it makes the file of the tables and switches it to WAL.
    let write = connect_when_unlocked(url, &apart).await?;
    let read = connect(options(url, READERS)).await?;
    let files = SqliteFiles::opened(url, file, apart);
    Ok(SqliteConnections { read, write, files })
}

/// The background tasks of a running server on its database. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Maintenance {
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Maintenance {
    /// Starts to empty the write-ahead log of this database, and to keep a reserve on its disk.
    pub(super) fn start(files: &Arc<SqliteFiles>, write: &DatabaseConnection) -> Self {
        let writer = write.get_sqlite_connection_pool().clone();
        let stop = CancellationToken::new();
        let checkpointer = Checkpointer::new(Arc::clone(files), writer).run(stop.clone());
        let (files, ended) = (Arc::clone(files), stop.clone());
        let reserve = async move {
            let keeping = files.space().keep_reserve();
            if let Some(error) = ended.run_until_cancelled(keeping).await {
                tracing::warn!(error = %error, "no reserve is kept for a full disk");
            }
        };
        Self {
            tasks: [actix_rt::spawn(checkpointer), actix_rt::spawn(reserve)],
            stop,
        }
    }

    /// Stops the tasks and waits for their end.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        for task in &mut self.tasks {
            // A task that panicked has ended, too.
            let _ = task.await;
        }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns the file that a URL of SQLite names; `None` for another database.
///
/// # Errors
/// If the database would be in memory.
pub fn sqlite_file(url: &str) -> Result<Option<PathBuf>, OpenError> {
    let Some(path) = url.strip_prefix("sqlite:") else {
        return Ok(None);
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    let (path, options) = path.split_once('?').unwrap_or((path, ""));
    let in_memory = options.split('&').any(|option| option == "mode=memory");
    if path.is_empty() || path == ":memory:" || in_memory {
        return Err(OpenError::NoFile);
    }
    // The driver decodes %20, too.
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    Ok(Some(PathBuf::from(path.as_ref())))
}

fn is_read_only(url: &str) -> bool {
    let options = url.split_once('?').map_or("", |(_, options)| options);
    options.split('&').any(|option| option == "mode=ro")
}

/// Connects the writer. Switching a new file to WAL needs an exclusive lock, and SQLite does not
/// wait for that one as it does elsewhere.
async fn connect_when_unlocked(
    url: &str,
    apart: &Arc<AtomicBool>,
) -> Result<DatabaseConnection, OpenError> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connect(writer_options(url, apart)).await {
            Err(OpenError::Connect(error)) if is_locked(&error) && Instant::now() < until => {
                tokio::time::sleep(LOCKED_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Returns true if another process has locked the file (`SQLITE_BUSY`).
fn is_locked(error: &DbErr) -> bool {
    const BUSY: &str = "5";
    let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else {
        return false;
    };
    let error = error.as_database_error();
    error.is_some_and(|error| error.code().is_some_and(|code| code == BUSY))
}

/// Keeps the commits of a connection from checkpointing the write-ahead log.
const COMMIT_ALONE: &str = "PRAGMA wal_autocheckpoint = 0";

fn writer_options(url: &str, apart: &Arc<AtomicBool>) -> ConnectOptions {
    let mut options = options(url, 1);
    let apart = Arc::clone(apart);
    options.map_sqlx_sqlite_pool_opts(move |options| {
        let apart = Arc::clone(&apart);
        closing_what_is_stuck(options).after_connect(move |connection, _| {
            let apart = apart.load(Relaxed);
            Box::pin(async move {
                if apart {
                    raw_sql(COMMIT_ALONE).execute(connection).await?;
                }
                Ok(())
            })
        })
    });
    options
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = common_options(url);
    options
        .max_connections(connections)
        // A new connection to a file gains nothing, and an open one keeps the write-ahead log from
        // being removed.
        .idle_timeout(None)
        .max_lifetime(None)
        .map_sqlx_sqlite_opts(with_pragmas)
        .map_sqlx_sqlite_pool_opts(closing_what_is_stuck);
    options
}

fn with_pragmas(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROW_BUFFER)
        .pragma("journal_mode", "WAL")
        // A change that was answered +OK must survive a power cut: NORMAL does not sync at commit.
        .pragma("synchronous", "FULL")
        .pragma("foreign_keys", "ON")
        .pragma("mmap_size", MAPPED_OCTETS.to_string())
}

/// On a full disk, SQLite ends a transaction without telling the driver, whose ROLLBACK then fails.
/// The driver would take such a connection for one inside a transaction, so it is closed.
fn closing_what_is_stuck(options: SqlitePoolOptions) -> SqlitePoolOptions {
    options.after_release(|connection, _| Box::pin(is_outside_transactions(connection)))
}

async fn is_outside_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // The ROLLBACK of the transaction may still wait for the connection's thread.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}
