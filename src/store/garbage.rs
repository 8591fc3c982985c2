//! Removes the octets of deleted messages once no session can read them any more.
//!
//! A deletion moves its messages to `departures`. Sessions that opened the maildrop before that go on
//! reading them, in this process and in others on the same database. So what a deletion has left is
//! removed when
//! - all its messages have been moved,
//! - the time is over in which it can be undone,
//! - no session here has opened the maildrop before it,
//! - every other server has looked at the deletions since this one first saw it, and
//! - none of them holds it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use super::clock_guard::Time;
use super::database::{now, sql_list, statement};
use super::servers::Servers;
use super::{MaildropVersion, SqlStore, StoreError, UserId, repeat};

/// How often [`super::MailStore::collect_garbage`] is to be called.
pub const GC_INTERVAL: Duration = Duration::from_secs(5);

/// How long one call moves or removes; the next goes on. The others are to hear of this server
/// meanwhile.
pub(super) const WORKING_TIME: Duration = Duration::from_secs(2);

/// A login that began before a deletion may take its lease a little after it.
const LOGIN_GRACE: Duration = Duration::from_secs(4);

/// How many deletions one call looks at, those that may go first.
const DELETIONS_AT_ONCE: i64 = 50_000;

/// What how many deletions have left is removed together.
const DELETIONS_PER_STATEMENT: usize = 100;

/// How many contents one transaction removes, so that no delivery waits long for it.
const REMOVED_AT_ONCE: usize = 100;

/// After how many octets of contents it ends.
const OCTETS_AT_ONCE: i64 = 32 * 1024 * 1024;

/// What a call of [`super::MailStore::collect_garbage`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Departed messages that nobody could read any more.
    pub departures: usize,
    /// Deliveries that had been broken off.
    pub broken_deliveries: usize,
    /// Messages that had been here for too long.
    pub expired: u64,
}

/// A deletion: whose maildrop, and the first version without its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DeletionKey {
    pub(super) user: UserId,
    pub(super) version: MaildropVersion,
}

impl DeletionKey {
    /// The condition that a row is of one of these.
    pub(super) fn among(keys: &[Self]) -> String {
        format!(
            "(user_id, maildrop_version) IN (VALUES {})",
            Self::list(keys)
        )
    }

    /// These as rows of SQL.
    fn list(keys: &[Self]) -> String {
        let key = |key: &Self| format!("({},{})", key.user.0, key.version.0);
        let keys: Vec<String> = keys.iter().map(key).collect();
        keys.join(",")
    }
}

/// What this server remembers between two calls.
#[derive(Debug, Default)]
pub(super) struct GcState {
    /// Each deletion, when it was first seen here, and the others' beats at that time.
    deletions: HashMap<DeletionKey, FirstSeen>,
    pub(super) servers: Servers,
    /// What can't be removed because the database is damaged there: keys of departed messages, of
    /// contents of broken deliveries, and of users.
    damaged: HashSet<(Damaged, i64)>,
}

/// What can't be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Damaged {
    /// A departed message.
    Departure,
    /// What a delivery that broke off has left.
    BrokenDelivery,
    /// The expired messages of a user.
    Expired,
    /// The deleted messages of a user.
    Deleted,
    /// The maildrop of a user who was removed.
    Removed,
}

#[derive(Debug, Clone)]
struct FirstSeen {
    at: Instant,
    beats: Arc<HashMap<String, i64>>,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    message: i64,
    content: i64,
}

impl SqlStore {
    /// Does what there is to do. A fault in one part keeps the others from nothing; the first one is
    /// the error.
    pub(super) async fn collect(&self) -> Result<GcReport, StoreError> {
        let broken_deliveries = self.remove_broken_deliveries().await;
        let time = self.time().await?;
        let expired = self.expire(time).await;
        let moved = self.move_deleted().await;
        let emptied = self.empty_maildrops_of_the_removed().await;
        let departures = self.remove_departures(time).await;
        moved?;
        emptied?;
        Ok(GcReport {
            departures: departures?,
            broken_deliveries: broken_deliveries?,
            expired: expired?,
        })
    }

