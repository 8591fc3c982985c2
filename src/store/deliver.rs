//! Delivers messages to one or more maildrops.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult};

use super::asking::repeat;
use super::delivery::{StagedMessage, remove_written};
use super::hot::{self, LockedRows};
use super::locks::{LockedMaildrop, Purpose, existing, lock_users};
use super::query::MaildropSize;
use super::rows::{NewMessage, insert_copies, store_contents};
use super::{ContentId, Database, StoreError, UserId};
use crate::identity::new_unique_id;

/// Maximum wait of a copy for a maildrop that another transaction has locked.
pub(super) const DELIVERY_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// A recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// In whose maildrop.
    pub user: UserId,
    /// Trace headers with CRLF in front of the message in this copy; may be empty.
    pub trace_headers: Vec<u8>,
}

/// A message on its way to its recipients.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: StagedMessage,
    /// The recipients. A user who is named twice gets one copy.
    pub recipients: Vec<Recipient>,
}

/// The outcome of a recipient's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the maildrop, durably.
    Stored,
    /// The maildrop would hold more than its quota allows.
    OverQuota,
    /// The user has been removed.
    NoSuchUser,
    /// Another transaction keeps the maildrop locked: it is not stored, and may be sent again.
    Locked,
    /// The database failed after it had stored the copies of others.
    Failed,
}

/// A delivery, as far as it is to be stored now.
#[derive(Debug, Clone)]
pub(super) struct Sending<'a> {
    delivery: &'a Delivery,
    /// The indices of the recipients that get it now.
    recipients: Vec<usize>,
    /// The content that the copies of the others share, if there are any.
    content: Option<ContentId>,
}

/// The outcome of a [`Sending`].
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Of each of its recipients, in their order.
    pub(super) outcomes: Vec<Outcome>,
    /// The content that the copies share, if there are any.
    pub(super) content: Option<ContentId>,
}

impl<'a> Sending<'a> {
    /// A delivery to all of its recipients.
    fn whole(delivery: &'a Delivery) -> Self {
        Self::part(delivery, (0..delivery.recipients.len()).collect(), None)
    }

    /// A delivery to some of its recipients, after others have got this content.
    pub(super) fn part(
        delivery: &'a Delivery,
        recipients: Vec<usize>,
        content: Option<ContentId>,
    ) -> Self {
        Self {
            delivery,
            recipients,
            content,
        }
    }

    fn recipients(&self) -> impl Iterator<Item = &'a Recipient> {
        let recipient = |at: &usize| self.delivery.recipients.get(*at);
        self.recipients.iter().filter_map(recipient)
    }
}

impl Database {
    /// Gives deliveries to their recipients, in one transaction; tells for each delivery what became of
    /// each recipient's copy, in their order.
    ///
    /// It waits for no locked maildrop. A copy that is [`Outcome::Stored`] is durable. A delivery
    /// without a stored copy is not stored.
    ///
    /// # Errors
    /// If the database fails; then nothing is stored. Only if the connection broke at the very
    /// end, the outcome is unknown.
    pub async fn deliver(&self, deliveries: &[Delivery]) -> Result<Vec<Vec<Outcome>>, StoreError> {
        let sendings: Vec<Sending<'_>> = deliveries.iter().map(Sending::whole).collect();
        let sent = repeat(|| self.send(&sendings)).await?;
        Ok(sent.into_iter().map(|sent| sent.outcomes).collect())
    }

