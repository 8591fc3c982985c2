//! The messages that an import recognizes.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use entity::{content, imported_message, message};
use pop3::UniqueId;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use sha2::{Digest, Sha256};

use super::super::reading::{ExportedMessage, MessageRow, time};
use super::super::{Database, MessageId, StagedMessage, StoreError, UserId};

/// What an import knows of the messages of a maildrop: those that are there, and those that were
/// imported and have been deleted since. Each is met once.
#[derive(Debug, Default)]
pub struct ImportHistory {
    records: Vec<Record>,
    by_id: HashMap<String, usize>,
    by_digest: HashMap<Vec<u8>, Vec<usize>>,
    /// Messages with trace headers, by their octets: their SHA-256 is not known yet.
    with_trace_headers: HashMap<u64, Vec<(ExportedMessage, usize)>>,
    /// The unique-ids that are taken.
    taken: HashSet<String>,
    /// The last that was imported for this user, as far as is known here.
    pub(super) last_import: i64,
}

#[derive(Debug)]
struct Record {
    /// Its unique-id at the source.
    old_id: Option<String>,
    /// Its place in the maildrop; `None` if it was deleted.
    there: Option<Present>,
    /// What it was imported as is known by, or else the SHA-256 of its octets; none if it has trace
    /// headers that nobody has looked behind.
    digest: Option<Vec<u8>>,
    octets: u64,
    met: bool,
}

/// A message that is in the maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its unique-id.
    pub unique_id: String,
    /// The time when it was received.
    pub received_at: SystemTime,
    /// Was it imported without a name of its own?
    pub is_unnamed: bool,
}

/// A message that is known already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is in the maildrop.
    There(Present),
    /// It was imported, and somebody has deleted it.
    Deleted,
}

impl ImportHistory {
    /// The message that UIDL called so where it came from.
    pub fn by_id(&mut self, old_id: &str) -> Option<Match> {
        let at = *self.by_id.get(old_id)?;
        self.meet(at)
    }

    /// Does the message that UIDL called so have so many octets? Otherwise it is another one.
    pub fn has_octets(&self, old_id: &str, octets: u64) -> bool {
        self.named(old_id)
            .is_some_and(|record| record.octets == octets)
    }

    /// Does the message that UIDL called so say something else than this one? Ask
    /// [`Database::look_behind_trace_headers`] first: a message that nobody has looked at counts as
    /// another.
    pub fn differs(&self, old_id: &str, message: &StagedMessage, identity: &[u8; 32]) -> bool {
        let is_other = |digest: &[u8]| digest != message.digest() && digest != identity;
        let record = self.named(old_id);
        record.is_some_and(|it| it.digest.as_deref().is_none_or(is_other))
    }

    fn named(&self, old_id: &str) -> Option<&Record> {
        self.records.get(*self.by_id.get(old_id)?)
    }

    /// A message of these octets, but for what mail stores change. One that is not met yet and has
    /// one of the `reserved` names is left for the message that has that name.
    pub fn by_octets(
        &mut self,
        message: &StagedMessage,
        identity: &[u8; 32],
        reserved: &HashSet<String>,
    ) -> Option<Match> {
        let of = |digest: &[u8; 32]| self.by_digest.get(digest.as_slice()).into_iter().flatten();
        let mut candidates = of(message.digest()).chain(of(identity));
        let is_free = |at: &&usize| {
            self.records.get(**at).is_some_and(|record| {
                let is_reserved = record
                    .old_id
                    .as_ref()
                    .is_some_and(|id| reserved.contains(id));
                !record.met && !is_reserved
            })
        };
        let at = *candidates.find(is_free)?;
        self.meet(at)
    }

    fn meet(&mut self, at: usize) -> Option<Match> {
        let record = self.records.get_mut(at)?;
        if std::mem::replace(&mut record.met, true) {
            return None;
        }
        Some(match &record.there {
            Some(there) => Match::There(there.clone()),
            None => Match::Deleted,
        })
    }

    /// Takes a unique-id for a message that is imported; false if another has it.
    pub fn take_unique_id(&mut self, unique_id: &UniqueId) -> bool {
        self.taken.insert(unique_id.as_str().to_owned())
    }

