//! Opens the database and brings its schema up to date.

mod connecting;
mod disk;
mod error;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use entity::user;
use migration::{Migrator, MigratorTrait};
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, EntityTrait, IsolationLevel, QueryResult,
    QuerySelect, SqliteTransactionMode, Statement, TransactionOptions,
};
use tokio::sync::Semaphore;

use super::StoreError;
use super::faults::{DatabaseFault, is_damage};
use super::pools::{Pool, PoolUse, Rows};
use super::postgres;
use super::raw;
use super::sqlite::{self, Maintenance, SqliteConnections, SqliteFiles, sqlite_file};
use super::transaction::Transaction;

pub(crate) use connecting::is_postgres;
pub(super) use connecting::{common_options, connect};
pub use error::OpenError;

use connecting::{postgres_options, say_why_not};

/// Maximum number of connections of a process to PostgreSQL, by default.
const POSTGRES_CONNECTIONS: u32 = 8;

/// Maximum wait for a connection, to the database or from the pool.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The log line when damage is found for the first time.
const DAMAGED: &str = "the database is damaged in places: what is elsewhere goes on. Save what can \
    be read (restante export), and restore a backup or recover the file (docs/OPERATING.md, \"A page \
    is damaged\")";

/// Connections to one database: some to read, and others to write, so that reading goes on when
/// every one that writes waits for a lock.
///
/// SQLite has one writer at a time anyway. With one connection its writers queue in order; with
/// several they poll for the lock, and the unlucky one waits a second.
#[derive(Debug, Clone)]
pub struct Database {
    read: Pool,
    write: Pool,
    /// Room for those that write and wait for a lock: never all of them.
    pub(super) lock_waits: Arc<Semaphore>,
    /// The files of SQLite.
    sqlite: Option<Arc<SqliteFiles>>,
    maintenance: Arc<Mutex<Option<Maintenance>>>,
    damaged: Arc<AtomicBool>,
}

