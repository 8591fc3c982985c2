//! Reads a whole maildrop as it is at one moment, for an export.

use std::time::{Duration, SystemTime};

use entity::{chunk, message, trace_header};
use sea_orm::{ConnectionTrait, EntityTrait, FromQueryResult, QuerySelect};

use super::deletions::batched_messages;
use super::query::{MaildropSize, maildrop_size, messages_after};
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
    has_trace_headers: bool,
    received_at_ms: i64,
    /// How many octets RETR sends before byte-stuffing.
    pub octets: u64,
    /// What UIDL calls it.
    pub unique_id: String,
}

impl ExportedMessage {
    /// Does anything stand in front of its content?
    pub(super) fn has_trace_headers(&self) -> bool {
        self.has_trace_headers
    }

    /// When it was received.
    pub fn received_at(&self) -> SystemTime {
        time(self.received_at_ms)
    }
}

/// A row of `messages`, as far as an export needs it.
#[derive(Debug, FromQueryResult)]
pub(super) struct MessageRow {
    pub(super) id: i64,
    content_id: i64,
    trace_octets: i32,
    received_at_ms: i64,
    octets: i64,
    unique_id: String,
}

impl MessageRow {
    /// Its columns.
    pub(super) const COLUMNS: [message::Column; 6] = [
        message::Column::Id,
        message::Column::ContentId,
        message::Column::TraceOctets,
        message::Column::ReceivedAtMs,
        message::Column::Octets,
        message::Column::UniqueId,
    ];
}

impl From<MessageRow> for ExportedMessage {
    fn from(row: MessageRow) -> Self {
        Self {
            message: MessageId(row.id),
            content: ContentId(row.content_id),
            has_trace_headers: row.trace_octets > 0,
            received_at_ms: row.received_at_ms,
            octets: row.octets.unsigned_abs(),
            unique_id: row.unique_id,
        }
    }
}

/// Returns a time of the tables.
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
    /// If the database fails.
    pub async fn size(&self, user: UserId) -> Result<(u64, u64), StoreError> {
        let row = self
            .transaction
            .query_one(&maildrop_size(user.row()))
            .await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("a sum has no row".into()))?;
        let MaildropSize { messages, octets } = MaildropSize::from_query_result(&row, "")?;
        Ok((messages.unsigned_abs(), octets.unsigned_abs()))
    }

    /// The messages of a maildrop behind this one, the oldest first, some at a time; none is the
    /// end.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn messages_after(
        &self,
        user: UserId,
        last: Option<&ExportedMessage>,
    ) -> Result<Vec<ExportedMessage>, StoreError> {
        let batched = batched_messages(&self.transaction, user).await?;
        let place = |read: &ExportedMessage| (read.received_at_ms, read.message.0);
        let mut after = last.map_or((i64::MIN, i64::MIN), place);
        loop {
            let next = messages_after(user.row(), after, PAGE).select_only();
            let next = next.columns(MessageRow::COLUMNS).into_model::<MessageRow>();
            let next = next.all(&self.transaction).await?;
            let mut messages: Vec<ExportedMessage> = next.into_iter().map(Into::into).collect();
            let Some(last) = messages.last() else {
                return Ok(messages);
            };
            after = place(last);
            messages.retain(|read| !batched.contains(&read.message.0));
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// A piece of a message: its trace headers are 0, its chunks follow. None is the end.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn piece(
        &self,
        message: &ExportedMessage,
        at: i32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let piece = match (at, message.has_trace_headers) {
            (0, false) => return Ok(Some(Vec::new())),
            (0, true) => {
                let trace = trace_header::Entity::find_by_id(message.message.0);
                let trace = trace.select_only().column(trace_header::Column::Data);
                trace.into_tuple().one(&self.transaction).await?
            }
            (at, _) => {
                let chunk = chunk::Entity::find_by_id((message.content.0, at - 1));
                let chunk = chunk.select_only().column(chunk::Column::Data);
                chunk.into_tuple().one(&self.transaction).await?
            }
        };
        Ok(piece)
    }
}
