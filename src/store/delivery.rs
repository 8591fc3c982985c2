//! Takes messages in, as they will be sent.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use pop3::{Canonical, UniqueId};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use sha2::{Digest, Sha256};

use super::database::statement;
use super::maildrops::{Raised, raise};
use super::{ContentId, Database, MessageId, StoreError, UserId};
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

/// Who gets a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// In whose maildrop.
    pub user: UserId,
    /// What stands in front of the message there: whole header lines with CRLF, or nothing.
    pub head: Vec<u8>,
}

/// A message on its way to its recipients.
#[derive(Debug)]
pub struct Letter {
    /// What it says.
    pub message: Prepared,
    /// Who gets it. Whoever is named twice gets one copy.
    pub recipients: Vec<Recipient>,
    /// When it came.
    pub received_at: SystemTime,
}

/// What became of a recipient's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the maildrop, durably.
    Stored,
    /// The maildrop would hold more than its quota allows.
    OverQuota,
    /// The user has been removed.
    NoSuchUser,
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
    /// Gives letters to their recipients, in one transaction; tells for each letter what became of
    /// each recipient's copy, in their order.
    ///
    /// What is [`Outcome::Stored`] is durable. A letter that nobody gets is not stored.
    ///
    /// # Errors
    /// If the database refuses; then nothing is stored. Only when the connection broke at the very
    /// end, nobody knows.
    pub async fn deliver(&self, letters: &[Letter]) -> Result<Vec<Vec<Outcome>>, StoreError> {
        let transaction = self.begin().await?;
        let mut maildrops = Maildrops::lock(&transaction, letters).await?;
        let mut outcomes = Vec::with_capacity(letters.len());
        for letter in letters {
            outcomes.push(deliver_letter(&transaction, letter, &mut maildrops).await?);
        }
        transaction
            .commit()
            .await
            .map_err(StoreError::Uncommitted)?;
        Ok(outcomes)
    }

    /// Gives messages to users whatever their quotas, all to all or none, durably.
    ///
    /// # Errors
    /// If the database refuses; then nothing is stored.
    pub async fn store(
        &self,
        users: &[UserId],
        messages: Vec<(Prepared, SystemTime)>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let mut users = users.to_vec();
        users.sort_unstable();
        users.dedup();
        for user in &users {
            raise(&transaction, *user).await?;
        }
        for (message, received_at) in messages {
            let content = store_content(&transaction, &message).await?;
            for user in &users {
                let copy = Copy {
                    user: *user,
                    content,
                    content_octets: message.octets,
                    head: &[],
                    received_at,
                    unique_id: new_unique_id(),
                };
                insert_copy(&transaction, copy).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Removes what a large message left in the database that is not to be stored.
    ///
    /// # Errors
    /// If the database refuses; then it goes when it expires.
    pub async fn abandon(&self, message: &Prepared) -> Result<(), StoreError> {
        match message.written {
            Some(written) => self.remove_unfinished(written.content).await,
            None => Ok(()),
        }
    }

    pub(super) async fn remove_unfinished(&self, content: ContentId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        remove_written(&transaction, content).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// The maildrops that a transaction delivers to, locked until it ends.
struct Maildrops(HashMap<UserId, Room>);

/// How much a maildrop may still take: octets and messages. None is no limit.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    octets: Option<i64>,
    messages: Option<i64>,
}

impl Maildrops {
    async fn lock(
        transaction: &DatabaseTransaction,
        letters: &[Letter],
    ) -> Result<Self, StoreError> {
        let recipients = letters.iter().flat_map(|letter| &letter.recipients);
        let mut users: Vec<UserId> = recipients.map(|recipient| recipient.user).collect();
        users.sort_unstable();
        users.dedup();
        let mut maildrops = HashMap::with_capacity(users.len());
        for user in users {
            if let Some(raised) = raise(transaction, user).await? {
                maildrops.insert(user, room(transaction, user, raised).await?);
            }
        }
        Ok(Self(maildrops))
    }

    /// Takes the room of one more message; says why there is none.
    fn take(&mut self, user: UserId, octets: i64) -> Outcome {
        let Some(room) = self.0.get_mut(&user) else {
            return Outcome::NoSuchUser;
        };
        if room.octets.is_some_and(|left| left < octets)
            || room.messages.is_some_and(|left| left < 1)
        {
            return Outcome::OverQuota;
        }
        room.octets = room.octets.map(|left| left - octets);
        room.messages = room.messages.map(|left| left - 1);
        Outcome::Stored
    }
}

async fn room(
    transaction: &DatabaseTransaction,
    user: UserId,
    quota: Raised,
) -> Result<Room, StoreError> {
    const USED: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(octets), 0) AS BIGINT) \
        FROM messages WHERE user_id = $1";
    if quota.quota_octets.is_none() && quota.quota_messages.is_none() {
        return Ok(Room::default());
    }
    let used = statement(transaction, USED, [user.0.into()]);
    let used = transaction.query_one_raw(used).await?;
    let used = used.ok_or_else(|| StoreError::Corrupt("a sum has no row".into()))?;
    let (messages, octets): (i64, i64) = (used.try_get_by_index(0)?, used.try_get_by_index(1)?);
    Ok(Room {
        octets: quota.quota_octets.map(|quota| quota - octets),
        messages: quota.quota_messages.map(|quota| quota - messages),
    })
}

async fn deliver_letter(
    transaction: &DatabaseTransaction,
    letter: &Letter,
    maildrops: &mut Maildrops,
) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(letter.recipients.len());
    let mut content = None;
    for (at, recipient) in letter.recipients.iter().enumerate() {
        let mut before = letter.recipients.iter().take(at).zip(&outcomes);
        let same = before.find(|(other, _)| other.user == recipient.user);
        if let Some((_, outcome)) = same {
            outcomes.push(*outcome);
            continue;
        }
        let octets = letter.message.octets + recipient.head.len() as u64;
        let outcome = maildrops.take(recipient.user, signed(octets));
        outcomes.push(outcome);
        if outcome != Outcome::Stored {
            continue;
        }
        let content = match content {
            Some(content) => content,
            None => *content.insert(store_content(transaction, &letter.message).await?),
        };
        let copy = Copy {
            user: recipient.user,
            content,
            content_octets: letter.message.octets,
            head: &recipient.head,
            received_at: letter.received_at,
            unique_id: new_unique_id(),
        };
        insert_copy(transaction, copy).await?;
    }
    if let (None, Some(written)) = (content, letter.message.written) {
        remove_written(transaction, written.content).await?;
    }
    Ok(outcomes)
}

