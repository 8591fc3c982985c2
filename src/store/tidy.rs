//! Removes the octets of deleted messages once no session can read them any more.
//!
//! A QUIT moves its messages to `departures` in its own transaction. Sessions that opened the
//! maildrop before that go on reading them, in this process and in others on the same database.
//! So a departed message is removed when
//! - the time is over in which the deletion can be undone,
//! - no session here can reach it,
//! - every other server has looked through the departures since this one first saw it there, and
//! - none of them holds it.
//!
//! A server makes itself known when it starts, and says that it has looked by raising its beat. It
//! does so only while there are departures, so that an idle server writes nothing. One whose beat
//! stands still meanwhile is dead.

use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use super::clock_guard::Time;
use super::database::{KEYS_PER_STATEMENT, clock, now, sql_list, statement};
use super::{MaildropVersion, SqlStore, StoreError, UserId, repeat};

/// How often [`super::MailStore::tidy`] is to be called.
pub const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// A server whose beat has not changed for this long is dead.
const SILENT_SERVER_DIES_AFTER: Duration = Duration::from_secs(30);

/// How long one call removes; the next goes on. The others are to hear of this server meanwhile.
const REMOVING_TIME: Duration = Duration::from_secs(2);

/// A login that began before a deletion may take its lease a little after it.
const LOGIN_GRACE: Duration = Duration::from_secs(4);

/// How many departures one query reads.
const PAGE: i64 = 5000;

/// How many contents one transaction removes, so that no delivery waits long for it.
const REMOVED_AT_ONCE: usize = 100;

/// After how many octets of contents it ends.
const OCTETS_AT_ONCE: i64 = 32 * 1024 * 1024;

/// What a call of [`super::MailStore::tidy`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Departed messages that nobody could read any more.
    pub departures: usize,
    /// Deliveries that had been broken off.
    pub broken_deliveries: usize,
    /// Messages that had been here for too long.
    pub expired: u64,
}

/// What this server remembers between two calls.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Each departed message, when it was first seen here, and the others' beats at that time.
    departures: HashMap<i64, FirstSeen>,
    /// The beat of each other server, and since when it stands so.
    servers: HashMap<String, (i64, Instant)>,
    /// The departed messages that this server has told the others to keep.
    held: HashSet<i64>,
    /// What can't be removed because the database is damaged there: keys of departed messages, and
    /// of contents of broken deliveries.
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
}

#[derive(Debug, Clone)]
struct FirstSeen {
    at: Instant,
    beats: std::sync::Arc<HashMap<String, i64>>,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    message: i64,
    user: UserId,
    content: i64,
    version: MaildropVersion,
}

impl SqlStore {
    /// Does what there is to do. A fault in one part keeps the others from nothing; the first one is
    /// the error.
    pub(super) async fn remove_what_nobody_reads(&self) -> Result<Tidied, StoreError> {
        let broken_deliveries = self.remove_broken_deliveries().await;
        let time = self.time().await?;
        let expired = self.expire(time).await;
        let departures = self.remove_departures(time).await;
        Ok(Tidied {
            departures: departures?,
            broken_deliveries: broken_deliveries?,
            expired: expired?,
        })
    }

    /// Removes departed messages for some time; returns how many.
    async fn remove_departures(&self, time: Time) -> Result<usize, StoreError> {
        let departures = self.departures(time).await?;
        if departures.is_empty() {
            let damaged = std::mem::take(&mut self.sightings().damaged);
            *self.sightings() = Sightings {
                damaged,
                ..Sightings::default()
            };
            self.be_known().await?;
            return Ok(0);
        }
        self.tell_what_is_held(&departures).await?;
        self.bury_silent_servers().await?;
        let held_by_others = self.held_by_others().await?;
        let removable = self.removable(&departures, &held_by_others);
        let (began, mut removed) = (Instant::now(), 0);
        for batch in removable.chunks(REMOVED_AT_ONCE) {
            if began.elapsed() >= REMOVING_TIME {
                break;
            }
            removed += match self.remove_together(batch).await {
                Err(error) if error.is_damage() => self.remove_each(batch).await?,
                done => done?,
            };
        }
        Ok(removed)
    }

