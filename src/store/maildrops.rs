//! The maildrops of our own schema.
//!
//! The statements of login, RETR and QUIT are written out, since building them anew each time
//! costs as much as SQLite needs to answer.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sea_orm::sqlx::Row;
use sea_orm::{DbErr, QueryResult, Value};

use super::clock_guard::ClockGuard;
use super::database::statement;
use super::deletions::{DELETED_AT_ONCE, Deletion, DeletionRecord};
use super::garbage::{GcReport, GcState};
use super::leases::{Leases, VersionLease};
use super::locks::MAILDROP_PATIENCE;
use super::{
    Beginning, ContentId, Database, Intake, MaildropVersion, MessageId, SqlMaildrop, StoreError,
    Stored, UserId,
};
use crate::accounts::Accounts;

/// Lists of contents are filled up to one of these lengths, so that the database prepares a
/// handful of statements and no more.
const BATCH_LENGTHS: [usize; 4] = [1, 4, 16, LONGEST_BATCH];

/// How many contents one query reads.
pub(super) const LONGEST_BATCH: usize = 64;

/// Maildrops in our own schema.
#[derive(Debug, Clone)]
pub struct SqlStore {
    pub(super) database: Database,
    pub(super) leases: Leases,
    pub(super) server_id: String,
    pub(super) gc_state: Arc<Mutex<GcState>>,
    pub(super) accounts: Accounts,
    pub(super) intake: Intake,
    pub(super) keeping: Retention,
    pub(super) clock_guard: ClockGuard,
}

/// How long what could go is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// How long what a QUIT deleted, or what expired, can be brought back.
    pub deleted: Duration,
    /// How long a message stays in its maildrop; none is for ever.
    pub expire_after: Option<Duration>,
}

impl Retention {
    /// Does any of it go by the clock?
    pub(super) fn goes_by_time(self) -> bool {
        !self.deleted.is_zero() || self.expire_after.is_some()
    }
}

impl SqlStore {
    /// Serves maildrops from this database. `server_id` tells this process from others.
    pub fn new(database: Database, server_id: String) -> Self {
        Self {
            accounts: Accounts::new(database.clone()),
            intake: Intake::new(database.clone()),
            database,
            leases: Leases::default(),
            server_id,
            gc_state: Arc::default(),
            keeping: Retention::default(),
            clock_guard: ClockGuard::default(),
        }
    }

    /// The same, which keeps what could go for so long.
    #[must_use]
    pub fn with_retention(self, keeping: Retention) -> Self {
        Self { keeping, ..self }
    }

    /// What watches the clock by which mail expires.
    pub(crate) fn clock_guard(&self) -> ClockGuard {
        self.clock_guard.clone()
    }
}

impl SqlStore {
    /// Keeps what a maildrop holds at this version readable, until the lease is dropped.
    pub fn lease(&self, user: UserId, version: MaildropVersion) -> VersionLease {
        self.leases.take(user, version)
    }

