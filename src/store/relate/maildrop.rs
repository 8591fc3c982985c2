//! An open maildrop of a Relate Mail database.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entity::relate::attachment;
use parking_lot::Mutex;
use pop3::{MessageNumber, Snapshot};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, Func};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::RelateStore;
use super::composition::{Composition, Part, encode};
use crate::store::{Cursor, FIRST_READ_OCTETS, Maildrop, Piece, StoreError};

/// The messages that one session sees.
pub(crate) struct RelateMaildrop {
    store: RelateStore,
    user: Uuid,
    mails: Vec<Uuid>,
    snapshot: Arc<Snapshot>,
    /// The message that is being read, so that it is composed once.
    reading: Mutex<Option<(MessageNumber, Arc<Composition>)>>,
}

impl RelateMaildrop {
    pub(super) fn new(
        store: RelateStore,
        user: Uuid,
        mails: Vec<Uuid>,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        Self {
            store,
            user,
            mails,
            snapshot,
            reading: Mutex::default(),
        }
    }

    pub(super) fn all_mails(&self) -> &[Uuid] {
        &self.mails
    }

    fn mail(&self, number: MessageNumber) -> Option<Uuid> {
        self.mails.get(number.index()).copied()
    }

    fn mails(&self, numbers: &[MessageNumber]) -> Vec<Uuid> {
        numbers
            .iter()
            .filter_map(|number| self.mail(*number))
            .collect()
    }

    /// Returns the composition of a message.
    async fn composition(&self, number: MessageNumber) -> Result<Arc<Composition>, StoreError> {
        if let Some((reading, composition)) = &*self.reading.lock()
            && *reading == number
        {
            return Ok(Arc::clone(composition));
        }
        let mail = self.mail(number).ok_or(StoreError::Gone)?;
        let composed = self.store.compositions(&[mail]).await?.into_iter().next();
        let composition = Arc::new(composed.flatten().ok_or(StoreError::Gone)?);
        *self.reading.lock() = Some((number, Arc::clone(&composition)));
        Ok(composition)
    }
}

impl fmt::Debug for RelateMaildrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelateMaildrop")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Maildrop for RelateMaildrop {
    fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    fn memory_octets(&self) -> usize {
        size_of::<Self>()
            + self.mails.capacity() * size_of::<Uuid>()
            + self.snapshot.memory_octets()
    }

    async fn read_first(
        &self,
        messages: &[MessageNumber],
    ) -> Result<Vec<Option<Piece>>, StoreError> {
        let composed = self.store.compositions(&self.mails(messages)).await?;
        let max_octets = u32::try_from(FIRST_READ_OCTETS).unwrap_or(u32::MAX);
        let mut pieces = Vec::with_capacity(messages.len());
        for (number, composed) in messages.iter().zip(composed) {
            let Some(composed) = composed else {
                pieces.push(None);
                continue;
            };
            let composed = Arc::new(composed);
            pieces.push(Some(first_piece(&composed, max_octets)));
            // The last one may be read on.
            *self.reading.lock() = Some((*number, composed));
        }
        Ok(pieces)
    }

    async fn read(
        &self,
        message: MessageNumber,
        Cursor(from): Cursor,
        max_octets: u32,
    ) -> Result<Piece, StoreError> {
        let composition = self.composition(message).await?;
        let octets = match composition.part_at(from, max_octets) {
            Part::End => Bytes::new(),
            Part::Octets(octets) => octets,
            Part::Attachment {
                id,
                from,
                octets,
                skip,
            } => {
                let content = self.store.attachment_octets(id, from, octets).await?;
                encode(&content, skip)
            }
        };
        Ok(piece(from, octets))
    }

    async fn delete(&self, messages: &[MessageNumber], session: &str) -> Result<usize, StoreError> {
        self.store
            .delete(self.user, &self.mails(messages), session)
            .await
    }

    fn tracks_retrieval(&self) -> bool {
        true
    }

    async fn mark_retrieved(&self, messages: &[MessageNumber]) -> Result<(), StoreError> {
        self.store.mark_read(self.user, &self.mails(messages)).await
    }
}

/// The first octets of a message: those that need no attachment.
fn first_piece(composition: &Composition, max_octets: u32) -> Piece {
    match composition.part_at(0, max_octets) {
        Part::Octets(octets) => piece(0, octets),
        Part::Attachment { .. } | Part::End => piece(0, Bytes::new()),
    }
}

fn piece(from: u64, octets: Bytes) -> Piece {
    Piece {
        next: Cursor(from + octets.len() as u64),
        octets: vec![octets],
    }
}

impl RelateStore {
    /// Reads so many octets of an attachment, from this one on.
    async fn attachment_octets(
        &self,
        attachment: u128,
        from: u64,
        octets: u32,
    ) -> Result<Vec<u8>, StoreError> {
        // SUBSTR counts from 1, and an attachment has less than 1 GiB.
        let first = i32::try_from(from + 1).map_err(|_| StoreError::Gone)?;
        let count = i32::try_from(octets).unwrap_or(i32::MAX);
        let content = Expr::col((attachment::Entity, attachment::Column::Content));
        let piece = Func::cust("SUBSTR").args([content, Expr::val(first), Expr::val(count)]);
        let found = attachment::Entity::find()
            .select_only()
            .expr_as(piece, "piece")
            .filter(attachment::Column::Id.eq(Uuid::from_u128(attachment)))
            .into_tuple::<Vec<u8>>()
            .one(self.database.read())
            .await?;
        let found = found.ok_or(StoreError::Gone)?;
        if found.len() as u64 == u64::from(octets) {
            return Ok(found);
        }
        Err(StoreError::Corrupt(format!(
            "attachment {} has become shorter",
            Uuid::from_u128(attachment)
        )))
    }
}
