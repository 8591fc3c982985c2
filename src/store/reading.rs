//! Reads a whole maildrop as it is at one moment, for an export.

use std::time::{Duration, SystemTime};

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::database::statement;
use super::deletions::{deleted_messages, size_of_maildrop};
use super::transaction::Transaction;
use super::{ContentId, Database, MessageId, StoreError, UserId};

/// How many messages one query lists.
const PAGE: u64 = 1000;

/// The database as it is at one moment. What is deleted meanwhile can still be read here.
pub struct Reading {
    transaction: Transaction,
}

/// A message of a maildrop that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedMessage {
    message: MessageId,
    content: ContentId,
    has_head: bool,
    received_at_ms: i64,
    /// How many octets RETR sends before byte-stuffing.
    pub octets: u64,
    /// What UIDL calls it.
    pub unique_id: String,
}

impl ExportedMessage {
    /// From its key, its content's, the octets of its head, its time, its octets and its unique-id.
    pub(super) fn of_row(row: &QueryResult) -> Result<Self, DbErr> {
        let (head_octets, octets): (i32, i64) =
            (row.try_get_by_index(2)?, row.try_get_by_index(4)?);
        Ok(Self {
            message: MessageId(row.try_get_by_index(0)?),
            content: ContentId(row.try_get_by_index(1)?),
            has_head: head_octets > 0,
            received_at_ms: row.try_get_by_index(3)?,
            octets: octets.unsigned_abs(),
            unique_id: row.try_get_by_index(5)?,
        })
    }

    /// Does anything stand in front of its content?
    pub(super) fn has_head(&self) -> bool {
        self.has_head
    }

    /// When it was received.
    pub fn received_at(&self) -> SystemTime {
        time(self.received_at_ms)
    }
}

/// The time that the tables keep so.
pub(super) fn time(milliseconds: i64) -> SystemTime {
    let since = Duration::from_millis(milliseconds.unsigned_abs());
    if milliseconds < 0 {
        SystemTime::UNIX_EPOCH - since
    } else {
        SystemTime::UNIX_EPOCH + since
    }
}

impl Database {
    /// Begins to read what is here now.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn reading(&self) -> Result<Reading, StoreError> {
        let transaction = self.begin_to_read().await?;
        Ok(Reading { transaction })
    }
}

impl Reading {
    /// How many messages a maildrop holds, and their octets.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn size(&self, user: UserId) -> Result<(u64, u64), StoreError> {
        let (messages, octets) = size_of_maildrop("$1");
        let size = format!("SELECT {messages}, {octets}");
        let size = statement(&self.transaction, &size, [user.0.into()]);
        let row = self.transaction.query_one_raw(size).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("a sum has no row".into()))?;
        let (messages, octets): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok((messages.unsigned_abs(), octets.unsigned_abs()))
    }

    /// The messages of a maildrop behind this one, the oldest first, some at a time; none is the
    /// end.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn messages_after(
        &self,
        user: UserId,
        last: Option<&ExportedMessage>,
    ) -> Result<Vec<ExportedMessage>, StoreError> {
        const NEXT: &str = "SELECT id, content_id, head_octets, received_at_ms, octets, unique_id \
            FROM messages WHERE user_id = $1 AND (received_at_ms, id) > ($2, $3) \
            ORDER BY received_at_ms, id LIMIT $4";
        let deleted = deleted_messages(&self.transaction, user).await?;
        let place = |read: &ExportedMessage| (read.received_at_ms, read.message.0);
        let mut after = last.map_or((i64::MIN, i64::MIN), place);
        loop {
            let values = [user.0.into(), after.0.into(), after.1.into(), PAGE.into()];
            let next = statement(&self.transaction, NEXT, values);
            let rows = self.transaction.query_all_raw(next).await?;
            let messages: Result<Vec<ExportedMessage>, DbErr> =
                rows.iter().map(ExportedMessage::of_row).collect();
            let mut messages = messages?;
            let Some(last) = messages.last() else {
                return Ok(messages);
            };
            after = place(last);
            messages.retain(|read| !deleted.contains(&read.message.0));
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// A piece of a message: its head is 0, its chunks follow. None is the end.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn piece(
        &self,
        message: &ExportedMessage,
        at: i32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        const HEAD: &str = "SELECT octets FROM heads WHERE message_id = $1";
        const CHUNK: &str = "SELECT octets FROM chunks WHERE content_id = $1 AND number = $2";
        let piece = match (at, message.has_head) {
            (0, false) => return Ok(Some(Vec::new())),
            (0, true) => statement(&self.transaction, HEAD, [message.message.0.into()]),
            (at, _) => {
                let values = [message.content.0.into(), (at - 1).into()];
                statement(&self.transaction, CHUNK, values)
            }
        };
        let row = self.transaction.query_one_raw(piece).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }
}