    /// Opens a maildrop with its newest messages, at most `limit` of them; 0 means all.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn open(&self, user: UserId, limit: u32) -> Result<SqlMaildrop, StoreError> {
        self.database.open_maildrop(user, limit).await
    }

    /// Reads the head and the first chunk of each message, in their order; one that is not there is
    /// left out.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn first_chunks(
        &self,
        messages: &[Stored],
    ) -> Result<Vec<(MessageId, Beginning)>, StoreError> {
        let read = self.database.read();
        let mut beginnings = Vec::with_capacity(messages.len());
        for batch in messages.chunks(LONGEST_BATCH) {
            let (sql, keys) = first_chunks_of(batch);
            let rows = self.database.rows(statement(read, &sql, keys)).await?;
            let mut found = Found::default();
            for row in rows {
                found.add(row)?;
            }
            let here = |message: &Stored| Some((message.message, found.beginning(*message)?));
            beginnings.extend(batch.iter().filter_map(here));
        }
        Ok(beginnings)
    }

    /// Reads the head of a message and the first octets of its content, at most so many and at most
    /// one chunk.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn beginning(&self, message: Stored, octets: u32) -> Result<Beginning, StoreError> {
        const BEGINNING: &str = "SELECT 0, content_id, SUBSTR(octets, 1, $2) FROM chunks \
            WHERE content_id = $1 AND number = 0";
        const WITH_HEAD: &str = "SELECT 0, content_id, SUBSTR(octets, 1, $2) FROM chunks \
            WHERE content_id = $1 AND number = 0 \
            UNION ALL SELECT 1, message_id, octets FROM heads WHERE message_id = $3";
        let octets = i32::try_from(octets).unwrap_or(i32::MAX);
        let mut values: Vec<Value> = vec![message.content.0.into(), octets.into()];
        let mut sql = BEGINNING;
        if message.has_head {
            sql = WITH_HEAD;
            values.push(message.message.0.into());
        }
        let read = self.database.read();
        let mut found = Found::default();
        for row in self.database.rows(statement(read, sql, values)).await? {
            found.add(row)?;
        }
        let beginning = found.beginning(message);
        beginning.ok_or(StoreError::Gone)
    }

    /// Reads the chunks of one content with these numbers, in order. Beyond the last there are none.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn chunks(
        &self,
        content: ContentId,
        numbers: Range<u32>,
    ) -> Result<Vec<Bytes>, StoreError> {
        const CHUNKS: &str = "SELECT number, octets FROM chunks \
            WHERE content_id = $1 AND number >= $2 AND number < $3 ORDER BY number";
        let number = |n: u32| Value::from(i32::try_from(n).unwrap_or(i32::MAX));
        let values = [content.0.into(), number(numbers.start), number(numbers.end)];
        let read = self.database.read();
        let rows = self.database.rows(statement(read, CHUNKS, values)).await?;
        let mut chunks = Vec::with_capacity(rows.len());
        for (row, expected) in rows.into_iter().zip(numbers) {
            // What comes after a gap is not what comes next.
            let number: i32 = row.try_get_by_index(0)?;
            if u32::try_from(number) != Ok(expected) {
                break;
            }
            chunks.push(blob(row, 1));
        }
        Ok(chunks)
    }

    /// Deletes these messages of this user, all or none, durably; returns how many were still there.
    ///
    /// # Errors
    /// If the database can't say; then nothing is deleted.
    pub async fn delete(
        &self,
        user: UserId,
        messages: &[MessageId],
        session: &str,
    ) -> Result<usize, StoreError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let deleted = self.delete_patiently(user, messages, session).await;
        let Some(_using) = self.database.reserve_for(&deleted) else {
            return deleted;
        };
        self.delete_patiently(user, messages, session).await
    }

    /// Removes what no session can read any more, and what has expired.
    ///
    /// # Errors
    /// If the database can't say; the next call goes on.
    pub async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        let collected = self.collect().await;
        let Some(_using) = self.database.reserve_for(&collected) else {
            return collected;
        };
        self.collect().await
    }

    /// Tells other servers that this one has ended.
    ///
    /// # Errors
    /// If the database can't say; the others will notice after a while.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.forget_server(&self.server_id).await
    }
}

impl SqlStore {
    /// Deletes messages, again if a row stays locked for long: a server that is frozen keeps its locks
    /// for some seconds.
    async fn delete_patiently(
        &self,
        user: UserId,
        messages: &[MessageId],
        session: &str,
    ) -> Result<usize, StoreError> {
        let until = Instant::now() + MAILDROP_PATIENCE;
        loop {
            match self.delete_all(user, messages, session).await {
                Err(error) if error.is_lock_timeout() && Instant::now() < until => {}
                deleted => return deleted,
            }
        }
    }

