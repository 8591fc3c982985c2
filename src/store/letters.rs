//! Letters: messages on their way to one or more maildrops.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::database::statement;
use super::delivery::{Prepared, remove_written};
use super::maildrops::{Raised, raise_all};
use super::rows::{Copy, insert_copies, store_contents};
use super::{Database, StoreError, UserId};
use crate::identity::new_unique_id;

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
        let (mut wanted, mut copies) = (Vec::new(), Vec::new());
        for letter in letters {
            let decided = decide(letter, &mut maildrops);
            let stored = first_of_each_user(letter, &decided);
            if stored.is_empty() {
                remove_written(&transaction, &letter.message).await?;
            } else {
                copies.extend(stored.iter().map(|recipient| (wanted.len(), *recipient)));
                wanted.push(letter);
            }
            outcomes.push(decided);
        }
        let messages: Vec<&Prepared> = wanted.iter().map(|letter| &letter.message).collect();
        let contents = store_contents(&transaction, &messages).await?;
        let copy = |(at, recipient): &(usize, &Recipient)| {
            let (letter, content) = (wanted.get(*at)?, contents.get(*at)?);
            Some(Copy {
                user: recipient.user,
                content: *content,
                content_octets: letter.message.octets(),
                head: recipient.head.clone(),
                received_at: letter.received_at,
                unique_id: new_unique_id(),
            })
        };
        let copies: Vec<Copy> = copies.iter().filter_map(copy).collect();
        insert_copies(&transaction, copies).await?;
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
        raise_all(&transaction, &users).await?;
        let prepared: Vec<&Prepared> = messages.iter().map(|(message, _)| message).collect();
        let contents = store_contents(&transaction, &prepared).await?;
        let mut copies = Vec::with_capacity(messages.len() * users.len());
        for ((message, received_at), content) in messages.iter().zip(contents) {
            copies.extend(users.iter().map(|user| Copy {
                user: *user,
                content,
                content_octets: message.octets(),
                head: Vec::new(),
                received_at: *received_at,
                unique_id: new_unique_id(),
            }));
        }
        insert_copies(&transaction, copies).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// What becomes of each copy of a letter. Whoever is named twice gets one.
fn decide(letter: &Letter, maildrops: &mut Maildrops) -> Vec<Outcome> {
    let mut decided: HashMap<UserId, Outcome> = HashMap::with_capacity(letter.recipients.len());
    let outcome = |recipient: &Recipient| {
        let octets = letter.message.octets() + recipient.head.len() as u64;
        let decide = || maildrops.take(recipient.user, octets);
        *decided.entry(recipient.user).or_insert_with(decide)
    };
    letter.recipients.iter().map(outcome).collect()
}

/// The recipients whose copies are to be stored.
fn first_of_each_user<'a>(letter: &'a Letter, decided: &[Outcome]) -> Vec<&'a Recipient> {
    let mut seen = HashSet::with_capacity(letter.recipients.len());
    let recipients = letter.recipients.iter().zip(decided);
    let stored = recipients.filter(|(_, outcome)| **outcome == Outcome::Stored);
    let recipients = stored.map(|(recipient, _)| recipient);
    recipients
        .filter(|recipient| seen.insert(recipient.user))
        .collect()
}

/// The maildrops that a transaction delivers to, locked until it ends.
struct Maildrops(HashMap<UserId, Room>);

/// How much a maildrop may still take; nothing if it has more than its quota allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Octets; none is no limit.
    pub octets: Option<i64>,
    /// Messages; none is no limit.
    pub messages: Option<i64>,
}

impl Room {
    /// Is there room for one more message of so many octets?
    pub fn fits(&self, octets: u64) -> bool {
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
        self.octets.is_none_or(|left| octets <= left) && self.messages.is_none_or(|left| left > 0)
    }
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
        for (user, raised) in raise_all(transaction, &users).await? {
            maildrops.insert(user, room(transaction, user, raised).await?);
        }
        Ok(Self(maildrops))
    }

    /// Takes the room of one more message; says why there is none.
    fn take(&mut self, user: UserId, octets: u64) -> Outcome {
        let Some(room) = self.0.get_mut(&user) else {
            return Outcome::NoSuchUser;
        };
        if !room.fits(octets) {
            return Outcome::OverQuota;
        }
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
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