pub(super) async fn store_content(
    transaction: &DatabaseTransaction,
    message: &Prepared,
) -> Result<ContentId, StoreError> {
    let octets = signed(message.octets);
    let written = match message.written {
        Some(written) => {
            finish_content(transaction, written.content, octets, &message.digest).await?;
            written
        }
        None => Written {
            content: insert_content(transaction, octets, &message.digest).await?,
            chunks: 0,
        },
    };
    insert_chunks(transaction, written, &message.rest).await?;
    Ok(written.content)
}

/// A message in a maildrop that is not there yet.
pub(super) struct Copy<'a> {
    pub(super) user: UserId,
    pub(super) content: ContentId,
    pub(super) content_octets: u64,
    pub(super) head: &'a [u8],
    pub(super) received_at: SystemTime,
    pub(super) unique_id: UniqueId,
}

pub(super) async fn insert_copy(
    transaction: &DatabaseTransaction,
    copy: Copy<'_>,
) -> Result<MessageId, StoreError> {
    const INSERT: &str = "INSERT INTO messages \
        (user_id, content_id, octets, unique_id, received_at_ms, head_octets, stored_at_ms) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
    const HEAD: &str = "INSERT INTO heads (message_id, octets) VALUES ($1, $2)";
    let head_octets = i32::try_from(copy.head.len());
    let head_octets = head_octets.map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let values = [
        copy.user.0.into(),
        copy.content.0.into(),
        signed(copy.content_octets + copy.head.len() as u64).into(),
        copy.unique_id.as_str().into(),
        milliseconds(copy.received_at).into(),
        head_octets.into(),
        milliseconds(SystemTime::now()).into(),
    ];
    let message = inserted_key(transaction, INSERT, values).await?;
    if head_octets > 0 {
        let values = [message.into(), copy.head.to_vec().into()];
        transaction
            .execute_raw(statement(transaction, HEAD, values))
            .await?;
    }
    Ok(MessageId(message))
}

/// Runs an INSERT that returns the key of its row.
async fn inserted_key(
    transaction: &DatabaseTransaction,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<i64, StoreError> {
    let row = transaction
        .query_one_raw(statement(transaction, sql, values))
        .await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("INSERT returned no key".into()))?;
    Ok(row.try_get_by_index(0)?)
}

/// As the tables count octets.
fn signed(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}

/// Removes a content that belongs to nobody yet; one that belongs to somebody stays.
async fn remove_written(
    transaction: &DatabaseTransaction,
    content: ContentId,
) -> Result<(), DbErr> {
    let unfinished = format!("DELETE FROM unfinished WHERE content_id = {}", content.0);
    let removed = transaction.execute_unprepared(&unfinished).await?;
    if removed.rows_affected() == 0 {
        return Ok(());
    }
    for (table, key) in [("chunks", "content_id"), ("contents", "id")] {
        let sql = format!("DELETE FROM {table} WHERE {key} = {}", content.0);
        transaction.execute_unprepared(&sql).await?;
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
    let values = [octets.into(), digest.to_vec().into()];
    Ok(ContentId(inserted_key(transaction, INSERT, values).await?))
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