    /// Deletes these messages of a user, all or none.
    async fn delete_all(
        &self,
        user: UserId,
        messages: &[MessageId],
        session: &str,
    ) -> Result<usize, StoreError> {
        // What takes long is done before the maildrop is locked, and after.
        let later = messages.len() > DELETED_AT_ONCE;
        let batches = if later {
            self.database.batches_of(user, messages).await?
        } else {
            Vec::new()
        };
        let Some((transaction, maildrop)) = self.database.lock_maildrop(user).await? else {
            // The user has been removed, and all messages with it.
            return Ok(0);
        };
        let departing = DeletionRecord {
            session: Some(session),
            kept: self.keeping.deleted,
        };
        let deletion = Deletion::begin(&transaction, user, maildrop.version, departing).await?;
        let deleted = if later {
            deletion.write_down(&transaction, batches).await?
        } else {
            let messages: Vec<i64> = messages.iter().map(|message| message.0).collect();
            deletion.delete_now(&transaction, &messages).await?
        };
        transaction.commit().await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}

/// How long a list of so many keys is made.
fn length_for(keys: usize) -> usize {
    let enough = |length: &usize| *length >= keys;
    BATCH_LENGTHS.into_iter().find(enough).unwrap_or(keys)
}

/// Places for so many keys, filled up, the first of which has this number.
pub(super) fn places_for(keys: usize, first: usize) -> String {
    let places: Vec<String> = (first..first + length_for(keys))
        .map(|n| format!("${n}"))
        .collect();
    places.join(",")
}

/// The keys, filled up with the last of them.
pub(super) fn filled(keys: Vec<i64>) -> Vec<Value> {
    let length = length_for(keys.len());
    let last = keys.last().copied().unwrap_or_default();
    let filled = keys.into_iter().chain(std::iter::repeat(last));
    filled.take(length).map(Value::from).collect()
}

/// The statement for so many messages, and the keys with the last one repeated.
fn first_chunks_of(messages: &[Stored]) -> (String, Vec<Value>) {
    let contents: Vec<i64> = messages.iter().map(|message| message.content.0).collect();
    let mut sql = format!(
        "SELECT 0, content_id, octets FROM chunks WHERE number = 0 AND content_id IN ({})",
        places_for(contents.len(), 1)
    );
    let mut keys = filled(contents);
    let heads = messages.iter().filter(|message| message.has_head);
    let heads: Vec<i64> = heads.map(|message| message.message.0).collect();
    if !heads.is_empty() {
        sql.push_str(&format!(
            " UNION ALL SELECT 1, message_id, octets FROM heads WHERE message_id IN ({})",
            places_for(heads.len(), 1 + keys.len())
        ));
        keys.extend(filled(heads));
    }
    (sql, keys)
}

/// What a query for beginnings has found: rows of 0, content and octets, or of 1, message and
/// the octets of its head.
#[derive(Default)]
struct Found {
    chunks: HashMap<ContentId, Bytes>,
    heads: HashMap<MessageId, Bytes>,
}

impl Found {
    fn add(&mut self, row: QueryResult) -> Result<(), DbErr> {
        let (is_head, key): (i32, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let octets = blob(row, 2);
        if is_head == 1 {
            self.heads.insert(MessageId(key), octets);
        } else {
            self.chunks.insert(ContentId(key), octets);
        }
        Ok(())
    }

    /// None unless all of it was found.
    fn beginning(&self, message: Stored) -> Option<Beginning> {
        Some(Beginning {
            head: if message.has_head {
                self.heads.get(&message.message)?.clone()
            } else {
                Bytes::new()
            },
            content: self.chunks.get(&message.content)?.clone(),
        })
    }
}

/// The octets in a column, as the driver holds them: they are not copied again.
fn blob(row: QueryResult, column: usize) -> Bytes {
    Bytes::from_owner(Blob { row, column })
}

struct Blob {
    row: QueryResult,
    column: usize,
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        let octets = match (self.row.try_as_sqlite_row(), self.row.try_as_pg_row()) {
            (Some(row), _) => row.try_get_unchecked(self.column).ok(),
            (None, Some(row)) => row.try_get_unchecked(self.column).ok(),
            (None, None) => None,
        };
        octets.unwrap_or_default()
    }
}
