//! Connection pools that count their waiting callers.
//!
//! The driver does not report how many callers wait, or for how long. So each pool here has a
//! permit for each connection, and a caller that finds none is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult,
    QueryStream, Statement, StreamTrait, TransactionOptions, TransactionTrait,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::database::CONNECT_TIMEOUT;
use super::sqlite::SqliteFiles;
use super::transaction::Transaction;

/// A pool of connections. Each query takes one and gives it back.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    connections: DatabaseConnection,
    room: Arc<Semaphore>,
    /// Permits for long reads. There are fewer than connections, so that other reads find
    /// a connection at once.
    long_reads: Arc<Semaphore>,
    waits: Arc<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    waiting: AtomicU64,
    waited_us: AtomicU64,
}

/// The current use of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolUse {
    /// `read` or `write`.
    pub(crate) pool: &'static str,
    /// Connections in use.
    pub(crate) used: u64,
    /// Idle connections.
    pub(crate) idle: u64,
    /// Number of waiting callers.
    pub(crate) waiting: u64,
    /// Total time that callers have waited since the start.
    pub(crate) waited: Duration,
}

/// The rows of a query, which are read one by one.
#[derive(Debug)]
pub(super) struct Rows {
    rows: QueryStream,
    /// The permit for their connection.
    _room: OwnedSemaphorePermit,
}

/// A caller that counts as waiting until this is dropped.
struct Waiting<'a>(&'a Waits, Instant);

impl Pool {
    pub(super) fn new(connections: DatabaseConnection, size: u32) -> Self {
        Self {
            connections,
            room: Arc::new(Semaphore::new(size as usize)),
            long_reads: Arc::new(Semaphore::new((size as usize / 2).max(1))),
            waits: Arc::default(),
        }
    }

    /// Begins a transaction. Its commit checks that these files of SQLite are in place.
    ///
    /// # Errors
    /// If there is no connection in time, or the database refuses.
    pub(super) async fn begin(
        &self,
        options: TransactionOptions,
        sqlite: Option<Arc<SqliteFiles>>,
    ) -> Result<Transaction, DbErr> {
        let room = self.take_room().await?;
        let transaction = self.connections.begin_with_options(options).await?;
        Ok(Transaction::new(transaction, room, sqlite))
    }

    /// Returns the connections, for operations that need no permit.
    pub(super) fn connections(&self) -> &DatabaseConnection {
        &self.connections
    }

    /// Closes all connections.
    ///
    /// # Errors
    /// If a connection can't be closed properly.
    pub(super) async fn close(self) -> Result<(), DbErr> {
        self.connections.close().await
    }

    pub(super) fn in_use(&self, pool: &'static str) -> PoolUse {
        let (size, idle) = if self.connections.get_database_backend() == DbBackend::Sqlite {
            let pool = self.connections.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle())
        } else {
            let pool = self.connections.get_postgres_connection_pool();
            (pool.size(), pool.num_idle())
        };
        let (size, idle) = (u64::from(size), idle as u64);
        PoolUse {
            pool,
            used: size.saturating_sub(idle),
            idle,
            waiting: self.waits.waiting.load(Relaxed),
            waited: Duration::from_micros(self.waits.waited_us.load(Relaxed)),
        }
    }

    /// Waits for a permit for a long read; half of the connections may do that at the same time.
    ///
    /// # Errors
    /// If the pool has been closed.
    pub(super) async fn turn_for_long_read(&self) -> Result<OwnedSemaphorePermit, DbErr> {
        let turn = Arc::clone(&self.long_reads).acquire_owned().await;
        turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
    }

    /// Streams rows one by one. They hold their connection until they are dropped.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub(super) async fn stream(&self, query: Statement) -> Result<Rows, DbErr> {
        let room = self.take_room().await?;
        let rows = self.connections.stream_raw(query).await?;
        Ok(Rows { rows, _room: room })
    }

    async fn take_room(&self) -> Result<OwnedSemaphorePermit, DbErr> {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
            return Ok(room);
        }
        let _waiting = Waiting::begin(&self.waits);
        let room = Arc::clone(&self.room).acquire_owned();
        match tokio::time::timeout(CONNECT_TIMEOUT, room).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
            Err(_) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        }
    }
}

impl Rows {
    /// Returns the next row; `None` at the end.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn next(&mut self) -> Result<Option<QueryResult>, DbErr> {
        self.rows.try_next().await
    }
}

impl<'a> Waiting<'a> {
    fn begin(waits: &'a Waits) -> Self {
        waits.waiting.fetch_add(1, Relaxed);
        Self(waits, Instant::now())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.1.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.waiting.fetch_sub(1, Relaxed);
        self.0.waited_us.fetch_add(waited, Relaxed);
    }
}

#[async_trait]
impl ConnectionTrait for Pool {
    fn get_database_backend(&self) -> DbBackend {
        self.connections.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let _room = self.take_room().await?;
        self.connections.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let _room = self.take_room().await?;
        self.connections.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let _room = self.take_room().await?;
        self.connections.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let _room = self.take_room().await?;
        self.connections.query_all_raw(statement).await
    }
}
