//! Pools of connections, and the options by which they connect.

use sea_orm::sqlx::Connection;
use sea_orm::{ConnectOptions, DatabaseConnection, DbErr, RuntimeErr, sqlx};

use super::super::postgres;
use super::{CONNECT_TIMEOUT, OpenError};

pub(in crate::store) async fn connect(
    options: ConnectOptions,
) -> Result<DatabaseConnection, OpenError> {
    sea_orm::Database::connect(options)
        .await
        .map_err(OpenError::Connect)
}

/// Connects once: a pool would only tell that it timed out.
pub(super) async fn say_why_not(url: &str) -> Result<(), OpenError> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, postgres::connect(url)).await;
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

/// Does this URL name a database of PostgreSQL?
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(super) fn postgres_options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = common_options(url);
    options
        .max_connections(connections)
        .map_sqlx_postgres_opts(postgres::connect_options)
        .map_sqlx_postgres_pool_opts(postgres::pool_options);
    options
}

pub(in crate::store) fn common_options(url: &str) -> ConnectOptions {
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
