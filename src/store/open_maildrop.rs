//! Open maildrops of our own schema, as sessions use them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pop3::{MessageNumber, Snapshot};

use super::traits::{Cursor, FIRST_READ_OCTETS, Maildrop, Piece};
use super::{Beginning, CHUNK_OCTETS, SqlMaildrop, SqlStore, StoreError, Stored};

// What is read first of a message is its first chunk.
const _: () = assert!(CHUNK_OCTETS as u64 == FIRST_READ_OCTETS);

/// The rows of a maildrop, with the store that they are in.
#[derive(Debug)]
pub(super) struct OpenMaildrop {
    pub(super) rows: SqlMaildrop,
    pub(super) store: SqlStore,
}

#[async_trait]
impl Maildrop for OpenMaildrop {
    fn snapshot(&self) -> &Arc<Snapshot> {
        &self.rows.snapshot
    }

    fn memory_octets(&self) -> usize {
        size_of::<Self>() + self.rows.memory_octets()
    }

    async fn read_first(
        &self,
        messages: &[MessageNumber],
    ) -> Result<Vec<Option<Piece>>, StoreError> {
        let stored: Vec<Stored> = messages
            .iter()
            .filter_map(|n| self.rows.stored(*n))
            .collect();
        let found = self.store.first_chunks(&stored).await?;
        let mut found = found.into_iter().peekable();
        let piece = |number: &MessageNumber| {
            let message = self.rows.message(*number)?;
            let (_, beginning) = found.next_if(|(found, _)| *found == message)?;
            Some(first_piece(beginning))
        };
        Ok(messages.iter().map(piece).collect())
    }

    async fn read(
        &self,
        message: MessageNumber,
        from: Cursor,
        max_octets: u32,
    ) -> Result<Piece, StoreError> {
        let stored = self.rows.stored(message).ok_or(StoreError::Gone)?;
        let Some(octet) = from.0.checked_sub(1) else {
            let beginning = self.store.beginning(stored, max_octets).await?;
            return Ok(first_piece(beginning));
        };
        let chunk = CHUNK_OCTETS as u64;
        let first = u32::try_from(octet / chunk).unwrap_or(u32::MAX);
        let count = u32::try_from(u64::from(max_octets) / chunk)
            .unwrap_or(1)
            .max(1);
        let numbers = first..first.saturating_add(count);
        let mut octets = self.store.chunks(stored.content, numbers).await?;
        // Octets behind a chunk that is too short would be taken for those that it lacks.
        let whole = octets
            .iter()
            .take_while(|it| it.len() == CHUNK_OCTETS)
            .count();
        octets.truncate(whole + 1);
        let skipped = usize::try_from(octet % chunk).unwrap_or(usize::MAX);
        match octets.first_mut() {
            Some(first) if skipped < first.len() => *first = first.slice(skipped..),
            Some(_) | None => octets.clear(),
        }
        Ok(piece_at(octet, octets))
    }

    async fn delete(&self, messages: &[MessageNumber], session: &str) -> Result<usize, StoreError> {
        let messages = messages.iter().filter_map(|n| self.rows.message(*n));
        let messages: Vec<_> = messages.collect();
        self.store.delete(self.rows.user, &messages, session).await
    }
}

/// The beginning of a message. A cursor counts the octets of the content and one more, since the
/// trace headers are read with the first.
fn first_piece(
    Beginning {
        trace_headers,
        content,
    }: Beginning,
) -> Piece {
    let next = Cursor(1 + content.len() as u64);
    let octets = if trace_headers.is_empty() {
        vec![content]
    } else {
        vec![trace_headers, content]
    };
    Piece { octets, next }
}

fn piece_at(octet: u64, octets: Vec<Bytes>) -> Piece {
    let mut piece = Piece {
        octets,
        next: Cursor::START,
    };
    piece.next = Cursor(1 + octet + piece.len());
    piece
}