impl Database {
    /// Opens the database, and makes the file and its folder where SQLite has none yet.
    ///
    /// # Errors
    /// If the URL is of no known kind, or the database can't be opened.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, POSTGRES_CONNECTIONS).await
    }

    /// The same, with at most so many connections to PostgreSQL: half of them read. There are two
    /// at least.
    ///
    /// # Errors
    /// As those of [`Database::open`].
    pub async fn open_with(url: &str, max_connections: u32) -> Result<Self, OpenError> {
        if is_postgres(url) {
            return Self::open_postgres(url, max_connections).await;
        }
        let Some(file) = sqlite_file(url)? else {
            let kind = url.split(':').next().unwrap_or_default();
            return Err(OpenError::UnknownKind(format!("{kind}:…")));
        };
        let SqliteConnections { read, write, files } = sqlite::open(url, &file).await?;
        Ok(Self {
            read: Pool::new(read, sqlite::READERS),
            write: Pool::new(write, 1),
            // It locks no rows.
            lock_waits: Arc::new(Semaphore::new(0)),
            sqlite: Some(Arc::new(files)),
            maintenance: Arc::default(),
            damaged: Arc::default(),
        })
    }

    async fn open_postgres(url: &str, max_connections: u32) -> Result<Self, OpenError> {
        // SeaORM panics on a URL that it can't read.
        url::Url::parse(url).map_err(OpenError::Malformed)?;
        say_why_not(url).await?;
        let readers = max_connections.div_ceil(2).max(1);
        let writers = (max_connections / 2).max(1);
        let pool = async |size| {
            let connections = connect(postgres_options(url, size)).await?;
            Ok::<_, OpenError>(Pool::new(connections, size))
        };
        Ok(Self {
            read: pool(readers).await?,
            write: pool(writers).await?,
            lock_waits: Arc::new(Semaphore::new(writers as usize / 2)),
            sqlite: None,
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
        let read = self.read.connections();
        let known = Migrator::get_migration_with_status_read_only(read).await;
        if known.is_ok_and(|all| all.iter().all(is_applied)) {
            return Ok(0);
        }
        let transaction = self.begin().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            postgres::wait_without_limit(&transaction).await?;
            raw::lock_migrations(&transaction).await?;
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
        let read = self.read.connections();
        let pending = Migrator::get_pending_migrations_read_only(read).await;
        let pending = pending.map_err(OpenError::Migrate)?;
        let transaction = self.begin().await.map_err(OpenError::Connect)?;
        transaction.rollback().await.map_err(OpenError::Connect)?;
        Ok(pending.len())
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

    /// Begins to read rows one by one, and remembers it if the database is damaged there.
    pub(super) async fn stream(&self, query: Statement) -> Result<RowStream<'_>, StoreError> {
        let rows = self.read.stream(query).await.map_err(StoreError::from);
        let rows = rows.inspect_err(|error| self.note_damage(error))?;
        let database = self;
        Ok(RowStream { database, rows })
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

    /// Returns the use of each pool.
    pub(crate) fn pool_use(&self) -> [PoolUse; 2] {
        [self.read.in_use("read"), self.write.in_use("write")]
    }

    /// Can it be read and written? The cheapest questions that tell.
    ///
    /// # Errors
    /// If not: it does not answer, it takes no changes, or its file is no longer where it was.
    pub async fn ping(&self) -> Result<(), DbErr> {
        if let Some(files) = &self.sqlite {
            files.check()?;
        }
        let any_user = user::Entity::find().select_only().column(user::Column::Id);
        match any_user.into_tuple::<i64>().one(&self.read).await {
            // All else may be in order.
            Err(error) if is_damage(&error) => self.note_damage(&error),
            answer => drop(answer?),
        }
        let transaction = self.begin().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            raw::require_writable(&transaction).await?;
        }
        transaction.rollback().await?;
        Ok(())
    }

    /// For what only reads.
    pub(crate) fn read(&self) -> &Pool {
        &self.read
    }

    /// Begins a transaction that reads the database as it is at this moment. It may pause.
    pub(super) async fn begin_to_read(&self) -> Result<Transaction, DbErr> {
        if self.read.get_database_backend() == DbBackend::Sqlite {
            return self.read.begin(TransactionOptions::default(), None).await;
        }
        let options = TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            ..TransactionOptions::default()
        };
        let transaction = self.read.begin(options, None).await?;
        postgres::allow_long_statements(&transaction).await?;
        postgres::allow_pauses(&transaction).await?;
        Ok(transaction)
    }

    /// Begins a transaction that may write.
    ///
    /// On SQLite it takes the write lock at once: a transaction that reads first and writes later
    /// may find that another has written meanwhile, and fails.
    pub(crate) async fn begin(&self) -> Result<Transaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.write.begin(options, self.sqlite.clone()).await
    }

    /// As [`Database::begin`], for maintenance: its statements may take long.
    pub(super) async fn begin_maintenance(&self) -> Result<Transaction, DbErr> {
        let transaction = self.begin().await?;
        if self.locks_rows() {
            postgres::allow_long_statements(&transaction).await?;
        }
        Ok(transaction)
    }

    /// Does a transaction lock the rows that it changes? On SQLite it has the whole database.
    pub(super) fn locks_rows(&self) -> bool {
        self.write.get_database_backend() == DbBackend::Postgres
    }
}

/// The rows of a query, which are read one by one.
pub(super) struct RowStream<'a> {
    database: &'a Database,
    rows: Rows,
}

impl RowStream<'_> {
    /// The next row; none is the end.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn next(&mut self) -> Result<Option<QueryResult>, StoreError> {
        let row = self.rows.next().await.map_err(StoreError::from);
        row.inspect_err(|error| self.database.note_damage(error))
    }
}

fn is_applied(migration: &migration::Migration) -> bool {
    migration.status() == migration::MigrationStatus::Applied
}
