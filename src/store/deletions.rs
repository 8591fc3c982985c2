//! Deletes messages: by a QUIT, by age, or with their user.
//!
//! What is deleted moves from `messages` to `departures`, where sessions that see it go on reading.
//! All that was deleted at once has one row in `deletions`, by the version of the maildrop that was
//! the first without it.
//!
//! So many messages that moving them would take long are moved later. The transaction of the QUIT
//! only writes their keys down, in batches, and from its commit on they are deleted: no login sees
//! them, and they count for no quota. Each batch is then moved in a transaction of its own.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::database::{KEYS_PER_STATEMENT, clock, sql_list, statement};
use super::locks::{MAILDROP_PATIENCE, Purpose};
use super::{Database, MaildropVersion, MessageId, StoreError, UserId, repeat};

/// How many messages one transaction takes out of a maildrop.
pub(super) const DELETED_AT_ONCE: usize = 5000;

/// The condition that no message `m` of the same user is written down to be moved later.
pub(super) const NONE_WRITTEN_DOWN: &str =
    "AND NOT EXISTS (SELECT 1 FROM deletion_batches b WHERE b.user_id = m.user_id)";

/// Who deletes messages, and what becomes of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeletionRecord<'a> {
    /// The session that deletes them, if one does.
    pub(crate) session: Option<&'a str>,
    /// How long they can be brought back.
    pub(crate) kept: Duration,
}

/// Messages that are deleted together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deletion {
    user: UserId,
    version: MaildropVersion,
}

/// Messages of a deletion that are moved later.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The key of each, and its octets.
    messages: Vec<(i64, i64)>,
}

impl Deletion {
    /// Begins to delete messages of a maildrop, whose version the transaction has raised to this one.
    pub(crate) async fn begin(
        transaction: &DatabaseTransaction,
        user: UserId,
        version: MaildropVersion,
        DeletionRecord { session, kept }: DeletionRecord<'_>,
    ) -> Result<Self, DbErr> {
        let now = clock(transaction);
        let kept_until = match i64::try_from(kept.as_millis()).unwrap_or(i64::MAX / 2) {
            // The clock has no say in it.
            0 => "0".to_owned(),
            kept => format!("{now} + {kept}"),
        };
        let begin = format!(
            "INSERT INTO deletions \
             (user_id, maildrop_version, session_id, deleted_at_ms, kept_until_ms) \
             VALUES ($1, $2, $3, {now}, {kept_until})"
        );
        let values = [user.0.into(), version.0.into(), session.into()];
        transaction
            .execute_raw(statement(transaction, &begin, values))
            .await?;
        Ok(Self { user, version })
    }

    /// The one that has made this version of a maildrop, and goes on.
    pub(super) fn of(user: UserId, version: MaildropVersion) -> Self {
        Self { user, version }
    }

    /// Moves messages to the departures; `which` narrows them down, by their keys. Returns how many.
    pub(crate) async fn depart(
        self,
        transaction: &DatabaseTransaction,
        which: &str,
    ) -> Result<u64, DbErr> {
        const INTO: &str = "INSERT INTO departures (message_id, content_id, octets, head_octets, \
            unique_id, received_at_ms, user_id, maildrop_version, session_id, departed_at_ms, \
            kept_until_ms) \
            SELECT m.id, m.content_id, m.octets, m.head_octets, m.unique_id, m.received_at_ms";
        let (UserId(user), MaildropVersion(version)) = (self.user, self.version);
        let this = format!("d.user_id = {user} AND d.maildrop_version = {version}");
        let into =
            format!("{INTO}, {user}, {version}, d.session_id, d.deleted_at_ms, d.kept_until_ms");
        // Without a row of this deletion, the columns that may not be null refuse.
        let deletion = format!("LEFT JOIN deletions d ON {this}");
        // The sign keeps SQLite from reading the whole maildrop by its index on users.
        let theirs = format!("WHERE +m.user_id = {user} {which}");
        if transaction.get_database_backend() == DbBackend::Postgres {
            let depart = format!(
                "WITH gone AS (DELETE FROM messages m {theirs} RETURNING *) \
                 {into} FROM gone m {deletion} ORDER BY m.content_id"
            );
            let departed = transaction.execute_unprepared(&depart).await?;
            return Ok(departed.rows_affected());
        }
        let depart = format!("{into} FROM messages m {deletion} {theirs}");
        let departed = transaction.execute_unprepared(&depart).await?;
        let gone = format!("DELETE FROM messages AS m {theirs}");
        transaction.execute_unprepared(&gone).await?;
        Ok(departed.rows_affected())
    }

