//! Takes messages in, as they will be sent.

use std::time::{Duration, SystemTime};

use entity::{chunk, content, pending_content};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, ExprTrait, FromQueryResult, QueryFilter, QuerySelect,
};
use sha2::{Digest, Sha256};
use wire::Canonical;

use super::asking::repeat;
use super::hot;
use super::raw::clock;
use super::removal::{PENDING_EXPIRES_AFTER, SeenPending};
use super::{ContentId, Database, StoreError};

/// Size of the chunks in which a message is stored, in octets.
///
/// SQLite streams 128 KiB pieces nearly as fast as larger ones, and a slow reader holds up two.
pub const CHUNK_OCTETS: usize = 128 * 1024;

/// From this size on, a message goes to the database while it still arrives.
const MEMORY_OCTETS: usize = 8 * CHUNK_OCTETS;

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
    /// Returns the octets that RETR will send, before byte-stuffing.
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

    /// Returns the part of it that is in the database already.
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
        let remove = || self.remove_pending(written.content, Pending::Any);
        repeat(remove).await?;
        Ok(())
    }

    /// Returns the contents that are not complete, with the time of the clock that is the same for
    /// all servers.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn pending_contents(&self) -> Result<Vec<SeenPending>, StoreError> {
        let read = self.read();
        let pending = pending_content::Entity::find()
            .expr_as(clock(read.get_database_backend()), "now_ms")
            .into_model::<PendingNow>()
            .all(read);
        Ok(pending.await?.into_iter().map(Into::into).collect())
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
        repeat(|| self.remove_pending(content, Pending::Broken)).await
    }

    async fn remove_pending(&self, content: ContentId, which: Pending) -> Result<bool, StoreError> {
        let transaction = self.begin_maintenance().await?;
        let removed = remove_content(&transaction, content, which).await?;
        transaction.commit().await?;
        Ok(removed)
    }
}

/// A pending content, and the time of the database.
#[derive(FromQueryResult)]
struct PendingNow {
    content_id: i64,
    written_at_ms: i64,
    now_ms: i64,
}

impl From<PendingNow> for SeenPending {
    fn from(row: PendingNow) -> Self {
        Self {
            content: ContentId(row.content_id),
            written_at_ms: row.written_at_ms,
            now_ms: row.now_ms,
        }
    }
}

/// The pending content to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// Any.
    Any,
    /// One whose delivery was broken off.
    Broken,
}

/// The condition that nothing has been written of a pending content for too long.
fn is_broken(backend: DbBackend) -> Expr {
    let expires_after = i64::try_from(PENDING_EXPIRES_AFTER.as_millis()).unwrap_or(i64::MAX);
    pending_content::Column::WrittenAtMs
        .into_expr()
        .lt(clock(backend).sub(expires_after))
}

/// Removes what is stored already of a large message without recipients.
pub(super) async fn remove_written(
    transaction: &DatabaseTransaction,
    message: &StagedMessage,
) -> Result<(), DbErr> {
    if let Some(written) = message.written {
        remove_content(transaction, written.content, Pending::Any).await?;
    }
    Ok(())
}

/// Removes a pending content; false if it is not pending, or not one of `which`.
async fn remove_content(
    transaction: &DatabaseTransaction,
    content: ContentId,
    which: Pending,
) -> Result<bool, DbErr> {
    let mut pending = pending_content::Entity::delete_many()
        .filter(pending_content::Column::ContentId.eq(content.0));
    if which == Pending::Broken {
        pending = pending.filter(is_broken(transaction.get_database_backend()));
    }
    if pending.exec(transaction).await?.rows_affected == 0 {
        return Ok(false);
    }
    let chunks = chunk::Entity::delete_many().filter(chunk::Column::ContentId.eq(content.0));
    chunks.exec(transaction).await?;
    content::Entity::delete_by_id(content.0)
        .exec(transaction)
        .await?;
    Ok(true)
}

async fn begin_content(transaction: &DatabaseTransaction) -> Result<Written, StoreError> {
    let content = content::ActiveModel {
        octets: Set(0),
        digest: Set(vec![0; 32]),
        ..Default::default()
    };
    let content = content.insert(transaction).await?;
    let mut pending = Query::insert();
    pending
        .into_table(pending_content::Entity)
        .columns([
            pending_content::Column::ContentId,
            pending_content::Column::WrittenAtMs,
        ])
        .values_panic([content.id.into(), clock(transaction.get_database_backend())]);
    transaction.execute(&pending).await?;
    Ok(Written {
        content: ContentId(content.id),
        chunks: 0,
    })
}

async fn touch(transaction: &DatabaseTransaction, content: ContentId) -> Result<(), StoreError> {
    let now = clock(transaction.get_database_backend());
    let touched = pending_content::Entity::update_many()
        .col_expr(pending_content::Column::WrittenAtMs, now)
        .filter(pending_content::Column::ContentId.eq(content.0))
        .exec(transaction);
    if touched.await?.rows_affected == 1 {
        Ok(())
    } else {
        Err(StoreError::DeliveryExpired)
    }
}

/// Completes a pending content for its recipients; false if another transaction has completed it,
/// for others of them.
pub(super) async fn finish_content(
    transaction: &DatabaseTransaction,
    content: ContentId,
    octets: i64,
    digest: &[u8; 32],
) -> Result<bool, StoreError> {
    let finished = pending_content::Entity::delete_by_id(content.0).exec(transaction);
    let is_ours = finished.await?.rows_affected > 0;
    if is_ours {
        let whole = content::ActiveModel {
            octets: Set(octets),
            digest: Set(digest.to_vec()),
            ..Default::default()
        };
        content::Entity::update_many()
            .set(whole)
            .filter(content::Column::Id.eq(content.0))
            .exec(transaction)
            .await?;
    } else {
        let finished = content::Entity::find_by_id(content.0).one(transaction);
        let is_whole =
            |it: &content::Model| it.octets == octets && it.digest.as_slice() == digest.as_slice();
        let finished = finished.await?.filter(is_whole);
        finished.ok_or(StoreError::DeliveryExpired)?;
    }
    Ok(is_ours)
}

/// Adds chunks after those that are stored; returns how many there are then.
pub(super) async fn insert_chunks(
    transaction: &DatabaseTransaction,
    mut written: Written,
    octets: &[u8],
) -> Result<i32, StoreError> {
    for data in octets.chunks(CHUNK_OCTETS) {
        let row = [
            written.content.0.into(),
            written.chunks.into(),
            data.to_vec().into(),
        ];
        let insert = hot::insert_chunks(transaction.get_database_backend(), vec![row]);
        transaction.execute_raw(insert).await?;
        written.chunks += 1;
    }
    Ok(written.chunks)
}

/// Returns a time as the tables keep it; before 1970 it is negative.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}
