//! Connections to PostgreSQL: how they are made, and what is set on each of them.
//!
//! Everything that waits has a limit, and the limits are in order: a lock is waited for shortly, a
//! statement ends before its asker gives up, and a transaction whose server is frozen or gone does
//! not keep its locks.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sqlx::pool::PoolConnectionMetadata;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgPoolOptions};
use sea_orm::sqlx::{self, Connection, Executor};
use sea_orm::{DatabaseTransaction, DbErr};

use super::faults::sqlx_error;
use super::raw::set_local;

/// How long a statement may take. The caller gives up a little later (`ANSWER_TIMEOUT`), so a
/// statement that was given up does not hold its connection.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(25);

/// How long the statements of maintenance may take: they work on many rows, and nobody waits.
const MAINTENANCE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a statement waits for a lock. Those that wait longer for a maildrop say so.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a transaction may do nothing. Ours never pause, unless their process is frozen; then
/// its locks are not to hold others up.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// When PostgreSQL asks a silent connection whether its other end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// How long after that it asks again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How often it asks in vain before it takes the other end for dead, and ends its transaction.
const KEEPALIVE_COUNT: u32 = 3;

/// How long what PostgreSQL has sent may stay unacknowledged by our machine.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that rested for longer is tested before it is used, since the server may have been
/// restarted meanwhile.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long a connection may take to answer a test.
const TEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long all connections are tested after one has broken, or has not answered.
const SUSPICION: Duration = Duration::from_secs(60);

/// Until when every connection is tested before it is used again.
static SUSPECT_UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

/// Sets the options that this program needs: its name, and no startup parameter that
/// `PgBouncer` would refuse.
pub(super) fn connect_options(options: PgConnectOptions) -> PgConnectOptions {
    let named = options.get_application_name().is_some();
    let options = options.extra_float_digits(None);
    if named {
        options
    } else {
        options.application_name("restante")
    }
}

/// Connects once, outside of any pool.
///
/// # Errors
/// If the server is not there, or does not let us in.
pub(super) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = connect_options(PgConnectOptions::from_str(url)?);
    PgConnection::connect_with(&options).await
}

/// Lets a pool prepare its connections, and test those that may be dead.
pub(super) fn pool_options(options: PgPoolOptions) -> PgPoolOptions {
    options
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(prepare(connection)))
        .before_acquire(|connection, about| Box::pin(test(connection, about)))
        .after_release(|connection, _| Box::pin(test_if_suspect(connection)))
}

/// Does this error say that the server is not there, or not ready yet?
pub(super) fn is_away(error: &DbErr) -> bool {
    /// The classes of SQLSTATE that say so: connection exception, insufficient resources (as too
    /// many connections), operator intervention.
    const CLASSES: [&str; 3] = ["08", "53", "57"];
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    let Some(error) = sqlx_error(error) else {
        return false;
    };
    match error.as_database_error() {
        // SQLite's codes are plain numbers.
        Some(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| CLASSES.iter().any(|class| error.code().starts_with(class))),
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut),
    }
}

/// From now on all connections are tested for a while: one has broken or does not answer, so the
/// others may be dead too.
pub(crate) fn suspect_connections() {
    *suspect_until() = Some(Instant::now() + SUSPICION);
}

/// Lets the statements of this transaction take long.
///
/// # Errors
/// If the database refuses.
pub(crate) async fn allow_long_statements(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let limit = MAINTENANCE_TIMEOUT.as_millis();
    set_local(transaction, "statement_timeout", limit).await
}

/// Lets the statements of this transaction take as long as they take, and wait for any lock.
///
/// # Errors
/// If the database refuses.
pub(super) async fn wait_without_limit(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    set_local(transaction, "statement_timeout", 0).await?;
    set_local(transaction, "lock_timeout", 0).await
}

/// Lets this transaction pause for as long as it likes: it holds no locks.
///
/// # Errors
/// If the database refuses.
pub(super) async fn allow_pauses(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    set_local(transaction, "idle_in_transaction_session_timeout", 0).await
}

/// Lets the statements of this transaction wait so long for a lock.
///
/// # Errors
/// If the database refuses.
pub(super) async fn wait_for_locks(
    transaction: &DatabaseTransaction,
    lock_timeout: Duration,
) -> Result<(), DbErr> {
    // 0 would be no limit.
    set_local(transaction, "lock_timeout", lock_timeout.as_millis().max(1)).await
}

/// Sets what holds for a connection for as long as it lives. It is set by a statement, not when
/// connecting, since `PgBouncer` refuses what it does not know then.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(sqlx::AssertSqlSafe(parameters()))
        .await?;
    Ok(())
}

/// Parameters that this version of PostgreSQL does not know are left out.
fn parameters() -> String {
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    let seconds = |duration: Duration| duration.as_secs().to_string();
    let values = [
        ("statement_timeout", milliseconds(STATEMENT_TIMEOUT)),
        ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
        (
            "idle_in_transaction_session_timeout",
            milliseconds(IDLE_IN_TRANSACTION_TIMEOUT),
        ),
        ("tcp_keepalives_idle", seconds(KEEPALIVE_IDLE)),
        ("tcp_keepalives_interval", seconds(KEEPALIVE_INTERVAL)),
        ("tcp_keepalives_count", KEEPALIVE_COUNT.to_string()),
        ("tcp_user_timeout", milliseconds(TCP_USER_TIMEOUT)),
        // Each statement of a transaction is to see what has been committed before it.
        ("default_transaction_isolation", "read committed".to_owned()),
    ];
    let values = values.map(|(name, value)| format!("('{name}', '{value}')"));
    format!(
        "SELECT set_config(name, value, false) FROM (VALUES {}, ('synchronous_commit', {})) \
         AS wanted (name, value) WHERE current_setting(name, true) IS NOT NULL",
        values.join(", "),
        // What is answered must survive a power cut. A stricter setting is kept.
        "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
         ELSE current_setting('synchronous_commit') END"
    )
}

/// Tests a connection that is to be used, unless it was used a moment ago.
async fn test(
    connection: &mut PgConnection,
    about: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if about.idle_for >= TRUSTED_FOR || are_suspect() {
        ping(connection).await?;
    }
    Ok(true)
}

/// Tests a connection that was used. One whose server has vanished would be waited for until the
/// system gives it up, which takes a quarter of an hour.
async fn test_if_suspect(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if are_suspect() {
        ping(connection).await?;
    }
    Ok(true)
}

async fn ping(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let answer = tokio::time::timeout(TEST_TIMEOUT, connection.ping()).await;
    answer.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

fn are_suspect() -> bool {
    let until = *suspect_until();
    until.is_some_and(|until| Instant::now() < until)
}

fn suspect_until() -> std::sync::MutexGuard<'static, Option<Instant>> {
    // It holds one value, which is replaced as a whole.
    SUSPECT_UNTIL.lock().unwrap_or_else(PoisonError::into_inner)
}
