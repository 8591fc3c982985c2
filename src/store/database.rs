//! Opens the database and brings its schema up to date.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use migration::{Migrator, MigratorTrait};
use sea_orm::sqlx::{Connection, PgConnection};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
    sqlx,
};

use super::StoreError;
use super::delivery::milliseconds;

/// How many connections read from SQLite at a time; more were no faster on two cores.
const SQLITE_READERS: u32 = 4;

/// How many connections a process holds to PostgreSQL at most.
pub(crate) const POSTGRES_CONNECTIONS: u32 = 8;

/// A connection to PostgreSQL that rested for longer is tested before it is used, since the server
/// may have been restarted meanwhile.
const POSTGRES_TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long to wait for another process that writes to the same SQLite file.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait until a file is tried again that another process has for itself.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for a connection, to the database or out of the pool.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of the SQLite file is mapped into memory for reading, in octets.
const SQLITE_MAPPED_OCTETS: u64 = 1 << 30;

/// Rows that SQLite's thread may be ahead of who reads them.
const SQLITE_ROW_BUFFER: usize = 1024;

/// A name for PostgreSQL's advisory lock, so that two processes never migrate at once.
const MIGRATION_LOCK: i64 = 0x7265_7374_616e_7465;

/// Connections to one database: some to read, and on SQLite a single one to write.
///
/// SQLite has one writer at a time anyway. With one connection its writers queue in order; with
/// several they poll for the lock, and the unlucky one waits a second.
#[derive(Debug, Clone)]
pub struct Database {
    read: DatabaseConnection,
    write: DatabaseConnection,
    /// SQLite's file, and which one it was when it was opened.
    file: Option<(PathBuf, FileIdentity)>,
}

/// Device and inode.
type FileIdentity = (u64, u64);

fn identity(file: &Path) -> Option<FileIdentity> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that we know.
    #[error("Database__Url must begin with sqlite:// or postgres://, not {0:?}")]
    UnknownKind(String),
    /// The URL can't be read.
    #[error(
        "Database__Url can't be read: {0} (characters such as # or @ in a password are written %23, %40)"
    )]
    Malformed(url::ParseError),
    /// A database in memory would differ for every connection.
    #[error("Database__Url names no file; write for example sqlite://data/restante.db")]
    NoFile,
    /// The folder of the file can't be made.
    #[error("the folder {} of the database can't be made: {reason}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The database did not let us in.
    #[error(
        "the database can't be opened: {0} (check Database__Url, and that this user may write there)"
    )]
    Connect(DbErr),
    /// The schema can't be brought up to date.
    #[error("the database's schema can't be brought up to date: {0}")]
    Migrate(DbErr),
}

