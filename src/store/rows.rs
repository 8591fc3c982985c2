//! Writes messages into their tables, many rows with each statement.
//!
//! Each statement that is waited for costs a way to the database and back. With several rows in one,
//! a transaction of many deliveries has few of them.

use std::collections::HashMap;
use std::time::SystemTime;

use pop3::UniqueId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, FromQueryResult, Statement, Value};

use super::delivery::{
    CHUNK_OCTETS, StagedMessage, Written, finish_content, insert_chunks, milliseconds,
};
use super::hot;
use super::{ContentId, MessageId, StoreError, UserId};

/// A message in a maildrop that is not there yet.
pub(super) struct NewMessage {
    pub(super) user: UserId,
    pub(super) content: ContentId,
    pub(super) content_octets: u64,
    /// What stands in front of the content in this copy alone.
    pub(super) trace_headers: Vec<u8>,
    /// When it was received; now, by the clock of the database, if it is none.
    pub(super) received_at: Option<SystemTime>,
    pub(super) unique_id: UniqueId,
}

/// Stores what messages say; returns the key of each, in their order.
pub(super) async fn store_contents(
    transaction: &DatabaseTransaction,
    messages: &[&StagedMessage],
) -> Result<Vec<ContentId>, StoreError> {
    let in_memory = messages
        .iter()
        .filter(|message| message.written().is_none());
    let rows = in_memory.map(|message| {
        let digest = message.digest().to_vec();
        [signed(message.octets()).into(), digest.into()]
    });
    let inserted = insert_returning(transaction, hot::insert_contents, rows.collect()).await?;
    // Contents of the same digest are equal, so any of their keys will do.
    let mut keys: HashMap<Vec<u8>, Vec<i64>> = HashMap::with_capacity(inserted.len());
    for InsertedContent { id, digest } in inserted {
        keys.entry(digest).or_default().push(id);
    }
    let (mut contents, mut chunks) = (Vec::with_capacity(messages.len()), Vec::new());
    for message in messages {
        if let Some(written) = message.written() {
            contents.push(finish(transaction, message, written).await?);
            continue;
        }
        let key = keys.get_mut(message.digest().as_slice()).and_then(Vec::pop);
        let key = key.ok_or_else(|| StoreError::Corrupt("INSERT returned no key".into()))?;
        if message.rest().is_empty() {
            // A message may be nothing but its trace headers; without a chunk it would pass for a lost one.
            chunks.push([key.into(), 0i32.into(), Vec::<u8>::new().into()]);
        }
        for (number, octets) in (0i32..).zip(message.rest().chunks(CHUNK_OCTETS)) {
            chunks.push([key.into(), number.into(), octets.to_vec().into()]);
        }
        contents.push(ContentId(key));
    }
    insert(transaction, hot::insert_chunks, chunks).await?;
    Ok(contents)
}

/// Completes a message whose first chunks are in the database already.
async fn finish(
    transaction: &DatabaseTransaction,
    message: &StagedMessage,
    written: Written,
) -> Result<ContentId, StoreError> {
    let octets = signed(message.octets());
    if finish_content(transaction, written.content, octets, message.digest()).await? {
        insert_chunks(transaction, written, message.rest()).await?;
    }
    Ok(written.content)
}

/// Puts messages into maildrops at this time, in milliseconds since 1970; returns the key of each, in
/// their order.
pub(super) async fn insert_copies(
    transaction: &DatabaseTransaction,
    now: i64,
    copies: Vec<NewMessage>,
) -> Result<Vec<MessageId>, StoreError> {
    let mut rows = Vec::with_capacity(copies.len());
    for copy in &copies {
        let trace_octets = i32::try_from(copy.trace_headers.len());
        let trace_octets = trace_octets.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        rows.push([
            copy.user.row().into(),
            copy.content.0.into(),
            signed(copy.content_octets + copy.trace_headers.len() as u64).into(),
            copy.unique_id.as_str().into(),
            copy.received_at.map_or(now, milliseconds).into(),
            now.into(),
            trace_octets.into(),
        ]);
    }
    let mut keys: HashMap<(i64, String), i64> = HashMap::with_capacity(copies.len());
    for row in insert_returning(transaction, hot::insert_messages, rows).await? {
        let InsertedMessage {
            id,
            user_id,
            unique_id,
        } = row;
        keys.insert((user_id, unique_id), id);
    }
    let (mut messages, mut traces) = (Vec::with_capacity(copies.len()), Vec::new());
    for copy in copies {
        let key = keys.get(&(copy.user.row(), copy.unique_id.as_str().to_owned()));
        let key = *key.ok_or_else(|| StoreError::Corrupt("INSERT returned no key".into()))?;
        if !copy.trace_headers.is_empty() {
            traces.push([key.into(), copy.trace_headers.into()]);
        }
        messages.push(MessageId(key));
    }
    insert(transaction, hot::insert_trace_headers, traces).await?;
    Ok(messages)
}

/// A content that an INSERT has stored.
#[derive(FromQueryResult)]
struct InsertedContent {
    id: i64,
    digest: Vec<u8>,
}

/// A message that an INSERT has stored.
#[derive(FromQueryResult)]
struct InsertedMessage {
    id: i64,
    user_id: i64,
    unique_id: String,
}

/// Builds the statement that inserts rows.
type Insert<const N: usize> = fn(DbBackend, Vec<[Value; N]>) -> Statement;

/// Inserts rows.
async fn insert<const N: usize>(
    transaction: &DatabaseTransaction,
    statement: Insert<N>,
    rows: Vec<[Value; N]>,
) -> Result<(), StoreError> {
    let backend = transaction.get_database_backend();
    let mut rows = rows.into_iter();
    while let Some(count) = hot::row_count(rows.len()) {
        let insert = statement(backend, rows.by_ref().take(count).collect());
        transaction.execute_raw(insert).await?;
    }
    Ok(())
}

/// Inserts rows; returns what the statements return of each, in any order.
async fn insert_returning<const N: usize, R: FromQueryResult>(
    transaction: &DatabaseTransaction,
    statement: Insert<N>,
    rows: Vec<[Value; N]>,
) -> Result<Vec<R>, StoreError> {
    let backend = transaction.get_database_backend();
    let mut returned = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter();
    while let Some(count) = hot::row_count(rows.len()) {
        let insert = statement(backend, rows.by_ref().take(count).collect());
        for row in transaction.query_all_raw(insert).await? {
            returned.push(R::from_query_result(&row, "")?);
        }
    }
    Ok(returned)
}

/// As the tables count octets.
pub(super) fn signed(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}