    fn add(&mut self, record: Record) -> usize {
        let at = self.records.len();
        if let Some(old_id) = &record.old_id {
            self.by_id.entry(old_id.clone()).or_insert(at);
        }
        if let Some(digest) = &record.digest {
            self.by_digest.entry(digest.clone()).or_default().push(at);
        }
        let unique_id = record.there.as_ref().map(|there| there.unique_id.clone());
        self.taken.extend(unique_id);
        self.records.push(record);
        at
    }

    /// Adds a message that was imported once.
    fn add_imported(&mut self, row: Imported) -> MessageId {
        let is_unnamed = row.unique_id.is_none();
        let there = row.present_id.zip(row.received_at_ms);
        let there = there.map(|(unique_id, at)| Present {
            unique_id,
            received_at: time(at),
            is_unnamed,
        });
        self.last_import = Ord::max(self.last_import, row.id);
        self.add(Record {
            old_id: row.unique_id,
            there,
            digest: Some(row.digest),
            octets: row.octets.unsigned_abs(),
            met: false,
        });
        MessageId(row.message_id)
    }

    /// Adds a message that was not imported.
    fn add_present(&mut self, row: PresentMessage) {
        let message = ExportedMessage::from(row.message);
        let (unique_id, octets) = (message.unique_id.clone(), message.octets);
        let digest = (!message.has_trace_headers()).then_some(row.digest);
        let at = self.add(Record {
            old_id: Some(unique_id.clone()),
            there: Some(Present {
                unique_id,
                received_at: message.received_at(),
                is_unnamed: false,
            }),
            digest,
            octets,
            met: false,
        });
        if message.has_trace_headers() {
            self.with_trace_headers
                .entry(octets)
                .or_default()
                .push((message, at));
        }
    }
}

impl Database {
    /// What is known of a maildrop when an import begins.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn known(&self, user: UserId) -> Result<ImportHistory, StoreError> {
        self.finish_deletions(user).await?;
        let mut known = ImportHistory::default();
        let read = &self.begin_to_read().await?;
        let ever = imported_message::Entity::find()
            .column_as(message::Column::UniqueId, "present_id")
            .column(message::Column::ReceivedAtMs)
            .left_join(message::Entity)
            .filter(imported_message::Column::UserId.eq(user.row()))
            .order_by_asc(imported_message::Column::Id)
            .into_model::<Imported>()
            .all(read);
        let ever = ever.await?.into_iter();
        let imported: HashSet<MessageId> = ever.map(|row| known.add_imported(row)).collect();
        let present = message::Entity::find()
            .select_only()
            .columns(MessageRow::COLUMNS)
            .column(content::Column::Digest)
            .inner_join(content::Entity)
            .filter(message::Column::UserId.eq(user.row()))
            .order_by_asc(message::Column::ReceivedAtMs)
            .order_by_asc(message::Column::Id)
            .into_model::<PresentMessage>()
            .all(read);
        for row in present.await? {
            if !imported.contains(&MessageId(row.message.id)) {
                known.add_present(row);
            }
        }
        Ok(known)
    }

    /// Reads the messages of so many octets that have trace headers, to recognize them. It is done
    /// only when a message may be one of them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn look_behind_trace_headers(
        &self,
        known: &mut ImportHistory,
        octets: u64,
    ) -> Result<(), StoreError> {
        let Some(messages) = known.with_trace_headers.remove(&octets) else {
            return Ok(());
        };
        let reading = self.reading().await?;
        for (message, at) in messages {
            let mut digest = Sha256::new();
            let mut piece = 0;
            while let Some(octets) = reading.piece(&message, piece).await? {
                digest.update(&octets);
                piece += 1;
            }
            let digest = digest.finalize().to_vec();
            known.by_digest.entry(digest).or_default().push(at);
        }
        Ok(())
    }
}

/// A message that was imported once, and where it is now.
#[derive(FromQueryResult)]
struct Imported {
    id: i64,
    unique_id: Option<String>,
    digest: Vec<u8>,
    octets: i64,
    message_id: i64,
    /// Its unique-id now; none if it has been deleted, and so with the next.
    present_id: Option<String>,
    received_at_ms: Option<i64>,
}

/// A message that is in the maildrop.
#[derive(FromQueryResult)]
struct PresentMessage {
    #[sea_orm(nested)]
    message: MessageRow,
    digest: Vec<u8>,
}