impl Database {
    /// Opens the database, and makes the file and its folder where SQLite has none yet.
    ///
    /// # Errors
    /// If the URL is of no known kind, or the database can't be opened.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            // SeaORM panics on a URL that it can't read.
            url::Url::parse(url).map_err(OpenError::Malformed)?;
            say_why_not(url).await?;
            let both = connect(postgres_options(url)).await?;
            return Ok(Self {
                read: both.clone(),
                write: both,
                file: None,
            });
        }
        let Some(file) = sqlite_file(url)? else {
            let kind = url.split(':').next().unwrap_or_default();
            return Err(OpenError::UnknownKind(format!("{kind}:…")));
        };
        make_folder(&file)?;
        // The writer first: it makes the file and switches it to WAL.
        let write = connect_when_unlocked(url).await?;
        let read = connect(sqlite_options(url, SQLITE_READERS)).await?;
        let file = identity(&file).map(|opened| (file, opened));
        Ok(Self { read, write, file })
    }

    /// Applies the schema changes that are missing, all or none; tells how many there were.
    ///
    /// # Errors
    /// If the database refuses, or knows changes that this program does not.
    pub async fn migrate(&self) -> Result<usize, OpenError> {
        self.apply_migrations().await.map_err(OpenError::Migrate)
    }

    async fn apply_migrations(&self) -> Result<usize, DbErr> {
        let known = Migrator::get_migration_with_status_read_only(&self.read).await;
        if known.is_ok_and(|all| all.iter().all(is_applied)) {
            return Ok(0);
        }
        let transaction = self.begin().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            let lock = "SELECT pg_advisory_xact_lock($1)";
            let lock = statement(&transaction, lock, [MIGRATION_LOCK.into()]);
            transaction.execute_raw(lock).await?;
        }
        let pending = Migrator::get_pending_migrations(&transaction).await?.len();
        Migrator::up(&transaction, None).await?;
        transaction.commit().await?;
        Ok(pending)
    }

    /// How many schema changes are missing; nothing is changed, but that it could be is tried.
    ///
    /// # Errors
    /// If this program may not write there, or the database knows changes that it does not.
    pub async fn pending_migrations(&self) -> Result<usize, OpenError> {
        let pending = Migrator::get_pending_migrations_read_only(&self.read).await;
        let pending = pending.map_err(OpenError::Migrate)?;
        let transaction = self.begin().await.map_err(OpenError::Connect)?;
        transaction.rollback().await.map_err(OpenError::Connect)?;
        Ok(pending.len())
    }

    /// Closes all connections; on SQLite this tidies the write-ahead log up.
    ///
    /// # Errors
    /// If a connection ends with a fault.
    pub async fn close(self) -> Result<(), DbErr> {
        self.read.close().await?;
        self.write.close().await
    }

    /// How many connections each pool has: pool, whether they are in use, and how many.
    pub(crate) fn pool_use(&self) -> Vec<(&'static str, &'static str, u64)> {
        let on_sqlite = self.read.get_database_backend() == DbBackend::Sqlite;
        let sizes = |connection: &DatabaseConnection| {
            if on_sqlite {
                let pool = connection.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle())
            } else {
                let pool = connection.get_postgres_connection_pool();
                (pool.size(), pool.num_idle())
            }
        };
        let mut pools = vec![("read", sizes(&self.read))];
        if on_sqlite {
            pools.push(("write", sizes(&self.write)));
        }
        let states = |(pool, (size, idle)): (&'static str, (u32, usize))| {
            let (size, idle) = (u64::from(size), idle as u64);
            [
                (pool, "used", size.saturating_sub(idle)),
                (pool, "idle", idle),
            ]
        };
        pools.into_iter().flat_map(states).collect()
    }

    /// Can it be read and written? The cheapest questions that tell.
    ///
    /// # Errors
    /// If not: it does not answer, it takes no changes, or its file is no longer where it was.
    pub async fn ping(&self) -> Result<(), DbErr> {
        let read = &self.read;
        let question = "SELECT 1 FROM users LIMIT 1";
        read.query_one_raw(statement(read, question, [])).await?;
        let transaction = self.begin().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // A standby begins transactions too, and refuses this.
            transaction
                .execute_unprepared("SET TRANSACTION READ WRITE")
                .await?;
        }
        transaction.rollback().await?;
        match &self.file {
            Some((path, opened)) if identity(path).as_ref() != Some(opened) => {
                let moved = format!("{} is not the file that was opened", path.display());
                Err(DbErr::Custom(moved))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// For what only reads.
    pub(crate) fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Begins a transaction that may write.
    ///
    /// On SQLite it takes the write lock at once: a transaction that reads first and writes later
    /// may find that another has written meanwhile, and fails.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.write.begin_with_options(options).await
    }
}

/// How many row keys stand in one statement.
pub(crate) const KEYS_PER_STATEMENT: usize = 1000;

/// A statement with values, for whichever database this is. Both understand `$1`.
pub(crate) fn statement(
    connection: &impl ConnectionTrait,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

/// What time it is for the database, in milliseconds since 1970, as an expression of SQL. Servers
/// that share a database may have clocks that differ; this one is the same for all.
///
/// PostgreSQL asks a clock again for each row, and no index helps it to compare with that. As a
/// query of its own it is asked once.
pub(super) fn clock(connection: &impl ConnectionTrait) -> &'static str {
    if connection.get_database_backend() == DbBackend::Postgres {
        "(SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))"
    } else {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    }
}

