//! Brings back what a QUIT deleted or what has expired, while it is kept.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::database::{clock, now, statement};
use super::{Database, StoreError, UserId, allow_long_statements, repeat};

/// Which deletions are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreSelector<'a> {
    /// All that this session's QUIT has deleted; [`EXPIRY`](super::EXPIRY) stands for what expired.
    Session(&'a str),
    /// All that any QUIT has deleted, or that has expired, since so long ago.
    Since(Duration),
}

/// What one session has deleted, and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedBySession {
    /// The session's name, as in the log.
    pub session: String,
    /// How many messages.
    pub messages: u64,
    /// When it deleted them, in milliseconds since 1970.
    pub deleted_at_ms: i64,
    /// Until when they can be brought back.
    pub kept_until_ms: i64,
}

impl Database {
    /// Puts deleted messages back into their maildrop, all or none, as they were; returns how many.
    ///
    /// # Errors
    /// If the database refuses; then nothing has changed.
    pub async fn restore(
        &self,
        user: UserId,
        which: RestoreSelector<'_>,
    ) -> Result<u64, StoreError> {
        self.finish_deletions(user).await?;
        let restore = async || repeat(|| self.try_to_restore(user, which)).await;
        self.with_reserve(restore).await
    }

    async fn try_to_restore(
        &self,
        user: UserId,
        which: RestoreSelector<'_>,
    ) -> Result<u64, StoreError> {
        let Some((transaction, _)) = self.lock_maildrop(user).await? else {
            return Ok(0);
        };
        if self.locks_rows() {
            allow_long_statements(&transaction).await?;
        }
        // Asked once, so that all statements mean the same messages.
        let now = now(&transaction).await?;
        let (narrowed, value): (&str, Value) = match which {
            RestoreSelector::Session(session) => ("session_id = $3", session.into()),
            RestoreSelector::Since(since) => {
                let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
                let since = now.saturating_sub(since);
                (
                    "session_id IS NOT NULL AND departed_at_ms >= $3",
                    since.into(),
                )
            }
        };
        // They have been here since now: they are not to expire at once.
        let restore = format!(
            "INSERT INTO messages (id, user_id, content_id, octets, head_octets, unique_id, \
             received_at_ms, stored_at_ms) \
             SELECT message_id, user_id, content_id, octets, head_octets, unique_id, \
             received_at_ms, {now} FROM departures \
             WHERE user_id = $1 AND kept_until_ms > $2 AND unique_id IS NOT NULL AND {narrowed} \
             ON CONFLICT DO NOTHING"
        );
        let restore = statement(&transaction, &restore, [user.0.into(), now.into(), value]);
        let restored = transaction.execute_raw(restore).await?.rows_affected();
        if restored == 0 {
            // The maildrop has not changed, and is not to be read again for nothing.
            return Ok(0);
        }
        // One whose unique-id is in use again stays where it is.
        let returned = "DELETE FROM departures WHERE user_id = $1 \
            AND message_id IN (SELECT id FROM messages WHERE user_id = $1)";
        let returned = statement(&transaction, returned, [user.0.into()]);
        transaction.execute_raw(returned).await?;
        transaction.commit().await?;
        Ok(restored)
    }

    /// What the sessions of a user have deleted and can be brought back, the latest first.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn deletions(&self, user: UserId) -> Result<Vec<DeletedBySession>, StoreError> {
        self.finish_deletions(user).await?;
        let read = self.read();
        let kept = format!(
            "SELECT session_id, COUNT(*), MIN(departed_at_ms), MIN(kept_until_ms) FROM departures \
             WHERE user_id = $1 AND session_id IS NOT NULL AND unique_id IS NOT NULL \
             AND kept_until_ms > {} GROUP BY session_id ORDER BY 3 DESC",
            clock(read)
        );
        let rows = read
            .query_all_raw(statement(read, &kept, [user.0.into()]))
            .await?;
        let deletions = rows.iter().map(|row| {
            let messages: i64 = row.try_get_by_index(1)?;
            Ok(DeletedBySession {
                session: row.try_get_by_index(0)?,
                messages: messages.unsigned_abs(),
                deleted_at_ms: row.try_get_by_index(2)?,
                kept_until_ms: row.try_get_by_index(3)?,
            })
        });
        let deletions: Result<_, DbErr> = deletions.collect();
        Ok(deletions?)
    }
}
