//! Opening a maildrop: its rows become a snapshot as they come.

use sea_orm::sqlx::{self, ColumnIndex, Decode, Row, Type};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, RuntimeErr, Statement};

use super::database::statement;
use super::deletions::deleted_messages;
use super::maildrop::{Entry, MaildropBuilder};
use super::{ContentId, Database, MessageId, SqlMaildrop, StoreError, Stored, UserId};

/// How many rows are read before other tasks of the thread get their turn.
const ROWS_PER_TURN: usize = 256;

/// Reading more messages than this is a long read.
const LONG_READ: i64 = 10_000;

/// The limit of a query without a limit.
const NO_LIMIT: i64 = i64::MAX;

/// How many messages a page has where the maildrop is read in pages.
const PAGE: i64 = 5000;

const ALL: &str = "SELECT id, content_id, octets, unique_id, head_octets, \
    (SELECT COUNT(*) FROM deletion_batches WHERE user_id = $1) FROM messages \
    WHERE user_id = $1 ORDER BY received_at_ms, id LIMIT $2";

/// One statement, so that what is counted is the maildrop whose newest messages it reads. The
/// database counts once, and by the same index.
const NEWEST: &str = "SELECT id, content_id, octets, unique_id, head_octets, \
    (SELECT COUNT(*) FROM deletion_batches WHERE user_id = $1), \
    (SELECT COUNT(*) FROM messages WHERE user_id = $1) FROM messages \
    WHERE user_id = $1 ORDER BY received_at_ms DESC, id DESC LIMIT $2";

/// The column that says how many batches of a deletion are not yet moved.
const BATCHES: usize = 5;

/// The column of [`NEWEST`] that says how many messages there are.
const COUNT: usize = 6;

/// What a query has read.
#[derive(Default)]
struct Opened {
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
    /// If the database can't say.
    pub(super) async fn open_maildrop(
        &self,
        user: UserId,
        limit: u32,
    ) -> Result<SqlMaildrop, StoreError> {
        let (sql, wanted) = match limit {
            0 => (ALL, NO_LIMIT),
            limit => (NEWEST, i64::from(limit)),
        };
        let query = |rows: i64| statement(self.read(), sql, [user.0.into(), rows.into()]);
        let first = wanted.min(LONG_READ + 1);
        let mut opened = self.build(query(first), limit).await?;
        let is_long = first < wanted && opened.builder.len() as u64 == first.unsigned_abs();
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
        const NEXT: &str = "SELECT id, content_id, octets, unique_id, head_octets, received_at_ms \
            FROM messages WHERE user_id = $1 AND (received_at_ms, id) > ($2, $3) \
            ORDER BY received_at_ms, id LIMIT $4";
        let transaction = self.begin_to_read().await?;
        let deleted = deleted_messages(&transaction, user).await?;
        let (mut after, mut builder) = ((i64::MIN, i64::MIN), MaildropBuilder::default());
        loop {
            let values = [user.0.into(), after.0.into(), after.1.into(), PAGE.into()];
            let next = statement(&transaction, NEXT, values);
            let rows = transaction.query_all_raw(next).await?;
            let Some(last) = rows.last() else { break };
            after = (last.try_get_by_index(5)?, last.try_get_by_index(0)?);
            for row in &rows {
                if !deleted.contains(&row.try_get_by_index(0)?) {
                    push(&mut builder, row)?;
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
    async fn build(&self, query: Statement, limit: u32) -> Result<Opened, StoreError> {
        let mut rows = self.stream(query).await?;
        let mut opened = Opened::default();
        while let Some(row) = rows.next().await? {
            if opened.builder.len() == 0 {
                opened.amid_deletion = row.try_get_by_index::<i64>(BATCHES)? > 0;
                if opened.amid_deletion {
                    break;
                }
                if limit > 0 {
                    opened.count = row.try_get_by_index::<i64>(COUNT)?.unsigned_abs();
                }
            }
            push(&mut opened.builder, &row)?;
            if opened.builder.len().is_multiple_of(ROWS_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(opened)
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
