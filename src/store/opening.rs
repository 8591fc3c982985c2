//! Opening a maildrop: its rows become a snapshot as they come.

use sea_orm::sqlx::{self, ColumnIndex, Decode, Row, Type};
use sea_orm::{DbErr, QueryResult, RuntimeErr, Statement};

use super::database::statement;
use super::maildrop::{Entry, MaildropBuilder};
use super::{ContentId, Database, Maildrop, MessageId, StoreError, Stored, UserId};

/// How many rows are read before other tasks of the thread get their turn.
const ROWS_PER_TURN: usize = 256;

/// Reading more messages than this is a long read.
const LONG_READ: i64 = 10_000;

/// The limit of a query without a limit.
const NO_LIMIT: i64 = i64::MAX;

const ALL: &str = "SELECT id, content_id, octets, unique_id, head_octets FROM messages \
    WHERE user_id = $1 ORDER BY received_at_ms, id LIMIT $2";

/// One statement, so that what is counted is the maildrop whose newest messages it reads. The
/// database counts once, and by the same index.
const NEWEST: &str = "SELECT id, content_id, octets, unique_id, head_octets, \
    (SELECT COUNT(*) FROM messages WHERE user_id = $1) FROM messages \
    WHERE user_id = $1 ORDER BY received_at_ms DESC, id DESC LIMIT $2";

/// The column of [`NEWEST`] that says how many messages there are.
const COUNT: usize = 5;

impl Database {
    /// The newest messages of a maildrop, at most `limit` of them; 0 means all.
    ///
    /// No more than some thousand rows are in memory at a time beside the snapshot.
    ///
    /// # Errors
    /// If the database can't say.
    pub(super) async fn open_maildrop(
        &self,
        user: UserId,
        limit: u32,
    ) -> Result<Maildrop, StoreError> {
        let (sql, count, wanted) = match limit {
            0 => (ALL, None, NO_LIMIT),
            limit => (NEWEST, Some(COUNT), i64::from(limit)),
        };
        let query = |rows: i64| statement(self.read(), sql, [user.0.into(), rows.into()]);
        let first = wanted.min(LONG_READ + 1);
        let (mut builder, mut counted) = self.build(query(first), count).await?;
        if first < wanted && builder.len() as u64 == first.unsigned_abs() {
            drop(builder);
            let _turn = self.read().turn_for_long_read().await?;
            (builder, counted) = self.build(query(wanted), count).await?;
        }
        if limit == 0 {
            return Ok(builder.finish(user, 0));
        }
        builder.reverse();
        let hidden = counted.saturating_sub(builder.len() as u64);
        Ok(builder.finish(user, hidden))
    }

    /// Builds a maildrop of the rows of a query, in their order. Returns with it the number that the
    /// first row has in this column.
    async fn build(
        &self,
        query: Statement,
        count: Option<usize>,
    ) -> Result<(MaildropBuilder, u64), StoreError> {
        let mut rows = self.stream(query).await?;
        let mut builder = MaildropBuilder::default();
        let mut counted = 0;
        while let Some(row) = rows.next().await? {
            if let (0, Some(column)) = (builder.len(), count) {
                counted = row.try_get_by_index::<i64>(column)?.unsigned_abs();
            }
            push(&mut builder, &row)?;
            if builder.len().is_multiple_of(ROWS_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok((builder, counted))
    }
}

fn push(builder: &mut MaildropBuilder, row: &QueryResult) -> Result<(), StoreError> {
    // What SeaORM decodes owns its text, and a maildrop may have a million.
    let entry = match (row.try_as_sqlite_row(), row.try_as_pg_row()) {
        (Some(row), _) => entry(row)?,
        (None, Some(row)) => entry(row)?,
        (None, None) => return Err(StoreError::Corrupt("a row of no known database".into())),
    };
    let pushed = builder.push(&entry);
    pushed.map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn entry<'r, R>(row: &'r R) -> Result<Entry<'r>, StoreError>
where
    R: Row,
    usize: ColumnIndex<R>,
    i32: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
{
    let octets: i64 = row.try_get(2).map_err(undecodable)?;
    let head_octets: i32 = row.try_get(4).map_err(undecodable)?;
    Ok(Entry {
        stored: Stored {
            message: MessageId(row.try_get(0).map_err(undecodable)?),
            content: ContentId(row.try_get(1).map_err(undecodable)?),
            has_head: head_octets > 0,
        },
        octets: u64::try_from(octets).map_err(|error| StoreError::Corrupt(error.to_string()))?,
        unique_id: row.try_get(3).map_err(undecodable)?,
    })
}

fn undecodable(error: sqlx::Error) -> StoreError {
    DbErr::Query(RuntimeErr::SqlxError(error.into())).into()
}
