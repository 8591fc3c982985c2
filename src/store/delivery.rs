//! Takes messages in, as they will be sent.

use std::time::{Duration, SystemTime};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use sha2::{Digest, Sha256};
use wire::Canonical;

use super::asking::repeat;
use super::database::{clock, statement};
use super::{ContentId, Database, StoreError};

/// How large the pieces are in which a message is stored, in octets.
///
/// SQLite streams 128 KiB pieces nearly as fast as larger ones, and a slow reader holds up two.
pub const CHUNK_OCTETS: usize = 128 * 1024;

/// From this size on, a message goes to the database while it still arrives.
const MEMORY_OCTETS: usize = 8 * CHUNK_OCTETS;

/// A broken delivery is removed when it has not grown for this long.
const UNFINISHED_EXPIRES_AFTER: Duration = Duration::from_secs(3600);

/// A message that is arriving. It is stored when it is complete, or not at all.
///
/// A small one waits in memory. A large one goes to the database in pieces that belong to no
/// maildrop yet; [`Database::store`] gives them to their recipients in one transaction.
#[derive(Debug)]
pub struct MessageWriter {
    /// Where the pieces of a large message go; nowhere if it is only measured.
    database: Option<Database>,
    canonical: Canonical,
    digest: Sha256,
    waiting: Vec<u8>,
    octets: u64,
    written: Option<Written>,
}

/// A content whose first chunks are in the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) content: ContentId,
    chunks: i32,
}

/// A complete message, ready to be stored.
#[derive(Debug)]
pub struct StagedMessage {
    octets: u64,
    digest: [u8; 32],
    rest: Vec<u8>,
    written: Option<Written>,
}

impl MessageWriter {
    /// Begins to take a message in.
    pub fn new(database: Database) -> Self {
        Self {
            database: Some(database),
            ..Self::measuring()
        }
    }

    /// Takes a message in only to know its size and digest; it can't be stored.
    pub fn measuring() -> Self {
        Self {
            database: None,
            canonical: Canonical::default(),
            digest: Sha256::new(),
            waiting: Vec::new(),
            octets: 0,
            written: None,
        }
    }

    /// Takes the next octets, as they came.
    ///
    /// # Errors
    /// If the database refuses the pieces of a large message.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let before = self.waiting.len();
        self.canonical.push(octets, &mut self.waiting);
        self.count(before);
        if self.waiting.len() >= MEMORY_OCTETS {
            self.write_chunks().await?;
        }
        Ok(())
    }

    /// The message is complete.
    pub fn finish(mut self) -> StagedMessage {
        let before = self.waiting.len();
        std::mem::take(&mut self.canonical).finish(&mut self.waiting);
        self.count(before);
        StagedMessage {
            octets: self.octets,
            digest: self.digest.finalize().into(),
            rest: self.waiting,
            written: self.written,
        }
    }

    fn count(&mut self, before: usize) {
        let new = self.waiting.get(before..).unwrap_or_default();
        self.digest.update(new);
        self.octets += new.len() as u64;
    }

    async fn write_chunks(&mut self) -> Result<(), StoreError> {
        let Some(database) = &self.database else {
            self.waiting.clear();
            return Ok(());
        };
        let whole = self.waiting.len() - self.waiting.len() % CHUNK_OCTETS;
        let chunks = self.waiting.get(..whole).unwrap_or_default();
        let begun = self.written;
        let write = || async move {
            let transaction = database.begin().await?;
            let mut written = match begun {
                Some(written) => {
                    touch(&transaction, written.content).await?;
                    written
                }
                None => begin_content(&transaction).await?,
            };
            written.chunks = insert_chunks(&transaction, written, chunks).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(written)
        };
        self.written = Some(repeat(write).await?);
        self.waiting.drain(..whole);
        Ok(())
    }
}

impl StagedMessage {
    /// How many octets RETR will send, before byte-stuffing.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The SHA-256 of these octets.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The octets that are not in the database yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// What of it is in the database already.
    pub(super) fn written(&self) -> Option<Written> {
        self.written
    }
}

impl Database {
    /// Removes what a large message left in the database that is not to be stored.
    ///
    /// # Errors
    /// If the database refuses; then it goes when it expires.
    pub async fn abandon(&self, message: &StagedMessage) -> Result<(), StoreError> {
        let Some(written) = message.written else {
            return Ok(());
        };
        let remove = || self.remove_unfinished(written.content, "");
        repeat(remove).await?;
        Ok(())
    }

    /// Removes what was broken off: what has not grown for too long, by the clock that is the same
    /// for all servers. Returns how many there were.
    ///
    /// # Errors
    /// If the database refuses.
    pub(super) async fn broken_deliveries(&self) -> Result<Vec<ContentId>, StoreError> {
        let read = self.read();
        let broken = format!(
            "SELECT content_id FROM unfinished WHERE {}",
            is_broken(read)
        );
        let rows = read.query_all_raw(statement(read, &broken, [])).await?;
        let contents = rows
            .iter()
            .map(|row| Ok(ContentId(row.try_get_by_index(0)?)));
        contents.collect()
    }

    /// Removes what is left of a delivery that was broken off; false if it goes on after all.
    ///
    /// # Errors
    /// If the database refuses.
    pub(super) async fn remove_broken_delivery(
        &self,
        content: ContentId,
    ) -> Result<bool, StoreError> {
        // It may have grown since.
        let and_broken = format!("AND {}", is_broken(self.read()));
        repeat(|| self.remove_unfinished(content, &and_broken)).await
    }

