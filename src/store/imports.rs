//! Imported messages, and what is remembered of them so that an import can be repeated.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use pop3::UniqueId;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use sha2::{Digest, Sha256};

use super::database::statement;
use super::maildrops::raise_all;
use super::reading::{Read, time};
use super::rows::{Copy, insert, insert_copies, store_contents};
use super::{ContentId, Database, MessageId, Prepared, StoreError, UserId};
use crate::identity::new_unique_id;

/// A message to import.
#[derive(Debug)]
pub struct Import {
    /// What it says.
    pub message: Prepared,
    /// When it was received; messages are numbered in this order.
    pub received_at: SystemTime,
    /// What UIDL called it where it comes from.
    pub old_id: Option<String>,
    /// What UIDL is to call it; a new name if none.
    pub unique_id: Option<UniqueId>,
}

/// What an import knows of the messages of a maildrop: those that are there, and those that were
/// imported and have been deleted since. Each is met once.
#[derive(Debug)]
pub struct Known {
    records: Vec<Record>,
    by_id: HashMap<String, usize>,
    by_digest: HashMap<Vec<u8>, Vec<usize>>,
    /// Messages with heads, by their octets: what they say with their heads is not known yet.
    with_heads: HashMap<u64, Vec<(Read, usize)>>,
    /// The unique-ids that are taken.
    taken: HashSet<String>,
}

#[derive(Debug)]
struct Record {
    /// What UIDL called it where it came from.
    old_id: Option<String>,
    /// Where it is; none if it is not there any more.
    there: Option<There>,
    /// The SHA-256 of its octets; none if it has a head that nobody has looked behind.
    digest: Option<Vec<u8>>,
    met: bool,
}

/// A message that is in the maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct There {
    /// What UIDL calls it.
    pub unique_id: String,
    /// When it was received.
    pub received_at: SystemTime,
}

/// A message that is known already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// It is in the maildrop.
    There(There),
    /// It was imported, and somebody has deleted it.
    Deleted,
}

impl Known {
    /// The message that UIDL called so where it came from.
    pub fn by_id(&mut self, old_id: &str) -> Option<Met> {
        let at = *self.by_id.get(old_id)?;
        self.meet(at)
    }

    /// Does the message that UIDL called so where it came from say something else than this one?
    pub fn differs(&self, old_id: &str, message: &Prepared) -> bool {
        let record = self.by_id.get(old_id).and_then(|at| self.records.get(*at));
        let digest = record.and_then(|record| record.digest.as_deref());
        digest.is_some_and(|digest| digest != message.digest())
    }

    /// A message of these octets. One that is not met yet and has one of the `reserved` names is
    /// left for the message that has that name.
    pub fn by_octets(&mut self, message: &Prepared, reserved: &HashSet<String>) -> Option<Met> {
        let candidates = self.by_digest.get(message.digest().as_slice())?;
        let is_free = |at: &&usize| {
            self.records.get(**at).is_some_and(|record| {
                let is_reserved = record
                    .old_id
                    .as_ref()
                    .is_some_and(|id| reserved.contains(id));
                !record.met && !is_reserved
            })
        };
        let at = *candidates.iter().find(is_free)?;
        self.meet(at)
    }

    fn meet(&mut self, at: usize) -> Option<Met> {
        let record = self.records.get_mut(at)?;
        if std::mem::replace(&mut record.met, true) {
            return None;
        }
        Some(match &record.there {
            Some(there) => Met::There(there.clone()),
            None => Met::Deleted,
        })
    }

    /// Takes a unique-id for a message that is imported; false if another has it.
    pub fn take_unique_id(&mut self, unique_id: &UniqueId) -> bool {
        self.taken.insert(unique_id.as_str().to_owned())
    }

    fn add(
        &mut self,
        old_id: Option<String>,
        there: Option<There>,
        digest: Option<Vec<u8>>,
    ) -> usize {
        let at = self.records.len();
        if let Some(old_id) = &old_id {
            self.by_id.entry(old_id.clone()).or_insert(at);
        }
        if let Some(digest) = &digest {
            self.by_digest.entry(digest.clone()).or_default().push(at);
        }
        self.taken
            .extend(there.as_ref().map(|there| there.unique_id.clone()));
        self.records.push(Record {
            old_id,
            there,
            digest,
            met: false,
        });
        at
    }
}

