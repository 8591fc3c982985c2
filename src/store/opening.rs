//! Opening a maildrop: its rows become a snapshot as they come.

use sea_orm::sqlx::{self, Column, ColumnIndex, Decode, Row, Type};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, QueryTrait, RuntimeErr, Statement};

use super::deletions::batched_messages;
use super::hot;
use super::maildrop::{Entry, MaildropBuilder};
use super::query::messages_after;
use super::{ContentId, Database, MessageId, SqlMaildrop, StoreError, Stored, UserId};

/// How many rows are read before other tasks of the thread get their turn.
const ROWS_PER_TURN: usize = 256;

/// Reading more messages than this is a long read.
const LONG_READ: u64 = 10_000;

/// The limit of a query without a limit.
const NO_LIMIT: u64 = i64::MAX.unsigned_abs();

/// How many messages a page has where the maildrop is read in pages.
const PAGE: u64 = 5000;

/// What a query has read.
#[derive(Default)]
struct OpenQueryResult {
    builder: MaildropBuilder,
    /// Some of these messages are deleted and not yet moved.
    amid_deletion: bool,
    /// How many messages there are, if there is a limit.
    count: u64,
}

impl Database {
    /// The newest messages of a maildrop, at most `limit` of them; 0 means all.
    ///
    /// No more than some thousand rows are in memory at a time beside the snapshot.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn open_maildrop(
        &self,
        user: UserId,
        limit: u32,
    ) -> Result<SqlMaildrop, StoreError> {
        let backend = self.read().get_database_backend();
        let (select, wanted): (fn(_, _, _) -> _, _) = match limit {
            0 => (hot::all_messages, NO_LIMIT),
            limit => (hot::newest_messages, u64::from(limit)),
        };
        let query = |rows: u64| select(backend, user.row(), rows);
        let first = wanted.min(LONG_READ + 1);
        let mut opened = self.build(query(first), limit).await?;
        let is_long = first < wanted && opened.builder.len() as u64 == first;
        if is_long && !opened.amid_deletion {
            drop(opened);
            let _turn = self.read().turn_for_long_read().await?;
            opened = self.build(query(wanted), limit).await?;
        }
        if opened.amid_deletion {
            let _turn = self.read().turn_for_long_read().await?;
            return self.open_amid_deletion(user, limit).await;
        }
        let mut builder = opened.builder;
        if limit == 0 {
            return Ok(builder.finish(user, 0));
        }
        builder.reverse();
        let hidden = opened.count.saturating_sub(builder.len() as u64);
        Ok(builder.finish(user, hidden))
    }

    /// Opens a maildrop of which some messages are deleted and not yet moved: it leaves them out.
    async fn open_amid_deletion(
        &self,
        user: UserId,
        limit: u32,
    ) -> Result<SqlMaildrop, StoreError> {
        let transaction = self.begin_to_read().await?;
        let batched = batched_messages(&transaction, user).await?;
        let (mut after, mut builder) = ((i64::MIN, i64::MIN), MaildropBuilder::default());
        loop {
            let next = messages_after(user.row(), after, PAGE).into_query();
            let rows = transaction.query_all(&next).await?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                break;
            };
            after = (last.try_get("", "received_at_ms")?, last.try_get("", "id")?);
            let columns = Columns::of(first)?;
            for row in &rows {
                let message = columns.entry(row)?;
                if !batched.contains(&message.stored.message.0) {
                    push(&mut builder, &message)?;
                }
            }
        }
        let all = builder.len();
        if limit > 0 && all > limit as usize {
            builder.reverse();
            builder.truncate(limit as usize);
            builder.reverse();
        }
        let hidden = all - builder.len();
        Ok(builder.finish(user, hidden as u64))
    }

    /// Builds a maildrop of the rows of a query, in their order. It ends early where some are deleted.
    async fn build(&self, query: Statement, limit: u32) -> Result<OpenQueryResult, StoreError> {
        let mut rows = self.stream(query).await?;
        let mut opened = OpenQueryResult::default();
        let mut columns = None;
        while let Some(row) = rows.next().await? {
            let columns = match &columns {
                Some(columns) => columns,
                None => {
                    opened.amid_deletion = row.try_get::<i64>("", "batches")? > 0;
                    if opened.amid_deletion {
                        break;
                    }
                    if limit > 0 {
                        opened.count = row.try_get::<i64>("", "messages")?.unsigned_abs();
                    }
                    columns.insert(Columns::of(&row)?)
                }
            };
            push(&mut opened.builder, &columns.entry(&row)?)?;
            if opened.builder.len().is_multiple_of(ROWS_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(opened)
    }
}

fn push(builder: &mut MaildropBuilder, entry: &Entry<'_>) -> Result<(), StoreError> {
    let pushed = builder.push(entry);
    pushed.map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The places of columns in a row, which are looked up once for a maildrop and not for each of a
/// million messages.
struct Columns {
    id: usize,
    content_id: usize,
    octets: usize,
    unique_id: usize,
    trace_octets: usize,
}

impl Columns {
    fn of(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            id: place_of(row, "id")?,
            content_id: place_of(row, "content_id")?,
            octets: place_of(row, "octets")?,
            unique_id: place_of(row, "unique_id")?,
            trace_octets: place_of(row, "trace_octets")?,
        })
    }

    /// Reads a row. What SeaORM decodes owns its text; this does not.
    fn entry<'r>(&self, row: &'r QueryResult) -> Result<Entry<'r>, StoreError> {
        match (row.try_as_sqlite_row(), row.try_as_pg_row()) {
            (Some(row), _) => self.decode(row),
            (None, Some(row)) => self.decode(row),
            (None, None) => Err(StoreError::Corrupt("a row of no known database".into())),
        }
    }

    fn decode<'r, R>(&self, row: &'r R) -> Result<Entry<'r>, StoreError>
    where
        R: Row,
        usize: ColumnIndex<R>,
        i32: Decode<'r, R::Database> + Type<R::Database>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        &'r str: Decode<'r, R::Database> + Type<R::Database>,
    {
        let octets: i64 = row.try_get(self.octets).map_err(undecodable)?;
        let trace_octets: i32 = row.try_get(self.trace_octets).map_err(undecodable)?;
        Ok(Entry {
            stored: Stored {
                message: MessageId(row.try_get(self.id).map_err(undecodable)?),
                content: ContentId(row.try_get(self.content_id).map_err(undecodable)?),
                has_trace_headers: trace_octets > 0,
            },
            octets: u64::try_from(octets)
                .map_err(|error| StoreError::Corrupt(error.to_string()))?,
            unique_id: row.try_get(self.unique_id).map_err(undecodable)?,
        })
    }
}

/// Returns the place of a column in a row.
///
/// # Errors
/// If the row has no such column.
pub(super) fn place_of(row: &QueryResult, column: &str) -> Result<usize, DbErr> {
    let place = match (row.try_as_sqlite_row(), row.try_as_pg_row()) {
        (Some(row), _) => row.try_column(column).map(Column::ordinal),
        (None, Some(row)) => row.try_column(column).map(Column::ordinal),
        (None, None) => Err(sqlx::Error::ColumnNotFound(column.to_owned())),
    };
    place.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
}

fn undecodable(error: sqlx::Error) -> StoreError {
    DbErr::Query(RuntimeErr::SqlxError(error.into())).into()
}
