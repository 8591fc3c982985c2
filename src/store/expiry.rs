//! Removes messages that have been in their maildrops for too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;

use super::clock_guard::Time;
use super::database::{sql_list, statement};
use super::deletions::{Deletion, DeletionRecord, NONE_WRITTEN_DOWN};
use super::garbage::{Damaged, WORKING_TIME};
use super::locks::{LockedMaildrop, Purpose};
use super::{SqlStore, StoreError, UserId, repeat};

/// How many messages expire in one call, so that no login waits long for it.
const EXPIRED_AT_ONCE: usize = 1000;

/// What stands for the session of messages that nobody has deleted, when they are brought back. No
/// session has this name.
pub const EXPIRY: &str = "expiry";

impl SqlStore {
    /// Removes from their maildrops what has been there for too long, unless nobody can tell what
    /// time it is. It can be brought back like what was deleted.
    pub(super) async fn expire(&self, time: Time) -> Result<u64, StoreError> {
        let Some(expire_after) = self.keeping.expire_after.filter(|_| time.is_right) else {
            return Ok(0);
        };
        let expire_after = i64::try_from(expire_after.as_millis()).unwrap_or(i64::MAX);
        let too_long = format!(
            "stored_at_ms < {}",
            time.certain_ms.saturating_sub(expire_after)
        );
        let began = Instant::now();
        // Those whose mail can't be removed now keep no other's.
        let mut skipped = self.damaged_of(Damaged::Expired);
        let mut count = 0;
        loop {
            let by_user = self.expired(&too_long, &skipped).await?;
            let before = skipped.len();
            for (user, messages) in by_user {
                // One that was deleted and brought back meanwhile is here since then.
                let which = format!(
                    "AND m.id IN ({}) AND m.{too_long} {NONE_WRITTEN_DOWN}",
                    sql_list(messages)
                );
                let done = repeat(|| self.expire_of(UserId(user), &which)).await;
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

    /// The messages that have been there for longest and for too long, by user, but for those of some
    /// users.
    async fn expired(
        &self,
        too_long: &str,
        skipped: &[i64],
    ) -> Result<BTreeMap<i64, Vec<i64>>, StoreError> {
        let but_for = match skipped {
            [] => String::new(),
            users => format!("AND user_id NOT IN ({})", sql_list(users.iter().copied())),
        };
        let expired = format!(
            "SELECT user_id, id FROM messages WHERE {too_long} {but_for} \
             ORDER BY stored_at_ms LIMIT {EXPIRED_AT_ONCE}"
        );
        let read = self.database.read();
        let mut by_user: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in read.query_all_raw(statement(read, &expired, [])).await? {
            let user = by_user.entry(row.try_get_by_index(0)?).or_default();
            user.push(row.try_get_by_index(1)?);
        }
        Ok(by_user)
    }

    /// Removes these messages of a user, which have been there for too long.
    async fn expire_of(&self, user: UserId, which: &str) -> Result<u64, StoreError> {
        const ADDRESS: &str = "SELECT address FROM users WHERE id = $1";
        let locked = self
            .database
            .lock_within(Duration::ZERO, user, Purpose::Maildrop);
        let locked = match locked.await {
            // The next round looks again.
            Err(StoreError::Locked) => None,
            locked => locked?,
        };
        let Some((transaction, LockedMaildrop { version, .. })) = locked else {
            return Ok(0);
        };
        let departing = DeletionRecord {
            session: Some(EXPIRY),
            kept: self.keeping.deleted,
        };
        let deletion = Deletion::begin(&transaction, user, version, departing).await?;
        let count = deletion.depart(&transaction, which).await?;
        if count == 0 {
            // Another server was quicker: this maildrop has not changed.
            return Ok(0);
        }
        let address = statement(&transaction, ADDRESS, [user.0.into()]);
        let address = transaction.query_one_raw(address).await?;
        let address: Option<String> = address.map(|row| row.try_get_by_index(0)).transpose()?;
        transaction.commit().await?;
        tracing::info!(user = address, count, "messages have expired");
        Ok(count)
    }
}