impl Database {
    /// What is known of a maildrop when an import begins.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn known(&self, user: UserId) -> Result<Known, StoreError> {
        const IMPORTED: &str = "SELECT i.unique_id, i.digest, i.message_id, m.unique_id, \
            m.received_at_ms \
            FROM imports i LEFT JOIN messages m ON m.id = i.message_id \
            WHERE i.user_id = $1 ORDER BY i.id";
        const PRESENT: &str = "SELECT m.id, m.content_id, m.head_octets, m.received_at_ms, m.octets, \
            m.unique_id, c.digest FROM messages m JOIN contents c ON c.id = m.content_id \
            WHERE m.user_id = $1 ORDER BY m.received_at_ms, m.id";
        let mut known = Known {
            records: Vec::new(),
            by_id: HashMap::new(),
            by_digest: HashMap::new(),
            with_heads: HashMap::new(),
            taken: HashSet::new(),
        };
        let read = self.read();
        let mut imported = HashSet::new();
        for row in read
            .query_all_raw(statement(read, IMPORTED, [user.0.into()]))
            .await?
        {
            let message: i64 = row.try_get_by_index(2)?;
            imported.insert(message);
            let unique_id: Option<String> = row.try_get_by_index(3)?;
            let received_at: Option<i64> = row.try_get_by_index(4)?;
            let there = unique_id.zip(received_at).map(|(unique_id, at)| There {
                unique_id,
                received_at: time(at),
            });
            known.add(row.try_get_by_index(0)?, there, row.try_get_by_index(1)?);
        }
        for row in read
            .query_all_raw(statement(read, PRESENT, [user.0.into()]))
            .await?
        {
            let message: i64 = row.try_get_by_index(0)?;
            if !imported.contains(&message) {
                note_present(&mut known, &row)?;
            }
        }
        Ok(known)
    }

    /// Finds out what messages of so many octets say that have heads. It takes reading them, so it
    /// is done only when a message might be one of them.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn look_behind_heads(
        &self,
        known: &mut Known,
        octets: u64,
    ) -> Result<(), StoreError> {
        let Some(messages) = known.with_heads.remove(&octets) else {
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

    /// Puts messages into a maildrop whatever its quota, all or none, durably, and remembers them.
    ///
    /// # Errors
    /// If the database refuses, as when a unique-id is taken; then nothing is imported.
    pub async fn import(&self, user: UserId, messages: &[Import]) -> Result<(), StoreError> {
        const REMEMBER: &str = "INSERT INTO imports (user_id, unique_id, digest, message_id)";
        let transaction = self.begin().await?;
        raise_all(&transaction, &[user]).await?;
        let prepared: Vec<&Prepared> = messages.iter().map(|import| &import.message).collect();
        let contents = store_contents(&transaction, &prepared).await?;
        let copy = |(import, content): (&Import, ContentId)| Copy {
            user,
            content,
            content_octets: import.message.octets(),
            head: Vec::new(),
            received_at: import.received_at,
            unique_id: import.unique_id.clone().unwrap_or_else(new_unique_id),
        };
        let copies = messages.iter().zip(contents).map(copy).collect();
        let keys = insert_copies(&transaction, copies).await?;
        let remember = |(import, message): (&Import, MessageId)| {
            let digest = import.message.digest().to_vec();
            let old_id = import.old_id.clone();
            vec![
                user.0.into(),
                old_id.into(),
                digest.into(),
                message.0.into(),
            ]
        };
        let rows = messages.iter().zip(keys).map(remember).collect();
        insert(&transaction, REMEMBER, "", rows).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Notes a message that has come otherwise than by an import.
fn note_present(known: &mut Known, row: &QueryResult) -> Result<(), DbErr> {
    let message = Read::of_row(row)?;
    let there = There {
        unique_id: message.unique_id.clone(),
        received_at: message.received_at(),
    };
    let digest = if message.has_head() {
        None
    } else {
        Some(row.try_get_by_index(6)?)
    };
    let at = known.add(Some(there.unique_id.clone()), Some(there), digest);
    if message.has_head() {
        let same_size = known.with_heads.entry(message.octets).or_default();
        same_size.push((message, at));
    }
    Ok(())
}