    async fn remove_together(&self, departures: &[Departure]) -> Result<usize, StoreError> {
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
        if self.sightings().damaged.insert(what) {
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
        self.sightings().damaged.contains(&what)
    }

    pub(super) async fn forget_server(&self, server: &str) -> Result<(), StoreError> {
        repeat(|| self.try_to_forget_server(server)).await
    }

    async fn try_to_forget_server(&self, server: &str) -> Result<(), StoreError> {
        let transaction = self.database.begin().await?;
        // In the order in which the server itself locks them, if it lives after all.
        for sql in [
            "DELETE FROM servers WHERE id = $1",
            "DELETE FROM holds WHERE server_id = $1",
        ] {
            transaction
                .execute_raw(statement(&transaction, sql, [server.into()]))
                .await?;
        }
        transaction.commit().await?;
        Ok(())
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

    /// The departed messages that nothing keeps any more but sessions that read them.
    async fn departures(&self, time: Time) -> Result<Vec<Departure>, StoreError> {
        const NEXT_PAGE: &str = "SELECT message_id, user_id, content_id, maildrop_version, \
            kept_until_ms FROM departures WHERE (kept_until_ms, message_id) > ($1, $2) \
            AND kept_until_ms <= $3 ORDER BY kept_until_ms, message_id LIMIT $4";
        let read = self.database.read();
        let mut departures: Vec<Departure> = Vec::new();
        let mut after = (i64::MIN, i64::MIN);
        loop {
            let page = [
                after.0.into(),
                after.1.into(),
                time.certain_ms.into(),
                PAGE.into(),
            ];
            let page = statement(read, NEXT_PAGE, page);
            let rows = read.query_all_raw(page).await?;
            if rows.is_empty() {
                return Ok(departures);
            }
            for row in rows {
                let departure = Departure {
                    message: row.try_get_by_index(0)?,
                    user: UserId(row.try_get_by_index(1)?),
                    content: row.try_get_by_index(2)?,
                    version: MaildropVersion(row.try_get_by_index(3)?),
                };
                after = (row.try_get_by_index(4)?, departure.message);
                departures.push(departure);
            }
        }
    }

    /// Sees to it that the others know of this server. They wait only for those that they know.
    async fn be_known(&self) -> Result<(), StoreError> {
        const KNOWN: &str = "SELECT 1 FROM servers WHERE id = $1";
        let read = self.database.read();
        let known = statement(read, KNOWN, [self.server_id.as_str().into()]);
        if read.query_one_raw(known).await?.is_none() {
            let transaction = self.database.begin().await?;
            self.beat(&transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Raises the beat; false if the others did not know this server, or took it for dead.
    async fn beat(&self, transaction: &DatabaseTransaction) -> Result<bool, StoreError> {
        const BEAT: &str = "UPDATE servers SET beat = beat + 1 WHERE id = $1";
        const BE_BORN: &str = "INSERT INTO servers (id, beat) VALUES ($1, 1)";
        let me = || [self.server_id.as_str().into()];
        let beat = statement(transaction, BEAT, me());
        let known = transaction.execute_raw(beat).await?.rows_affected() > 0;
        if !known {
            let be_born = statement(transaction, BE_BORN, me());
            transaction.execute_raw(be_born).await?;
        }
        Ok(known)
    }

    /// Writes down which departed messages sessions here can reach, and raises the beat with it.
    async fn tell_what_is_held(&self, departures: &[Departure]) -> Result<(), StoreError> {
        repeat(|| self.try_to_tell_what_is_held(departures)).await
    }

    async fn try_to_tell_what_is_held(&self, departures: &[Departure]) -> Result<(), StoreError> {
        let held: HashSet<i64> = departures
            .iter()
            .filter(|departure| self.leases.reach(departure.user, departure.version))
            .map(|departure| departure.message)
            .collect();
        let transaction = self.database.begin().await?;
        let known = self.beat(&transaction).await?;
        let (new, old): (Vec<i64>, Vec<i64>) = {
            let mut sightings = self.sightings();
            if !known {
                // Who took this server for dead has removed what it held, too.
                sightings.held.clear();
            }
            let before = &sightings.held;
            let new = held.difference(before).copied().collect();
            (new, before.difference(&held).copied().collect())
        };
        for keys in new.chunks(KEYS_PER_STATEMENT) {
            let hold = format!(
                "INSERT INTO holds (server_id, message_id) SELECT $1, message_id FROM departures \
                 WHERE kept_until_ms <= {} AND message_id IN ({}) ON CONFLICT DO NOTHING",
                clock(&transaction),
                sql_list(keys.iter().copied())
            );
            self.run_for_me(&transaction, &hold).await?;
        }
        for keys in old.chunks(KEYS_PER_STATEMENT) {
            let release = format!(
                "DELETE FROM holds WHERE server_id = $1 AND message_id IN ({})",
                sql_list(keys.iter().copied())
            );
            self.run_for_me(&transaction, &release).await?;
        }
        transaction.commit().await?;
        self.sightings().held = held;
        Ok(())
    }

    /// Runs a statement whose `$1` is this server.
    async fn run_for_me(
        &self,
        transaction: &DatabaseTransaction,
        sql: &str,
    ) -> Result<(), StoreError> {
        let statement = statement(transaction, sql, [self.server_id.as_str().into()]);
        transaction.execute_raw(statement).await?;
        Ok(())
    }

    async fn bury_silent_servers(&self) -> Result<(), StoreError> {
        const OTHERS: &str = "SELECT id, beat FROM servers WHERE id <> $1";
        let read = self.database.read();
        let others = statement(read, OTHERS, [self.server_id.as_str().into()]);
        let mut beats = HashMap::new();
        for row in read.query_all_raw(others).await? {
            let (id, beat): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            beats.insert(id, beat);
        }
        for silent in self.note_beats(&beats) {
            tracing::warn!(
                server = silent,
                "another server has stopped without saying so"
            );
            self.forget_server(&silent).await?;
        }
        Ok(())
    }

    /// Remembers the beats of the others and returns those that stand still for too long.
    fn note_beats(&self, beats: &HashMap<String, i64>) -> Vec<String> {
        let now = Instant::now();
        let servers = &mut self.sightings().servers;
        servers.retain(|id, _| beats.contains_key(id));
        for (id, beat) in beats {
            let known = servers.entry(id.clone()).or_insert((*beat, now));
            if known.0 != *beat {
                *known = (*beat, now);
            }
        }
        let silent = |since: &Instant| now.duration_since(*since) >= SILENT_SERVER_DIES_AFTER;
        let dead = servers.extract_if(|_, (_, since)| silent(since));
        dead.map(|(id, _)| id).collect()
    }

    async fn held_by_others(&self) -> Result<HashSet<i64>, StoreError> {
        const HELD: &str = "SELECT message_id FROM holds WHERE server_id <> $1";
        let read = self.database.read();
        let held = statement(read, HELD, [self.server_id.as_str().into()]);
        let rows = read.query_all_raw(held).await?;
        let held: Result<_, _> = rows.iter().map(|row| row.try_get_by_index(0)).collect();
        Ok(held?)
    }

    fn removable(&self, departures: &[Departure], held_by_others: &HashSet<i64>) -> Vec<Departure> {
        let mut sightings = self.sightings();
        let Sightings {
            departures: seen,
            servers,
            held,
            damaged,
        } = &mut *sightings;
        let beats: HashMap<String, i64> = servers
            .iter()
            .map(|(id, (beat, _))| (id.clone(), *beat))
            .collect();
        let first_seen_now = FirstSeen {
            at: Instant::now(),
            beats: std::sync::Arc::new(beats.clone()),
        };
        let here: HashSet<i64> = departures
            .iter()
            .map(|departure| departure.message)
            .collect();
        seen.retain(|message, _| here.contains(message));
        let mut removable = Vec::new();
        for departure in departures {
            let first = seen
                .entry(departure.message)
                .or_insert_with(|| first_seen_now.clone());
            // The beat after the next is the end of a look that began after this message was
            // seen here. A server makes itself known as soon as it starts, so one that was not there
            // then has not opened the maildrop before.
            let looked =
                |(id, then): (&String, &i64)| beats.get(id).is_none_or(|now| *now >= then + 2);
            let held_anywhere =
                held.contains(&departure.message) || held_by_others.contains(&departure.message);
            let is_damaged = damaged.contains(&(Damaged::Departure, departure.message));
            if !held_anywhere
                && !is_damaged
                && first.at.elapsed() >= LOGIN_GRACE
                && first.beats.iter().all(looked)
            {
                removable.push(*departure);
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

    fn sightings(&self) -> MutexGuard<'_, Sightings> {
        // What is remembered only ever delays a removal, so a half-made change does no harm.
        self.sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
            "DELETE FROM departures WHERE content_id IN ({contents}) AND message_id IN ({messages})"
        ),
        format!("DELETE FROM holds WHERE message_id IN ({messages})"),
        format!(
            "DELETE FROM heads WHERE message_id IN ({messages}) \
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = heads.message_id)"
        ),
    ] {
        transaction.execute_unprepared(&sql).await?;
    }
    for (table, key) in [("chunks", "content_id"), ("contents", "id")] {
        let sql = format!(
            "DELETE FROM {table} WHERE {key} IN ({contents}) \
             AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.content_id = {table}.{key}) \
             AND NOT EXISTS (SELECT 1 FROM departures WHERE departures.content_id = {table}.{key})"
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
        "SELECT d.message_id, d.content_id, c.octets FROM departures d \
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
