//! Deletes messages that have been in their maildrops for too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use entity::{message, user};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};

use super::clock_guard::Time;
use super::deletions::{Deletion, DeletionRecord};
use super::garbage::{Damaged, WORKING_TIME};
use super::hot::MovedMessages;
use super::locks::{LockedMaildrop, Purpose};
use super::{SqlStore, StoreError, UserId, repeat};

/// Number of messages that expire in one step, so that no login waits long for it.
const EXPIRED_AT_ONCE: u64 = 1000;

/// The session of expired messages, by which they are restored. No session has this name.
pub const EXPIRY: &str = "expiry";

/// A message that has expired.
#[derive(FromQueryResult)]
struct Expired {
    user_id: i64,
    id: i64,
}

impl SqlStore {
    /// Deletes expired messages, unless the clock can't be trusted; returns how many. They can be
    /// restored like those that a session deleted.
    pub(super) async fn expire(&self, time: Time) -> Result<u64, StoreError> {
        let Some(expire_after) = self.keeping.expire_after.filter(|_| time.is_right) else {
            return Ok(0);
        };
        let expire_after = i64::try_from(expire_after.as_millis()).unwrap_or(i64::MAX);
        let before_ms = time.certain_ms.saturating_sub(expire_after);
        let began = Instant::now();
        // A maildrop that is locked or damaged does not stop the expiry of others.
        let mut skipped = self.damaged_of(Damaged::Expired);
        let mut count = 0;
        loop {
            let by_user = self.expired(before_ms, &skipped).await?;
            let before = skipped.len();
            for (user, messages) in by_user {
                let expire = || self.expire_of(UserId::from_row(user), &messages, before_ms);
                let done = repeat(expire).await;
                match self.unless_damaged((Damaged::Expired, user), done)? {
                    Some(removed @ 1..) => count += removed,
                    Some(0) | None => skipped.push(user),
                }
            }
            if skipped.len() == before || began.elapsed() >= WORKING_TIME {
                return Ok(count);
            }
        }
    }

    /// Returns the oldest expired messages by user, except those of some users.
    async fn expired(
        &self,
        before_ms: i64,
        skipped: &[i64],
    ) -> Result<BTreeMap<i64, Vec<i64>>, StoreError> {
        let mut expired = message::Entity::find()
            .select_only()
            .columns([message::Column::UserId, message::Column::Id])
            .filter(message::Column::StoredAtMs.lt(before_ms))
            .order_by_asc(message::Column::StoredAtMs)
            .limit(EXPIRED_AT_ONCE);
        if !skipped.is_empty() {
            let skipped = skipped.iter().copied();
            expired = expired.filter(message::Column::UserId.is_not_in(skipped));
        }
        let expired = expired.into_model::<Expired>().all(self.database.read());
        let mut by_user: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for Expired { user_id, id } in expired.await? {
            by_user.entry(user_id).or_default().push(id);
        }
        Ok(by_user)
    }

    /// Deletes those of these messages of a user that have expired; returns how many.
    async fn expire_of(
        &self,
        user: UserId,
        messages: &[i64],
        before_ms: i64,
    ) -> Result<u64, StoreError> {
        let locked = self
            .database
            .lock_within(Duration::ZERO, user, Purpose::Maildrop);
        let locked = match locked.await {
            // The next round tries again.
            Err(StoreError::Locked) => None,
            locked => locked?,
        };
        let Some((transaction, LockedMaildrop { version, .. })) = locked else {
            return Ok(0);
        };
        let record = DeletionRecord {
            session: Some(EXPIRY),
            kept: self.keeping.deleted,
        };
        let deletion = Deletion::begin(&transaction, user, version, record).await?;
        // A message that was deleted and restored meanwhile has a new time of storage.
        let which = MovedMessages::StoredBefore(before_ms);
        let moved = deletion.move_to_deleted(&transaction, messages, which);
        let count = moved.await?;
        if count == 0 {
            // Another server was quicker: this maildrop has not changed.
            return Ok(0);
        }
        let address = user::Entity::find_by_id(user.row())
            .select_only()
            .column(user::Column::Address)
            .into_tuple::<String>()
            .one(&transaction);
        let address = address.await?;
        transaction.commit().await?;
        tracing::info!(user = address, count, "messages have expired");
        Ok(count)
    }
}
