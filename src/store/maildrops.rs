//! The maildrops of our own schema.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sea_orm::sqlx::Row;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::clock_guard::ClockGuard;
use super::deletions::{DELETED_AT_ONCE, Deletion, DeletionRecord};
use super::garbage::{GcReport, GcState};
use super::hot::{self, LONGEST_LIST};
use super::leases::{Leases, VersionLease};
use super::locks::MAILDROP_LOCK_TIMEOUT;
use super::opening::place_of;
use super::{
    Beginning, ContentId, Database, Intake, MaildropVersion, MessageId, SqlMaildrop, StoreError,
    Stored, UserId,
};
use crate::accounts::Accounts;

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

/// Retention settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// The time for which a deleted or expired message can be restored.
    pub deleted: Duration,
    /// The time for which a message stays in its maildrop; `None` is without an end.
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

    /// Returns the guard of the clock by which mail expires.
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
    /// If the database fails.
    pub async fn open(&self, user: UserId, limit: u32) -> Result<SqlMaildrop, StoreError> {
        self.database.open_maildrop(user, limit).await
    }

    /// Reads the trace headers and the first chunk of each message, in their order; one that is not there is
    /// left out.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn first_chunks(
        &self,
        messages: &[Stored],
    ) -> Result<Vec<(MessageId, Beginning)>, StoreError> {
        let read = self.database.read();
        let mut beginnings = Vec::with_capacity(messages.len());
        for batch in messages.chunks(LONGEST_LIST) {
            let first = hot::first_chunks(read.get_database_backend(), batch);
            let rows = self.database.rows(first).await?;
            let mut found = BeginningRows::default();
            for row in rows {
                found.add(row)?;
            }
            let here = |message: &Stored| Some((message.message, found.beginning(*message)?));
            beginnings.extend(batch.iter().filter_map(here));
        }
        Ok(beginnings)
    }

    /// Reads the trace headers of a message and the first octets of its content, at most so many and at most
    /// one chunk.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn beginning(&self, message: Stored, octets: u32) -> Result<Beginning, StoreError> {
        let octets = i32::try_from(octets).unwrap_or(i32::MAX);
        let backend = self.database.read().get_database_backend();
        let beginning = hot::beginning(backend, message, octets);
        let mut found = BeginningRows::default();
        for row in self.database.rows(beginning).await? {
            found.add(row)?;
        }
        let beginning = found.beginning(message);
        beginning.ok_or(StoreError::Gone)
    }

    /// Reads the chunks of one content with these numbers, in order. Beyond the last there are none.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn chunks(
        &self,
        content: ContentId,
        numbers: Range<u32>,
    ) -> Result<Vec<Bytes>, StoreError> {
        let [from, to] =
            [numbers.start, numbers.end].map(|number| i32::try_from(number).unwrap_or(i32::MAX));
        let backend = self.database.read().get_database_backend();
        let rows = self
            .database
            .rows(hot::chunks(backend, content.0, from, to));
        let rows = rows.await?;
        let mut chunks = Vec::with_capacity(rows.len());
        for (row, expected) in rows.into_iter().zip(numbers) {
            // After a gap, the next chunk is not what comes next.
            let number: i32 = row.try_get("", "number")?;
            if u32::try_from(number) != Ok(expected) {
                break;
            }
            chunks.push(Blob::of(row)?);
        }
        Ok(chunks)
    }

    /// Deletes these messages of this user, all or none, durably; returns how many were still there.
    ///
    /// # Errors
    /// If the database fails; then nothing is deleted.
    pub async fn delete(
        &self,
        user: UserId,
        messages: &[MessageId],
        session: &str,
    ) -> Result<usize, StoreError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let deleted = self.delete_within_timeout(user, messages, session).await;
        let Some(_using) = self.database.reserve_for(&deleted) else {
            return deleted;
        };
        self.delete_within_timeout(user, messages, session).await
    }

    /// Removes what no session can read any more, and what has expired.
    ///
    /// # Errors
    /// If the database fails; the next call goes on.
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
    /// If the database fails; the others will notice after a while.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.forget_server(&self.server_id).await
    }
}

impl SqlStore {
    /// Deletes messages, again if a row stays locked for long: a server that is frozen keeps its locks
    /// for some seconds.
    async fn delete_within_timeout(
        &self,
        user: UserId,
        messages: &[MessageId],
        session: &str,
    ) -> Result<usize, StoreError> {
        let until = Instant::now() + MAILDROP_LOCK_TIMEOUT;
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
        // Slow work is done before the maildrop is locked, and after.
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
        let record = DeletionRecord {
            session: Some(session),
            kept: self.keeping.deleted,
        };
        let deletion = Deletion::begin(&transaction, user, maildrop.version, record).await?;
        let deleted = if later {
            deletion.store_batches(&transaction, batches).await?
        } else {
            let messages: Vec<i64> = messages.iter().map(|message| message.0).collect();
            deletion.delete_now(&transaction, &messages).await?
        };
        transaction.commit().await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}

/// The rows of a query for the beginnings of messages.
#[derive(Default)]
struct BeginningRows {
    chunks: HashMap<ContentId, Bytes>,
    trace_headers: HashMap<MessageId, Bytes>,
}

impl BeginningRows {
    fn add(&mut self, row: QueryResult) -> Result<(), DbErr> {
        let (is_trace, key): (i32, i64) = (row.try_get("", "is_trace")?, row.try_get("", "key")?);
        let octets = Blob::of(row)?;
        if is_trace == 1 {
            self.trace_headers.insert(MessageId(key), octets);
        } else {
            self.chunks.insert(ContentId(key), octets);
        }
        Ok(())
    }

    /// None unless all of it was found.
    fn beginning(&self, message: Stored) -> Option<Beginning> {
        Some(Beginning {
            trace_headers: if message.has_trace_headers {
                self.trace_headers.get(&message.message)?.clone()
            } else {
                Bytes::new()
            },
            content: self.chunks.get(&message.content)?.clone(),
        })
    }
}

/// The octets in the column `data` of a row, as the driver holds them: they are not copied again.
struct Blob {
    row: QueryResult,
    column: usize,
}

impl Blob {
    fn of(row: QueryResult) -> Result<Bytes, DbErr> {
        let column = place_of(&row, "data")?;
        Ok(Bytes::from_owner(Self { row, column }))
    }
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