/// What time it is for the database, in milliseconds since 1970.
pub(super) async fn now(transaction: &DatabaseTransaction) -> Result<i64, StoreError> {
    if transaction.get_database_backend() == DbBackend::Sqlite {
        // Its clock is that of this machine.
        return Ok(milliseconds(SystemTime::now()));
    }
    let now = format!("SELECT {}", clock(transaction));
    let row = transaction
        .query_one_raw(statement(transaction, &now, []))
        .await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("the clock has no row".into()))?;
    Ok(row.try_get_by_index(0)?)
}

/// Row keys as a list for SQL. They are numbers, so nothing in them needs quoting.
pub(crate) fn sql_list(keys: impl IntoIterator<Item = i64>) -> String {
    let keys: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
    keys.join(",")
}

fn is_applied(migration: &migration::Migration) -> bool {
    migration.status() == migration::MigrationStatus::Applied
}

async fn connect(options: ConnectOptions) -> Result<DatabaseConnection, OpenError> {
    sea_orm::Database::connect(options)
        .await
        .map_err(OpenError::Connect)
}

/// Connects the one that writes. To switch a new file to WAL it must have the file for itself, and
/// SQLite does not wait for that as it does elsewhere.
async fn connect_when_unlocked(url: &str) -> Result<DatabaseConnection, OpenError> {
    let until = Instant::now() + SQLITE_BUSY_TIMEOUT;
    loop {
        match connect(sqlite_options(url, 1)).await {
            Err(OpenError::Connect(error)) if is_locked(&error) && Instant::now() < until => {
                tokio::time::sleep(LOCKED_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Does another process have the file for itself (`SQLITE_BUSY`)?
fn is_locked(error: &DbErr) -> bool {
    const BUSY: &str = "5";
    let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else {
        return false;
    };
    let error = error.as_database_error();
    error.is_some_and(|error| error.code().is_some_and(|code| code == BUSY))
}

/// Connects once: a pool would only tell that it timed out.
async fn say_why_not(url: &str) -> Result<(), OpenError> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect(url)).await;
    let error = match connecting {
        Ok(Ok(connection)) => return connection.close().await.map_err(unreachable_because),
        Ok(Err(error)) => error,
        Err(_) => sqlx::Error::PoolTimedOut,
    };
    Err(unreachable_because(error))
}

fn unreachable_because(error: sqlx::Error) -> OpenError {
    OpenError::Connect(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

/// The file that a URL of SQLite names; none if it is of another database.
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
    // As the driver reads it: %20 is a space.
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    Ok(Some(PathBuf::from(path.as_ref())))
}

fn make_folder(file: &Path) -> Result<(), OpenError> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|reason| OpenError::Folder {
        folder: folder.to_owned(),
        reason,
    })
}

fn sqlite_options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = common_options(url);
    options
        .max_connections(connections)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .busy_timeout(SQLITE_BUSY_TIMEOUT)
                .row_buffer_size(SQLITE_ROW_BUFFER)
                .pragma("journal_mode", "WAL")
                // What is answered +OK must survive a power cut: NORMAL does not sync at commit.
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .pragma("mmap_size", SQLITE_MAPPED_OCTETS.to_string())
        });
    options
}

fn postgres_options(url: &str) -> ConnectOptions {
    let mut options = common_options(url);
    options
        .max_connections(POSTGRES_CONNECTIONS)
        .test_before_acquire_if_idle_for(POSTGRES_TRUSTED_FOR);
    options
}

fn common_options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .min_connections(1)
        .connect_timeout(CONNECT_TIMEOUT)
        .acquire_timeout(CONNECT_TIMEOUT)
        // Statements would carry addresses into the log.
        .sqlx_logging(false)
        // A test of each connection that is taken would be a round trip for each query.
        .test_before_acquire(false);
    options
}