    /// Moves these messages to the departures, on a condition; returns how many were there.
    pub(super) async fn depart_all(
        self,
        transaction: &DatabaseTransaction,
        messages: &[i64],
        condition: &str,
    ) -> Result<u64, DbErr> {
        let mut departed = 0;
        for keys in messages.chunks(KEYS_PER_STATEMENT) {
            let keys = sql_list(keys.iter().copied());
            let which = format!("AND m.id IN ({keys}) {condition}");
            departed += self.depart(transaction, &which).await?;
        }
        Ok(departed)
    }

    /// Deletes these messages, but for those that another deletion has written down; returns how many.
    pub(super) async fn delete_now(
        self,
        transaction: &DatabaseTransaction,
        messages: &[i64],
    ) -> Result<u64, StoreError> {
        let departed = self.depart_all(transaction, messages, NONE_WRITTEN_DOWN);
        let departed = departed.await?;
        if departed == messages.len() as u64 {
            return Ok(departed);
        }
        let deleted = deleted_messages(transaction, self.user).await?;
        if deleted.is_empty() {
            return Ok(departed);
        }
        let left = messages.iter().filter(|message| !deleted.contains(message));
        let left: Vec<i64> = left.copied().collect();
        Ok(self.depart_all(transaction, &left, "").await?)
    }

    /// Writes down which messages are moved later, but for those that another deletion has written
    /// down already; returns how many.
    pub(super) async fn write_down(
        self,
        transaction: &DatabaseTransaction,
        mut batches: Vec<Batch>,
    ) -> Result<u64, StoreError> {
        const INSERT: &str = "INSERT INTO deletion_batches \
            (user_id, maildrop_version, number, messages, octets, message_ids) \
            VALUES ($1, $2, $3, $4, $5, $6)";
        let deleted = deleted_messages(transaction, self.user).await?;
        for batch in &mut batches {
            batch
                .messages
                .retain(|(message, _)| !deleted.contains(message));
        }
        for (number, batch) in (0_i64..).zip(&batches) {
            let values = [
                self.user.0.into(),
                self.version.0.into(),
                number.into(),
                i64::try_from(batch.messages.len())
                    .unwrap_or(i64::MAX)
                    .into(),
                batch
                    .messages
                    .iter()
                    .map(|(_, octets)| octets)
                    .sum::<i64>()
                    .into(),
                sql_list(batch.messages.iter().map(|(message, _)| *message)).into(),
            ];
            transaction
                .execute_raw(statement(transaction, INSERT, values))
                .await?;
        }
        Ok(batches
            .iter()
            .map(|batch| batch.messages.len() as u64)
            .sum())
    }
}

