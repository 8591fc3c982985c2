//! Takes messages in, as they will be sent.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use pop3::Canonical;
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use sha2::{Digest, Sha256};

use super::database::statement;
use super::maildrops::raise_version;
use super::{ContentId, Database, StoreError, UserId};
use crate::identity::new_unique_id;

/// How large the pieces are in which a message is stored, in octets.
///
/// SQLite streams 128 KiB pieces nearly as fast as larger ones, and a slow reader holds up two.
pub const CHUNK_OCTETS: usize = 128 * 1024;

/// From this size on, a message goes to the database while it still arrives.
const MEMORY_OCTETS: usize = 8 * CHUNK_OCTETS;

/// A broken delivery is removed when it has not grown for this long.
pub(super) const UNFINISHED_EXPIRES_AFTER: Duration = Duration::from_secs(3600);

/// A message that is arriving. It is stored when it is complete, or not at all.
///
/// A small one waits in memory. A large one goes to the database in pieces that belong to no
/// maildrop yet; [`Database::store`] gives them to their recipients in one transaction.
#[derive(Debug)]
pub struct Delivery {
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
struct Written {
    content: ContentId,
    chunks: i32,
}

/// A complete message, ready to be stored.
#[derive(Debug)]
pub struct Prepared {
    octets: u64,
    digest: [u8; 32],
    rest: Vec<u8>,
    written: Option<Written>,
}

impl Delivery {
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
    pub fn finish(mut self) -> Prepared {
        let before = self.waiting.len();
        std::mem::take(&mut self.canonical).finish(&mut self.waiting);
        self.count(before);
        Prepared {
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
        let transaction = database.begin().await?;
        let mut written = match self.written {
            Some(written) => {
                touch(&transaction, written.content).await?;
                written
            }
            None => begin_content(&transaction).await?,
        };
        let whole = self.waiting.len() - self.waiting.len() % CHUNK_OCTETS;
        let chunks = self.waiting.get(..whole).unwrap_or_default();
        written.chunks = insert_chunks(&transaction, written, chunks).await?;
        transaction.commit().await?;
        self.waiting.drain(..whole);
        self.written = Some(written);
        Ok(())
    }
}

impl Prepared {
    /// How many octets RETR will send, before byte-stuffing.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The SHA-256 of these octets.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl Database {
    /// Gives messages to recipients, all to all or none, durably.
    ///
    /// # Errors
    /// If the database refuses; then nothing is stored.
    pub async fn store(
        &self,
        recipients: &[UserId],
        messages: Vec<(Prepared, SystemTime)>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let mut recipients = recipients.to_vec();
        recipients.sort_unstable();
        recipients.dedup();
        for user in &recipients {
            raise_version(&transaction, *user).await?;
        }
        for (message, received_at) in messages {
            store_message(&transaction, &recipients, message, received_at).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Removes what a large message left in the database that is not to be stored.
    ///
    /// # Errors
    /// If the database refuses; then it goes when it expires.
    pub async fn abandon(&self, message: Prepared) -> Result<(), StoreError> {
        match message.written {
            Some(written) => self.remove_unfinished(written.content).await,
            None => Ok(()),
        }
    }

    pub(super) async fn remove_unfinished(&self, content: ContentId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        for (table, key) in [
            ("unfinished", "content_id"),
            ("chunks", "content_id"),
            ("contents", "id"),
        ] {
            let sql = format!("DELETE FROM {table} WHERE {key} = {}", content.0);
            transaction.execute_unprepared(&sql).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// How often each digest is in a maildrop.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn digests(&self, user: UserId) -> Result<HashMap<Vec<u8>, usize>, StoreError> {
        const DIGESTS: &str = "SELECT c.digest FROM messages m JOIN contents c ON c.id = m.content_id \
            WHERE m.user_id = $1";
        let read = self.read();
        let mut digests = HashMap::new();
        for row in read
            .query_all_raw(statement(read, DIGESTS, [user.0.into()]))
            .await?
        {
            *digests.entry(row.try_get_by_index(0)?).or_default() += 1;
        }
        Ok(digests)
    }
}

async fn store_message(
    transaction: &DatabaseTransaction,
    recipients: &[UserId],
    message: Prepared,
    received_at: SystemTime,
) -> Result<(), StoreError> {
    let octets = i64::try_from(message.octets).unwrap_or(i64::MAX);
    let content = match message.written {
        Some(written) => {
            finish_content(transaction, written.content, octets, &message.digest).await?;
            insert_chunks(transaction, written, &message.rest).await?;
            written.content
        }
        None => {
            let content = insert_content(transaction, octets, &message.digest).await?;
            let written = Written { content, chunks: 0 };
            insert_chunks(transaction, written, &message.rest).await?;
            content
        }
    };
    for user in recipients {
        const INSERT: &str = "INSERT INTO messages \
            (user_id, content_id, octets, unique_id, received_at_ms) VALUES ($1, $2, $3, $4, $5)";
        let values = [
            user.0.into(),
            content.0.into(),
            octets.into(),
            new_unique_id().as_str().into(),
            milliseconds(received_at).into(),
        ];
        transaction
            .execute_raw(statement(transaction, INSERT, values))
            .await?;
    }
    Ok(())
}

async fn begin_content(transaction: &DatabaseTransaction) -> Result<Written, StoreError> {
    const INSERT: &str = "INSERT INTO unfinished (content_id, touched_at_ms) VALUES ($1, $2)";
    let content = insert_content(transaction, 0, &[0; 32]).await?;
    let values = [content.0.into(), milliseconds(SystemTime::now()).into()];
    transaction
        .execute_raw(statement(transaction, INSERT, values))
        .await?;
    Ok(Written { content, chunks: 0 })
}

async fn touch(transaction: &DatabaseTransaction, content: ContentId) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE unfinished SET touched_at_ms = $2 WHERE content_id = $1";
    let values = [content.0.into(), milliseconds(SystemTime::now()).into()];
    let update = statement(transaction, UPDATE, values);
    expect_one(transaction.execute_raw(update).await?.rows_affected())
}

async fn finish_content(
    transaction: &DatabaseTransaction,
    content: ContentId,
    octets: i64,
    digest: &[u8; 32],
) -> Result<(), StoreError> {
    const FINISHED: &str = "DELETE FROM unfinished WHERE content_id = $1";
    const UPDATE: &str = "UPDATE contents SET octets = $2, digest = $3 WHERE id = $1";
    let finished = statement(transaction, FINISHED, [content.0.into()]);
    expect_one(transaction.execute_raw(finished).await?.rows_affected())?;
    let values = [content.0.into(), octets.into(), digest.to_vec().into()];
    transaction
        .execute_raw(statement(transaction, UPDATE, values))
        .await?;
    Ok(())
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
    let insert = statement(transaction, INSERT, [octets.into(), digest.to_vec().into()]);
    let row = transaction.query_one_raw(insert).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("INSERT returned no key".into()))?;
    Ok(ContentId(row.try_get_by_index(0)?))
}

/// Adds chunks behind those that are there; returns how many there are then.
async fn insert_chunks(
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
