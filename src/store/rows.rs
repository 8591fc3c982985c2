//! Writes messages into their tables, many rows with each statement.
//!
//! Each statement that is waited for costs a way to the database and back. With several rows in one,
//! a transaction of many deliveries has few of them.

use std::collections::HashMap;
use std::time::SystemTime;

use pop3::UniqueId;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Value};

use super::database::statement;
use super::delivery::{
    CHUNK_OCTETS, StagedMessage, Written, finish_content, insert_chunks, milliseconds,
};
use super::{ContentId, MessageId, StoreError, UserId};

/// How many rows a statement has: the most that fit, so that the database prepares a handful of
/// statements and no more.
const ROWS_AT_ONCE: [usize; 3] = [16, 4, 1];

/// A message in a maildrop that is not there yet.
pub(super) struct NewMessage {
    pub(super) user: UserId,
    pub(super) content: ContentId,
    pub(super) content_octets: u64,
    /// What stands in front of the content in this copy alone.
    pub(super) head: Vec<u8>,
    /// When it was received; now, by the clock of the database, if it is none.
    pub(super) received_at: Option<SystemTime>,
    pub(super) unique_id: UniqueId,
}

/// Stores what messages say; returns the key of each, in their order.
pub(super) async fn store_contents(
    transaction: &DatabaseTransaction,
    messages: &[&StagedMessage],
) -> Result<Vec<ContentId>, StoreError> {
    const INSERT: &str = "INSERT INTO contents (octets, digest)";
    const CHUNKS: &str = "INSERT INTO chunks (content_id, number, octets)";
    let in_memory = messages
        .iter()
        .filter(|message| message.written().is_none());
    let rows = in_memory.map(|message| {
        let digest = message.digest().to_vec();
        vec![signed(message.octets()).into(), digest.into()]
    });
    let inserted = insert(transaction, INSERT, "RETURNING id, digest", rows.collect()).await?;
    // Rows of the same digest say the same, so it does not matter which is whose.
    let mut keys: HashMap<Vec<u8>, Vec<i64>> = HashMap::with_capacity(inserted.len());
    for row in inserted {
        let (key, digest): (i64, Vec<u8>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        keys.entry(digest).or_default().push(key);
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
            // A message may be nothing but its head; without a chunk it would pass for a lost one.
            chunks.push(vec![key.into(), 0i32.into(), Vec::<u8>::new().into()]);
        }
        for (number, octets) in (0i32..).zip(message.rest().chunks(CHUNK_OCTETS)) {
            chunks.push(vec![key.into(), number.into(), octets.to_vec().into()]);
        }
        contents.push(ContentId(key));
    }
    insert(transaction, CHUNKS, "", chunks).await?;
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
    const INSERT: &str = "INSERT INTO messages \
        (user_id, content_id, octets, unique_id, received_at_ms, head_octets, stored_at_ms)";
    const HEADS: &str = "INSERT INTO heads (message_id, octets)";
    let mut rows = Vec::with_capacity(copies.len());
    for copy in &copies {
        let head_octets = i32::try_from(copy.head.len());
        let head_octets = head_octets.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        rows.push(vec![
            copy.user.0.into(),
            copy.content.0.into(),
            signed(copy.content_octets + copy.head.len() as u64).into(),
            copy.unique_id.as_str().into(),
            copy.received_at.map_or(now, milliseconds).into(),
            head_octets.into(),
            now.into(),
        ]);
    }
    let returning = "RETURNING id, user_id, unique_id";
    let mut keys: HashMap<(i64, String), i64> = HashMap::with_capacity(copies.len());
    for row in insert(transaction, INSERT, returning, rows).await? {
        let copy = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        keys.insert(copy, row.try_get_by_index(0)?);
    }
    let (mut messages, mut heads) = (Vec::with_capacity(copies.len()), Vec::new());
    for copy in copies {
        let key = keys.get(&(copy.user.0, copy.unique_id.as_str().to_owned()));
        let key = *key.ok_or_else(|| StoreError::Corrupt("INSERT returned no key".into()))?;
        if !copy.head.is_empty() {
            heads.push(vec![key.into(), copy.head.into()]);
        }
        messages.push(MessageId(key));
    }
    insert(transaction, HEADS, "", heads).await?;
    Ok(messages)
}

/// Inserts rows of the same form; returns what the statements return, in any order.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    into: &str,
    returning: &str,
    rows: Vec<Vec<Value>>,
) -> Result<Vec<QueryResult>, StoreError> {
    let width = rows.first().map_or(0, Vec::len);
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    let mut returned = Vec::new();
    while let Some(count) = ROWS_AT_ONCE.into_iter().find(|count| *count <= left) {
        let sql = format!("{into} VALUES {} {returning}", places(count, width));
        let values = rows.by_ref().take(count).flatten();
        let insert = statement(transaction, &sql, values);
        if returning.is_empty() {
            transaction.execute_raw(insert).await?;
        } else {
            returned.extend(transaction.query_all_raw(insert).await?);
        }
        left -= count;
    }
    Ok(returned)
}

/// `($1,$2),($3,$4)` for two rows of two values.
fn places(rows: usize, width: usize) -> String {
    let row = |at: usize| {
        let places: Vec<String> = (1..=width)
            .map(|n| format!("${}", at * width + n))
            .collect();
        format!("({})", places.join(","))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}

/// As the tables count octets.
pub(super) fn signed(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_through_all_rows() {
        assert_eq!(places(1, 3), "($1,$2,$3)");
        assert_eq!(places(3, 2), "($1,$2),($3,$4),($5,$6)");
    }
}