    /// Moves deleted messages for some time.
    async fn move_deleted(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        for user in self.database.users_with_batches().await? {
            let what = (Damaged::Deleted, user.0);
            let mut more = !self.is_damaged(what);
            while more && began.elapsed() < WORKING_TIME {
                let moved = match self.database.move_batch(user, Duration::ZERO).await {
                    // The next round tries again.
                    Err(StoreError::Locked) => Ok(false),
                    moved => moved,
                };
                more = self.unless_damaged(what, moved)?.unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Empties the maildrops of users who were removed, for some time.
    async fn empty_maildrops_of_the_removed(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        for user in self.database.removed_users().await? {
            let what = (Damaged::Removed, user.0);
            let mut more = !self.is_damaged(what);
            while more && began.elapsed() < WORKING_TIME {
                let emptied = match self.database.empty_removed(user, Duration::ZERO).await {
                    // The next round tries again.
                    Err(StoreError::Locked) => Ok(false),
                    emptied => emptied,
                };
                more = self.unless_damaged(what, emptied)?.unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Removes departed messages for some time; returns how many.
    async fn remove_departures(&self, time: Time) -> Result<usize, StoreError> {
        let deletions = self.deletions(time).await?;
        if deletions.is_empty() {
            let damaged = std::mem::take(&mut self.gc_state().damaged);
            *self.gc_state() = GcState {
                damaged,
                ..GcState::default()
            };
            self.register().await?;
            return Ok(0);
        }
        self.publish_leases(&deletions).await?;
        self.expire_dead_servers().await?;
        let remote_leases = self.remote_leases().await?;
        let removable = self.removable(&deletions, &remote_leases);
        let (began, mut removed) = (Instant::now(), 0);
        for deletions in removable.chunks(DELETIONS_PER_STATEMENT) {
            loop {
                if began.elapsed() >= WORKING_TIME {
                    return Ok(removed);
                }
                let left = self.departures_of(deletions).await?;
                let now_removed = match self.remove_together(&left).await {
                    Err(error) if error.is_damage() => self.remove_each(&left).await?,
                    done => done?,
                };
                removed += now_removed;
                // Of large messages, or of those that others have locked, some are left.
                let were_all = left.len() < REMOVED_AT_ONCE && now_removed == left.len();
                if were_all || now_removed == 0 {
                    break;
                }
            }
            self.forget_deletions(deletions).await?;
        }
        Ok(removed)
    }

    /// The next departed messages of these deletions.
    async fn departures_of(&self, deletions: &[DeletionKey]) -> Result<Vec<Departure>, StoreError> {
        let but_for = match self.damaged_of(Damaged::Departure) {
            damaged if damaged.is_empty() => String::new(),
            damaged => format!("AND d.message_id NOT IN ({})", sql_list(damaged)),
        };
        // SQLite goes by the index only for a join.
        let next = format!(
            "WITH deleted(user_id, maildrop_version) AS (VALUES {}) \
             SELECT d.message_id, d.content_id FROM deleted e JOIN deleted_messages d \
             ON d.user_id = e.user_id AND d.maildrop_version = e.maildrop_version {but_for} \
             LIMIT {REMOVED_AT_ONCE}",
            DeletionKey::list(deletions)
        );
        let read = self.database.read();
        let rows = read.query_all_raw(statement(read, &next, [])).await?;
        let departure = |row: &sea_orm::QueryResult| {
            Ok(Departure {
                message: row.try_get_by_index(0)?,
                content: row.try_get_by_index(1)?,
            })
        };
        rows.iter().map(departure).collect()
    }

    /// Removes what is left of deletions that have left nothing.
    async fn forget_deletions(&self, deletions: &[DeletionKey]) -> Result<(), StoreError> {
        let among = DeletionKey::among(deletions);
        let forget = || async {
            let transaction = self.database.begin_maintenance().await?;
            for forget in [
                format!(
                    "DELETE FROM deletions AS e WHERE {among} \
                     AND NOT EXISTS (SELECT 1 FROM deleted_messages d WHERE d.user_id = e.user_id \
                     AND d.maildrop_version = e.maildrop_version)"
                ),
                format!(
                    "DELETE FROM remote_leases AS h WHERE {among} \
                     AND NOT EXISTS (SELECT 1 FROM deletions e WHERE e.user_id = h.user_id \
                     AND e.maildrop_version = h.maildrop_version)"
                ),
            ] {
                transaction.execute_unprepared(&forget).await?;
            }
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(forget).await
    }

    async fn remove_together(&self, departures: &[Departure]) -> Result<usize, StoreError> {
        if departures.is_empty() {
            return Ok(0);
        }
        let remove = || async {
            let transaction = self.database.begin_maintenance().await?;
            let removed = remove(&transaction, departures).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(removed)
        };
        repeat(remove).await
    }

    /// Removes one after the other, but for those where the database is damaged.
    async fn remove_each(&self, departures: &[Departure]) -> Result<usize, StoreError> {
        let mut removed = 0;
        for departure in departures {
            let done = self.remove_together(std::slice::from_ref(departure)).await;
            let what = (Damaged::Departure, departure.message);
            removed += self.unless_damaged(what, done)?.unwrap_or_default();
        }
        Ok(removed)
    }

    /// What came of removing something; none if the database is damaged there. Then it is told
    /// once, and not tried again until the next start.
    pub(super) fn unless_damaged<T>(
        &self,
        what: (Damaged, i64),
        done: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let error = match done {
            Err(error) if error.is_damage() => error,
            done => return done.map(Some),
        };
        self.database.note_damage(&error);
        if self.gc_state().damaged.insert(what) {
            let (kind, key) = what;
            tracing::error!(
                error = %error,
                what = ?kind,
                key,
                "the database is damaged: this is not removed, all else is"
            );
        }
        Ok(None)
    }

    /// Is it known that the database is damaged there?
    pub(super) fn is_damaged(&self, what: (Damaged, i64)) -> bool {
        self.gc_state().damaged.contains(&what)
    }

    /// What of one kind can't be removed.
    pub(super) fn damaged_of(&self, kind: Damaged) -> Vec<i64> {
        let gc_state = self.gc_state();
        let of_kind = gc_state.damaged.iter().filter(|(it, _)| *it == kind);
        of_kind.map(|(_, key)| *key).collect()
    }

    /// What time it is. Where nothing is removed or kept by time, the clock is believed.
    async fn time(&self) -> Result<Time, StoreError> {
        if self.keeping.goes_by_time() {
            return self.clock_guard.look(&self.database).await;
        }
        Ok(Time {
            certain_ms: now(self.database.read()).await?,
            is_right: true,
        })
    }

    /// The deletions whose messages have all been moved, and which nothing keeps any more but
    /// sessions that read them. What a user leaves who was removed is moved while their row is there.
    async fn deletions(&self, time: Time) -> Result<Vec<DeletionKey>, StoreError> {
        const UNKEPT: &str = "SELECT user_id, maildrop_version FROM deletions e \
            WHERE kept_until_ms <= $1 AND NOT EXISTS (SELECT 1 FROM deletion_batches b \
            WHERE b.user_id = e.user_id AND b.maildrop_version = e.maildrop_version) \
            AND NOT EXISTS (SELECT 1 FROM users u \
            WHERE u.id = e.user_id AND u.removed_at_ms IS NOT NULL) \
            ORDER BY kept_until_ms LIMIT $2";
        let read = self.database.read();
        let values = [time.certain_ms.into(), DELETIONS_AT_ONCE.into()];
        let rows = read.query_all_raw(statement(read, UNKEPT, values)).await?;
        let key = |row: &sea_orm::QueryResult| {
            Ok(DeletionKey {
                user: UserId(row.try_get_by_index(0)?),
                version: MaildropVersion(row.try_get_by_index(1)?),
            })
        };
        rows.iter().map(key).collect()
    }

    fn removable(
        &self,
        deletions: &[DeletionKey],
        remote_leases: &HashSet<DeletionKey>,
    ) -> Vec<DeletionKey> {
        let mut gc_state = self.gc_state();
        let GcState {
            deletions: seen,
            servers,
            ..
        } = &mut *gc_state;
        let beats = servers.beats();
        let first_seen_now = FirstSeen {
            at: Instant::now(),
            beats: Arc::new(beats.clone()),
        };
        let here: HashSet<DeletionKey> = deletions.iter().copied().collect();
        seen.retain(|deletion, _| here.contains(deletion));
        let mut removable = Vec::new();
        for deletion in deletions {
            let first = seen
                .entry(*deletion)
                .or_insert_with(|| first_seen_now.clone());
            // The beat after the next is the end of a look that began after this deletion was seen
            // here. A server makes itself known as soon as it starts, so one that was not there then
            // has not opened the maildrop before.
            let looked =
                |(id, then): (&String, &i64)| beats.get(id).is_none_or(|now| *now >= then + 2);
            let is_held = servers.holds(*deletion) || remote_leases.contains(deletion);
            if !is_held && first.at.elapsed() >= LOGIN_GRACE && first.beats.iter().all(looked) {
                removable.push(*deletion);
            }
        }
        removable
    }

    async fn remove_broken_deliveries(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        for content in self.database.broken_deliveries().await? {
            let what = (Damaged::BrokenDelivery, content.0);
            if !self.is_damaged(what) {
                let done = self.database.remove_broken_delivery(content).await;
                removed += usize::from(self.unless_damaged(what, done)?.unwrap_or_default());
            }
        }
        Ok(removed)
    }

    pub(super) fn gc_state(&self) -> MutexGuard<'_, GcState> {
        // What is remembered only ever delays a removal, so a half-made change does no harm.
        self.gc_state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes departed messages, and what they said if no other message says it; returns how many.
///
/// It waits for no lock, since it holds many: what others have locked, such as a QUIT that deletes
/// copies of the same contents or another server that removes them, is left for the next time.
async fn remove(
    transaction: &DatabaseTransaction,
    departures: &[Departure],
) -> Result<usize, StoreError> {
    let departures = lock(transaction, departures).await?;
    if departures.is_empty() {
        return Ok(0);
    }
    let messages = sql_list(departures.iter().map(|(message, _)| *message));
    let contents = sql_list(departures.iter().map(|(_, content)| *content));
    for sql in [
        format!(
            "DELETE FROM deleted_messages WHERE content_id IN ({contents}) AND message_id IN ({messages})"
        ),
        format!(
            "DELETE FROM trace_headers WHERE message_id IN ({messages}) \
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = trace_headers.message_id)"
        ),
    ] {
        transaction.execute_unprepared(&sql).await?;
    }
    for (table, key) in [("chunks", "content_id"), ("contents", "id")] {
        let sql = format!(
            "DELETE FROM {table} WHERE {key} IN ({contents}) \
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.content_id = {table}.{key}) \
             AND NOT EXISTS (SELECT 1 FROM deleted_messages WHERE deleted_messages.content_id = {table}.{key})"
        );
        transaction.execute_unprepared(&sql).await?;
    }
    Ok(departures.len())
}

/// Locks the contents of departed messages and the messages themselves, as many as are removed
/// quickly; returns the keys of both. Without that, two servers that remove the last two references
/// to one content would each see the other's, and nobody would remove the content.
async fn lock(
    transaction: &DatabaseTransaction,
    departures: &[Departure],
) -> Result<Vec<(i64, i64)>, StoreError> {
    let messages = sql_list(departures.iter().map(|departure| departure.message));
    let contents = sql_list(departures.iter().map(|departure| departure.content));
    let skip = if transaction.get_database_backend() == DbBackend::Postgres {
        "FOR UPDATE OF c, d SKIP LOCKED"
    } else {
        ""
    };
    let lock = format!(
        "SELECT d.message_id, d.content_id, c.octets FROM deleted_messages d \
         JOIN contents c ON c.id = d.content_id \
         WHERE d.content_id IN ({contents}) AND d.message_id IN ({messages}) \
         ORDER BY c.id, d.message_id {skip}"
    );
    let mut locked = Vec::with_capacity(departures.len());
    let mut octets_left = OCTETS_AT_ONCE;
    for row in transaction
        .query_all_raw(statement(transaction, &lock, []))
        .await?
    {
        if octets_left < 0 {
            break;
        }
        let octets: i64 = row.try_get_by_index(2)?;
        octets_left = octets_left.saturating_sub(octets);
        locked.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    }
    Ok(locked)
}
