//! Removes messages that have been in their maildrops for too long.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;

use super::database::{clock, sql_list, statement};
use super::maildrops::{Departing, depart, raise_version};
use super::tidy::Damaged;
use super::{SqlStore, StoreError, UserId};

/// How many messages expire in one call, so that no login waits long for it.
const EXPIRED_AT_ONCE: usize = 1000;

impl SqlStore {
    /// Removes from their maildrops what has been there for too long.
    pub(super) async fn expire(&self) -> Result<u64, StoreError> {
        let Some(expire_after) = self.keeping.expire_after else {
            return Ok(0);
        };
        let read = self.database.read();
        let too_long = format!(
            "stored_at_ms < {} - {}",
            clock(read),
            expire_after.as_millis()
        );
        let expired = format!(
            "SELECT user_id, id FROM messages WHERE {too_long} \
             ORDER BY stored_at_ms LIMIT {EXPIRED_AT_ONCE}"
        );
        let mut by_user: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in read.query_all_raw(statement(read, &expired, [])).await? {
            let user = by_user.entry(row.try_get_by_index(0)?).or_default();
            user.push(row.try_get_by_index(1)?);
        }
        let mut count = 0;
        for (user, messages) in by_user {
            // One that was deleted and brought back meanwhile is here since then.
            let which = format!("AND id IN ({}) AND {too_long}", sql_list(messages));
            let what = (Damaged::Expired, user);
            if !self.is_damaged(what) {
                let done = self.expire_of(UserId(user), &which).await;
                count += self.unless_damaged(what, done)?.unwrap_or_default();
            }
        }
        Ok(count)
    }

    /// Removes these messages of a user, which have been there for too long.
    async fn expire_of(&self, user: UserId, which: &str) -> Result<u64, StoreError> {
        const ADDRESS: &str = "SELECT address FROM users WHERE id = $1";
        let transaction = self.database.begin().await?;
        let Some(version) = raise_version(&transaction, user).await? else {
            return Ok(0);
        };
        let count = depart(&transaction, user, version, which, Departing::default()).await?;
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
