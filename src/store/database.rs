//! Opens the database and brings its schema up to date.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use migration::{Migrator, MigratorTrait};
use sea_orm::sqlx::{Connection, PgConnection};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    QueryResult, RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait, Value, sqlx,
};

use super::StoreError;
use super::delivery::milliseconds;
use super::faults::{DatabaseFault, is_damage};
use super::sqlite::{self, Disk, Maintenance, Opened, SqliteFiles, Using, sqlite_file};
use super::transaction::WriteTransaction;

/// How many connections a process holds to PostgreSQL at most.
pub(crate) const POSTGRES_CONNECTIONS: u32 = 8;

/// A connection to PostgreSQL that rested for longer is tested before it is used, since the server
/// may have been restarted meanwhile.
const POSTGRES_TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long to wait for a connection, to the database or out of the pool.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A name for PostgreSQL's advisory lock, so that two processes never migrate at once.
const MIGRATION_LOCK: i64 = 0x7265_7374_616e_7465;

/// What is logged when damage is found for the first time.
const DAMAGED: &str = "the database is damaged in places: what is elsewhere goes on. Save what can \
    be read (restante export), and restore a backup or recover the file (docs/OPERATING.md, \"A page \
    is damaged\")";

/// Connections to one database: some to read, and on SQLite a single one to write.
///
/// SQLite has one writer at a time anyway. With one connection its writers queue in order; with
/// several they poll for the lock, and the unlucky one waits a second.
#[derive(Debug, Clone)]
pub struct Database {
    read: DatabaseConnection,
    write: DatabaseConnection,
    /// What is known of SQLite's files.
    sqlite: Option<Arc<SqliteFiles>>,
    maintenance: Arc<Mutex<Option<Maintenance>>>,
    damaged: Arc<AtomicBool>,
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
    /// The file can't be kept from other users.
    #[error("the database {} can't be made for this user alone: {reason}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The database did not let us in.
    #[error(
        "the database can't be opened: {0} (check Database__Url, and that this user may write there)"
    )]
    Connect(DbErr),
    /// There is no room for what SQLite has beside the database while it is open.
    #[error("the disk of the database is full: make room there ({0})")]
    DiskFull(DbErr),
    /// What tells which tables there are is damaged.
    #[error(
        "the database is damaged where it can't be opened without: restore a backup, or recover what \
         can be read (docs/OPERATING.md): {0}"
    )]
    Damaged(DbErr),
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
                sqlite: None,
                maintenance: Arc::default(),
                damaged: Arc::default(),
            });
        }
        let Some(file) = sqlite_file(url)? else {
            let kind = url.split(':').next().unwrap_or_default();
            return Err(OpenError::UnknownKind(format!("{kind}:…")));
        };
        let Opened { read, write, files } = sqlite::open(url, &file).await?;
        let sqlite = Some(Arc::new(files));
        Ok(Self {
            read,
            write,
            sqlite,
            maintenance: Arc::default(),
            damaged: Arc::default(),
        })
    }

    /// Applies the schema changes that are missing, all or none; tells how many there were.
    ///
    /// # Errors
    /// If the database refuses, or knows changes that this program does not.
    pub async fn migrate(&self) -> Result<usize, OpenError> {
        let applied = self.apply_migrations().await;
        applied.map_err(|error| match error {
            error if self.is_disk_full(&error) => OpenError::DiskFull(error),
            error if is_damage(&error) => OpenError::Damaged(error),
            error => OpenError::Migrate(error),
        })
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
        let pending = Migrator::get_pending_migrations(&*transaction).await?.len();
        Migrator::up(&*transaction, None).await?;
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

    /// Begins what a server has to do beside its queries: on SQLite, to empty the write-ahead log,
    /// and to keep a reserve on the disk. It goes on until the database is closed or not used any
    /// more.
    pub(crate) fn maintain(&self) {
        if let Some(files) = &self.sqlite {
            let maintenance = Maintenance::start(files, &self.write);
            *self.maintenance() = Some(maintenance);
        }
    }

    /// Sets how much must be free on the disk of SQLite's file for mail to be taken in; none is by
    /// the size of the disk.
    pub(crate) fn set_min_free_space(&self, octets: Option<u64>) {
        if let Some(files) = &self.sqlite {
            files.space().set_min_free(octets);
        }
    }

    /// The disk that SQLite's file is on; none if it is elsewhere.
    pub(crate) fn disk(&self) -> Option<Disk> {
        self.sqlite.as_ref()?.space().disk()
    }

    /// How many octets SQLite's write-ahead log has; none if there is no such thing.
    pub(crate) fn log_octets(&self) -> Option<u64> {
        self.sqlite.as_ref().map(|files| files.log_octets())
    }

    /// Is there room for a message of so many octets?
    pub(crate) async fn has_room_for(&self, octets: u64) -> bool {
        let Some(disk) = self.disk() else { return true };
        let needed = disk.min_free.saturating_add(octets);
        if disk.is_full || disk.free >= needed {
            return !disk.is_full;
        }
        // What was deleted has left room inside the file.
        disk.free.saturating_add(self.unused_octets().await) >= needed
    }

    /// How much of SQLite's file is not used.
    async fn unused_octets(&self) -> u64 {
        const UNUSED: &str = "SELECT freelist_count * page_size \
            FROM pragma_freelist_count, pragma_page_size";
        let unused = self.read.query_one_raw(statement(&self.read, UNUSED, []));
        let unused = unused.await.ok().flatten();
        let octets = unused.and_then(|row| row.try_get_by_index::<i64>(0).ok());
        octets.map_or(0, i64::unsigned_abs)
    }

    /// If something that deletes has failed because the disk is full, gives up the reserve for it:
    /// then it is to be tried again, while it has what is returned.
    pub(super) fn reserve_for<T, E: DatabaseFault>(
        &self,
        deleted: &Result<T, E>,
    ) -> Option<Using<'_>> {
        let error = deleted.as_ref().err()?;
        self.note_damage(error);
        let is_full = self.is_disk_full(error);
        is_full.then(|| Some(self.files()?.space().give_up_reserve()))?
    }

    /// What is known of SQLite's files; none if this is another database.
    pub(super) fn files(&self) -> Option<&SqliteFiles> {
        self.sqlite.as_deref()
    }

    /// Remembers it if an error is one of a damaged database, and tells once what to do.
    pub(crate) fn note_damage(&self, error: &impl DatabaseFault) {
        if is_damage(error) && !self.damaged.swap(true, Relaxed) {
            tracing::error!("{DAMAGED}");
        }
    }

    /// Was anything found since the start that the database can't have written?
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Relaxed)
    }

    /// Reads rows, and remembers it if the database is damaged there.
    pub(super) async fn rows(&self, query: Statement) -> Result<Vec<QueryResult>, StoreError> {
        let rows = self.read.query_all_raw(query).await;
        let rows = rows.map_err(StoreError::from);
        rows.inspect_err(|error| self.note_damage(error))
    }

    fn maintenance(&self) -> MutexGuard<'_, Option<Maintenance>> {
        self.maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes all connections; on SQLite this empties the write-ahead log.
    ///
    /// # Errors
    /// If a connection ends with a fault.
    pub async fn close(self) -> Result<(), DbErr> {
        let maintenance = self.maintenance().take();
        if let Some(maintenance) = maintenance {
            maintenance.end().await;
        }
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
        if let Some(files) = &self.sqlite {
            files.check()?;
        }
        let read = &self.read;
        let question = "SELECT 1 FROM users LIMIT 1";
        match read.query_one_raw(statement(read, question, [])).await {
            // All else may be in order.
            Err(error) if is_damage(&error) => self.note_damage(&error),
            answer => drop(answer?),
        }
        let transaction = self.begin().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // A standby begins transactions too, and refuses this.
            transaction
                .execute_unprepared("SET TRANSACTION READ WRITE")
                .await?;
        }
        transaction.rollback().await?;
        Ok(())
    }

    /// For what only reads.
    pub(crate) fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Begins a transaction that may write.
    ///
    /// On SQLite it takes the write lock at once: a transaction that reads first and writes later
    /// may find that another has written meanwhile, and fails.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.write.begin_with_options(options).await?;
        Ok(WriteTransaction::new(transaction, self.sqlite.clone()))
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

pub(super) async fn connect(options: ConnectOptions) -> Result<DatabaseConnection, OpenError> {
    sea_orm::Database::connect(options)
        .await
        .map_err(OpenError::Connect)
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

fn postgres_options(url: &str) -> ConnectOptions {
    let mut options = common_options(url);
    options
        .max_connections(POSTGRES_CONNECTIONS)
        .test_before_acquire_if_idle_for(POSTGRES_TRUSTED_FOR);
    options
}

pub(super) fn common_options(url: &str) -> ConnectOptions {
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