    async fn remove_unfinished(
        &self,
        content: ContentId,
        condition: &str,
    ) -> Result<bool, StoreError> {
        let transaction = self.begin_maintenance().await?;
        let removed = remove_content(&transaction, content, condition).await?;
        transaction.commit().await?;
        Ok(removed)
    }
}

/// The condition that nothing has been written of an unfinished delivery for too long.
fn is_broken(connection: &impl ConnectionTrait) -> String {
    let (now, expires_after) = (clock(connection), UNFINISHED_EXPIRES_AFTER.as_millis());
    format!("touched_at_ms < {now} - {expires_after}")
}

/// Runs an INSERT that returns the key of its row.
async fn inserted_key(
    transaction: &DatabaseTransaction,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<i64, StoreError> {
    let row = transaction
        .query_one_raw(statement(transaction, sql, values))
        .await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("INSERT returned no key".into()))?;
    Ok(row.try_get_by_index(0)?)
}

/// Removes what a large message that nobody gets has in the database already.
pub(super) async fn remove_written(
    transaction: &DatabaseTransaction,
    message: &StagedMessage,
) -> Result<(), DbErr> {
    if let Some(written) = message.written {
        remove_content(transaction, written.content, "").await?;
    }
    Ok(())
}

/// Removes a content that belongs to nobody yet, on this condition; one that belongs to somebody
/// stays. Tells whether it did.
async fn remove_content(
    transaction: &DatabaseTransaction,
    content: ContentId,
    condition: &str,
) -> Result<bool, DbErr> {
    let unfinished = format!(
        "DELETE FROM unfinished WHERE content_id = {} {condition}",
        content.0
    );
    let removed = transaction.execute_unprepared(&unfinished).await?;
    if removed.rows_affected() == 0 {
        return Ok(false);
    }
    for (table, key) in [("chunks", "content_id"), ("contents", "id")] {
        let sql = format!("DELETE FROM {table} WHERE {key} = {}", content.0);
        transaction.execute_unprepared(&sql).await?;
    }
    Ok(true)
}

async fn begin_content(transaction: &DatabaseTransaction) -> Result<Written, StoreError> {
    let content = insert_content(transaction, 0, &[0; 32]).await?;
    let begin = format!(
        "INSERT INTO unfinished (content_id, touched_at_ms) VALUES ($1, {})",
        clock(transaction)
    );
    let begin = statement(transaction, &begin, [content.0.into()]);
    transaction.execute_raw(begin).await?;
    Ok(Written { content, chunks: 0 })
}

async fn touch(transaction: &DatabaseTransaction, content: ContentId) -> Result<(), StoreError> {
    let touch = format!(
        "UPDATE unfinished SET touched_at_ms = {} WHERE content_id = $1",
        clock(transaction)
    );
    let touch = statement(transaction, &touch, [content.0.into()]);
    expect_one(transaction.execute_raw(touch).await?.rows_affected())
}

/// Gives a content that is being written to its recipients; false if another transaction has done
/// so, for others of them.
pub(super) async fn finish_content(
    transaction: &DatabaseTransaction,
    content: ContentId,
    octets: i64,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    const FINISHED: &str = "DELETE FROM unfinished WHERE content_id = $1";
    const UPDATE: &str = "UPDATE contents SET octets = $2, digest = $3 WHERE id = $1";
    const IS_FINISHED: &str =
        "SELECT 1 FROM contents WHERE id = $1 AND octets = $2 AND digest = $3";
    let finished = statement(transaction, FINISHED, [content.0.into()]);
    let is_ours = transaction.execute_raw(finished).await?.rows_affected() > 0;
    let values = [content.0.into(), octets.into(), digest.to_vec().into()];
    if is_ours {
        let update = statement(transaction, UPDATE, values);
        transaction.execute_raw(update).await?;
    } else {
        let is_finished = statement(transaction, IS_FINISHED, values);
        let is_finished = transaction.query_one_raw(is_finished).await?;
        is_finished.ok_or(StoreError::DeliveryExpired)?;
    }
    Ok(is_ours)
}

fn expect_one(rows: u64) -> Result<(), StoreError> {
    if rows == 1 {
        Ok(())
    } else {
        Err(StoreError::DeliveryExpired)
    }
}

async fn insert_content(
    transaction: &DatabaseTransaction,
    octets: i64,
    digest: &[u8; 32],
) -> Result<ContentId, StoreError> {
    const INSERT: &str = "INSERT INTO contents (octets, digest) VALUES ($1, $2) RETURNING id";
    let values = [octets.into(), digest.to_vec().into()];
    Ok(ContentId(inserted_key(transaction, INSERT, values).await?))
}

/// Adds chunks behind those that are there; returns how many there are then.
pub(super) async fn insert_chunks(
    transaction: &DatabaseTransaction,
    mut written: Written,
    octets: &[u8],
) -> Result<i32, StoreError> {
    const INSERT: &str = "INSERT INTO chunks (content_id, number, octets) VALUES ($1, $2, $3)";
    for chunk in octets.chunks(CHUNK_OCTETS) {
        let values = [
            written.content.0.into(),
            written.chunks.into(),
            chunk.to_vec().into(),
        ];
        transaction
            .execute_raw(statement(transaction, INSERT, values))
            .await?;
        written.chunks += 1;
    }
    Ok(written.chunks)
}

/// As the tables keep time; before 1970 is negative.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}