    /// The same, as far as these deliveries are to be stored now.
    pub(super) async fn send(&self, sendings: &[Sending<'_>]) -> Result<Vec<Sent>, StoreError> {
        let transaction = self.begin().await?;
        let maildrops = Maildrops::lock(&transaction, sendings).await?;
        let sent = put(&transaction, maildrops, sendings).await?;
        transaction
            .commit()
            .await
            .map_err(StoreError::Uncommitted)?;
        Ok(sent)
    }

    /// Gives a delivery to a single user, whose maildrop may be locked for a moment.
    ///
    /// # Errors
    /// As those of [`Database::deliver`].
    pub(super) async fn send_to(
        &self,
        user: UserId,
        lock_timeout: Duration,
        sending: &Sending<'_>,
    ) -> Result<Sent, StoreError> {
        let locked = match self
            .lock_within(lock_timeout, user, Purpose::Maildrop)
            .await
        {
            Ok(locked) => locked,
            Err(StoreError::Locked) => return Ok(sending.all(Outcome::Locked)),
            Err(error) => return Err(error),
        };
        let Some((transaction, maildrop)) = locked else {
            return Ok(sending.all(Outcome::NoSuchUser));
        };
        let maildrops = Maildrops::of(&transaction, user, maildrop).await?;
        let sent = put(&transaction, maildrops, std::slice::from_ref(sending)).await?;
        transaction
            .commit()
            .await
            .map_err(StoreError::Uncommitted)?;
        Ok(sent.into_iter().next().unwrap_or_default())
    }

    /// Gives messages to users without regard to their quotas, all to all or none, durably.
    ///
    /// # Errors
    /// If the database refuses; then nothing is stored.
    pub async fn store(
        &self,
        users: &[UserId],
        messages: Vec<(StagedMessage, SystemTime)>,
    ) -> Result<(), StoreError> {
        repeat(|| self.try_to_store(users, &messages)).await
    }

    async fn try_to_store(
        &self,
        users: &[UserId],
        messages: &[(StagedMessage, SystemTime)],
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let mut users = users.to_vec();
        users.sort_unstable();
        users.dedup();
        let locked = lock_users(&transaction, &users, LockedRows::Wait, Purpose::Maildrop).await?;
        let Some((_, maildrop)) = locked.first() else {
            return Err(StoreError::NoSuchUser);
        };
        let prepared: Vec<&StagedMessage> = messages.iter().map(|(message, _)| message).collect();
        let contents = store_contents(&transaction, &prepared).await?;
        let mut copies = Vec::with_capacity(messages.len() * users.len());
        for ((message, received_at), content) in messages.iter().zip(contents) {
            copies.extend(users.iter().map(|user| NewMessage {
                user: *user,
                content,
                content_octets: message.octets(),
                trace_headers: Vec::new(),
                received_at: Some(*received_at),
                unique_id: new_unique_id(),
            }));
        }
        insert_copies(&transaction, maildrop.now_ms, copies).await?;
        transaction.commit().await?;
        Ok(())
    }
}

impl Sending<'_> {
    fn all(&self, outcome: Outcome) -> Sent {
        Sent {
            outcomes: vec![outcome; self.recipients.len()],
            content: self.content,
        }
    }
}

/// Stores the copies of deliveries for the recipients whose quota has room.
async fn put(
    transaction: &DatabaseTransaction,
    mut maildrops: Maildrops,
    sendings: &[Sending<'_>],
) -> Result<Vec<Sent>, StoreError> {
    let mut sent = Vec::with_capacity(sendings.len());
    // The copies, each with the place of its sending.
    let mut wanted: Vec<(usize, &Recipient)> = Vec::new();
    // The messages whose contents are not stored yet, each with the place of its sending.
    let mut unstored: Vec<(usize, &StagedMessage)> = Vec::new();
    for (at, sending) in sendings.iter().enumerate() {
        let outcomes = decide(sending, &mut maildrops);
        let stored = first_of_each_user(sending, &outcomes);
        let is_new = sending.content.is_none();
        if !stored.is_empty() && is_new {
            unstored.push((at, &sending.delivery.message));
        } else if is_new && !outcomes.contains(&Outcome::Locked) {
            remove_written(transaction, &sending.delivery.message).await?;
        }
        wanted.extend(stored.into_iter().map(|recipient| (at, recipient)));
        sent.push(Sent {
            outcomes,
            content: sending.content,
        });
    }
    let messages: Vec<&StagedMessage> = unstored.iter().map(|(_, message)| *message).collect();
    let contents = store_contents(transaction, &messages).await?;
    for ((at, _), content) in unstored.iter().zip(contents) {
        if let Some(sent) = sent.get_mut(*at) {
            sent.content = Some(content);
        }
    }
    let copy = |(at, recipient): &(usize, &Recipient)| {
        Some(NewMessage {
            user: recipient.user,
            content: sent.get(*at)?.content?,
            content_octets: sendings.get(*at)?.delivery.message.octets(),
            trace_headers: recipient.trace_headers.clone(),
            received_at: None,
            unique_id: new_unique_id(),
        })
    };
    let copies: Vec<NewMessage> = wanted.iter().filter_map(copy).collect();
    if !copies.is_empty() {
        insert_copies(transaction, maildrops.now_ms, copies).await?;
    }
    Ok(sent)
}

/// The outcome of each copy of a delivery. A user who is named twice gets one copy.
fn decide(sending: &Sending<'_>, maildrops: &mut Maildrops) -> Vec<Outcome> {
    let mut decided: HashMap<UserId, Outcome> = HashMap::with_capacity(sending.recipients.len());
    let outcome = |recipient: &Recipient| {
        let octets = sending.delivery.message.octets() + recipient.trace_headers.len() as u64;
        let decide = || maildrops.take(recipient.user, octets);
        *decided.entry(recipient.user).or_insert_with(decide)
    };
    sending.recipients().map(outcome).collect()
}

/// The recipients whose copies are to be stored.
fn first_of_each_user<'a>(sending: &Sending<'a>, decided: &[Outcome]) -> Vec<&'a Recipient> {
    let mut seen = HashSet::with_capacity(sending.recipients.len());
    let recipients = sending.recipients().zip(decided);
    let stored = recipients.filter(|(_, outcome)| **outcome == Outcome::Stored);
    let recipients = stored.map(|(recipient, _)| recipient);
    recipients
        .filter(|recipient| seen.insert(recipient.user))
        .collect()
}