impl Database {
    /// Those of these messages that are in the maildrop's table, in batches.
    pub(super) async fn batches_of(
        &self,
        user: UserId,
        messages: &[MessageId],
    ) -> Result<Vec<Batch>, StoreError> {
        let read = self.read();
        let mut batches = Vec::with_capacity(messages.len().div_ceil(DELETED_AT_ONCE));
        for messages in messages.chunks(DELETED_AT_ONCE) {
            let keys = sql_list(messages.iter().map(|message| message.0));
            let here =
                format!("SELECT id, octets FROM messages WHERE +user_id = $1 AND id IN ({keys})");
            let mut batch = Batch::default();
            for row in read
                .query_all_raw(statement(read, &here, [user.0.into()]))
                .await?
            {
                let message = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                batch.messages.push(message);
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The users of whose maildrops some messages are deleted and not yet moved.
    pub(super) async fn users_with_batches(&self) -> Result<Vec<UserId>, StoreError> {
        const USERS: &str = "SELECT DISTINCT user_id FROM deletion_batches";
        let read = self.read();
        let rows = read.query_all_raw(statement(read, USERS, [])).await?;
        let users = rows.iter().map(|row| Ok(UserId(row.try_get_by_index(0)?)));
        users.collect()
    }

    /// Moves the next batch of a user's deleted messages; false if there is none.
    ///
    /// # Errors
    /// If others have kept the maildrop locked for so long, or the database refuses.
    pub(super) async fn move_batch(
        &self,
        user: UserId,
        patience: Duration,
    ) -> Result<bool, StoreError> {
        repeat(|| self.try_to_move_batch(user, patience)).await
    }

    async fn try_to_move_batch(
        &self,
        user: UserId,
        patience: Duration,
    ) -> Result<bool, StoreError> {
        const NEXT: &str = "SELECT maildrop_version, number, message_ids FROM deletion_batches \
            WHERE user_id = $1 ORDER BY maildrop_version, number LIMIT 1";
        const MOVED: &str = "DELETE FROM deletion_batches \
            WHERE user_id = $1 AND maildrop_version = $2 AND number = $3";
        let locked = self.lock_within(patience, user, Purpose::Account).await?;
        let Some((transaction, _)) = locked else {
            return Ok(false);
        };
        let next = statement(&transaction, NEXT, [user.0.into()]);
        let Some(row) = transaction.query_one_raw(next).await? else {
            return Ok(false);
        };
        let (version, number): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let deletion = Deletion::of(user, MaildropVersion(version));
        let messages = keys_of(&row.try_get_by_index::<String>(2)?)?;
        deletion.depart_all(&transaction, &messages, "").await?;
        let moved = [user.0.into(), version.into(), number.into()];
        let moved = statement(&transaction, MOVED, moved);
        transaction.execute_raw(moved).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Moves all that is deleted of this maildrop, so that its table alone tells what is in it.
    ///
    /// # Errors
    /// As those of [`Database::move_batch`].
    pub(super) async fn finish_deletions(&self, user: UserId) -> Result<(), StoreError> {
        // What nobody may write to, such as a standby, can still be read when there is none.
        if self.users_with_batches().await?.contains(&user) {
            self.move_batches(user).await?;
        }
        Ok(())
    }

    /// Moves all batches of a user's deleted messages.
    async fn move_batches(&self, user: UserId) -> Result<(), StoreError> {
        let one = async || self.move_batch(user, MAILDROP_PATIENCE).await;
        while self.with_reserve(one).await? {}
        Ok(())
    }
}

/// The messages of a maildrop that are deleted and not yet moved.
pub(super) async fn deleted_messages(
    connection: &impl ConnectionTrait,
    user: UserId,
) -> Result<HashSet<i64>, StoreError> {
    const BATCHES: &str = "SELECT message_ids FROM deletion_batches WHERE user_id = $1";
    let batches = statement(connection, BATCHES, [user.0.into()]);
    let mut deleted = HashSet::new();
    for row in connection.query_all_raw(batches).await? {
        deleted.extend(keys_of(&row.try_get_by_index::<String>(0)?)?);
    }
    Ok(deleted)
}

/// How many messages are deleted and not yet moved, and their octets, by user.
pub(crate) async fn deleted_sizes(
    connection: &impl ConnectionTrait,
) -> Result<BTreeMap<i64, (u64, u64)>, DbErr> {
    const SIZES: &str = "SELECT user_id, CAST(SUM(messages) AS BIGINT), \
        CAST(SUM(octets) AS BIGINT) FROM deletion_batches GROUP BY user_id";
    let rows = connection
        .query_all_raw(statement(connection, SIZES, []))
        .await?;
    let size = |row: &sea_orm::QueryResult| {
        let (messages, octets): (i64, i64) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let size = (messages.unsigned_abs(), octets.unsigned_abs());
        Ok((row.try_get_by_index(0)?, size))
    };
    rows.iter().map(size).collect()
}

/// How much is in a maildrop, as expressions of SQL for messages and octets; `user` is the column of
/// its user's key.
pub(crate) fn size_of_maildrop(user: &str) -> (String, String) {
    let size = |sum: &str, batches: &str| {
        format!(
            "(SELECT CAST({sum} AS BIGINT) FROM messages WHERE messages.user_id = {user}) \
             - (SELECT CAST(COALESCE(SUM({batches}), 0) AS BIGINT) FROM deletion_batches \
             WHERE deletion_batches.user_id = {user})"
        )
    };
    let octets = size(
        "COALESCE(SUM(messages.octets), 0)",
        "deletion_batches.octets",
    );
    (size("COUNT(*)", "deletion_batches.messages"), octets)
}

fn keys_of(list: &str) -> Result<Vec<i64>, StoreError> {
    let keys = list.split(',').filter(|key| !key.is_empty());
    let keys: Result<_, _> = keys.map(str::parse).collect();
    keys.map_err(|_| StoreError::Corrupt("a deletion holds what is no key".into()))
}
