//! The SQL that no query builder has words for: locks, limits, the clock, what SQLite says of its
//! file. `docs/decisions/0008-sea-orm.md` names each.

use std::time::SystemTime;

use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, FromQueryResult, Statement};

use super::delivery::milliseconds;

/// The name of PostgreSQL's advisory lock, so that two processes never migrate at once.
const MIGRATION_LOCK: i64 = 0x7265_7374_616e_7465;

/// The time of the database, in milliseconds since 1970. Servers that share a database may have
/// clocks that differ; this one is the same for all.
///
/// PostgreSQL would ask its clock again for each row, and no index helps to compare with that. A
/// query of its own is run once.
pub(crate) fn clock(backend: DbBackend) -> Expr {
    Expr::cust(clock_text(backend))
}

/// The same for `RETURNING`, where the query builder has no names for columns: as `now_ms`.
pub(super) fn returned_clock(backend: DbBackend) -> Expr {
    Expr::cust(format!("{} AS now_ms", clock_text(backend)))
}

fn clock_text(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Postgres {
        "(SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))"
    } else {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    }
}

/// Asks for the time of the database, in milliseconds since 1970.
///
/// # Errors
/// If the database fails.
pub(crate) async fn now(connection: &impl ConnectionTrait) -> Result<i64, DbErr> {
    #[derive(FromQueryResult)]
    struct Now {
        now_ms: i64,
    }
    let backend = connection.get_database_backend();
    if backend == DbBackend::Sqlite {
        // Its clock is that of this machine.
        return Ok(milliseconds(SystemTime::now()));
    }
    let now = Query::select().expr_as(clock(backend), "now_ms").take();
    let row = connection.query_one(&now).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the time".into()))?;
    Ok(Now::from_query_result(&row, "")?.now_ms)
}

/// Waits until no other process migrates; the lock ends with the transaction.
///
/// # Errors
/// If the database refuses.
pub(super) async fn lock_migrations(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let lock = "SELECT pg_advisory_xact_lock($1)";
    let values = [MIGRATION_LOCK.into()];
    let lock = Statement::from_sql_and_values(DbBackend::Postgres, lock, values);
    transaction.execute_raw(lock).await?;
    Ok(())
}

/// Sets a limit of PostgreSQL for this transaction, in milliseconds; 0 is no limit.
///
/// # Errors
/// If the database refuses.
pub(super) async fn set_local(
    transaction: &DatabaseTransaction,
    parameter: &str,
    milliseconds: u128,
) -> Result<(), DbErr> {
    let set = format!("SET LOCAL {parameter} = {milliseconds}");
    transaction.execute_unprepared(&set).await?;
    Ok(())
}

/// Fails on a standby of PostgreSQL, which begins transactions too.
///
/// # Errors
/// If the database takes no changes.
pub(super) async fn require_writable(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let writable = "SET TRANSACTION READ WRITE";
    transaction.execute_unprepared(writable).await?;
    Ok(())
}

/// Returns the octets of SQLite's file that no page uses.
///
/// # Errors
/// If the database fails.
pub(super) async fn unused_octets(connection: &impl ConnectionTrait) -> Result<u64, DbErr> {
    #[derive(FromQueryResult)]
    struct Unused {
        octets: i64,
    }
    const UNUSED: &str = "SELECT freelist_count * page_size AS octets \
        FROM pragma_freelist_count, pragma_page_size";
    let unused = Statement::from_string(DbBackend::Sqlite, UNUSED);
    let row = connection.query_one_raw(unused).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the free pages".into()))?;
    Ok(Unused::from_query_result(&row, "")?.octets.unsigned_abs())
}