/// The maildrops that a transaction delivers to, locked until it ends.
struct Maildrops {
    rooms: HashMap<UserId, Room>,
    /// Those that another transaction has locked.
    locked: HashSet<UserId>,
    /// The time of the database when they were locked, in milliseconds since 1970.
    now_ms: i64,
}

/// The room that is left in a maildrop; zero if it is over its quota.
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
    /// Locks the maildrops of all recipients that no other transaction has locked.
    async fn lock(
        transaction: &DatabaseTransaction,
        sendings: &[Sending<'_>],
    ) -> Result<Self, StoreError> {
        let recipients = sendings.iter().flat_map(Sending::recipients);
        let mut users: Vec<UserId> = recipients.map(|recipient| recipient.user).collect();
        users.sort_unstable();
        users.dedup();
        let mut rooms = HashMap::with_capacity(users.len());
        let mut now_ms = 0;
        let locked = lock_users(transaction, &users, LockedRows::Skip, Purpose::Maildrop);
        for (user, maildrop) in locked.await? {
            now_ms = maildrop.now_ms;
            rooms.insert(user, room(transaction, user, maildrop).await?);
        }
        users.retain(|user| !rooms.contains_key(user));
        let locked = existing(transaction, &users, Purpose::Maildrop).await?;
        Ok(Self {
            rooms,
            locked,
            now_ms,
        })
    }

    /// Of a single user.
    async fn of(
        transaction: &DatabaseTransaction,
        user: UserId,
        maildrop: LockedMaildrop,
    ) -> Result<Self, StoreError> {
        let room = room(transaction, user, maildrop).await?;
        Ok(Self {
            rooms: HashMap::from([(user, room)]),
            locked: HashSet::new(),
            now_ms: maildrop.now_ms,
        })
    }

    /// Takes the room of one more message; says why there is none.
    fn take(&mut self, user: UserId, octets: u64) -> Outcome {
        let Some(room) = self.rooms.get_mut(&user) else {
            let is_locked = self.locked.contains(&user);
            return if is_locked {
                Outcome::Locked
            } else {
                Outcome::NoSuchUser
            };
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
    quota: LockedMaildrop,
) -> Result<Room, StoreError> {
    if quota.quota_octets.is_none() && quota.quota_messages.is_none() {
        return Ok(Room::default());
    }
    let used = hot::size(transaction.get_database_backend(), user.row());
    let used = transaction.query_one_raw(used).await?;
    let used = used.ok_or_else(|| StoreError::Corrupt("a sum has no row".into()))?;
    let MaildropSize { messages, octets } = MaildropSize::from_query_result(&used, "")?;
    Ok(Room {
        octets: quota.quota_octets.map(|quota| quota - octets),
        messages: quota.quota_messages.map(|quota| quota - messages),
    })
}
