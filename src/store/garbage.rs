//! Garbage collection: reads what there is to remove, and removes what the plan allows.
//!
//! [`removal`](super::removal) decides which deleted messages no session can read any more.

mod rows;

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use rows::among;
use rows::{DeletedMessage, remove};

use super::clock_guard::Time;
use super::raw::now;
use super::removal::{self, Plan, RemovalState, Seen};
use super::{SqlStore, StoreError, repeat};

/// Interval at which [`super::Upkeep::collect_garbage`] is to be called.
pub const GC_INTERVAL: Duration = Duration::from_secs(5);

/// How long one call moves or removes; the next goes on. The other servers wait for this one's
/// heartbeat meanwhile.
pub(super) const WORKING_TIME: Duration = Duration::from_secs(2);

/// The most deletions that one call reads, those that may go first.
const DELETIONS_AT_ONCE: u64 = 50_000;

/// Number of deletions that one statement names.
const DELETIONS_PER_STATEMENT: usize = 100;

/// The most messages that one transaction removes, so that no delivery waits long for it.
const REMOVED_AT_ONCE: usize = 100;

/// The result of a call of [`super::Upkeep::collect_garbage`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Deleted messages that were removed: no session could read them any more.
    pub removed: usize,
    /// Deliveries that had been broken off.
    pub broken_deliveries: usize,
    /// Messages that have expired.
    pub expired: u64,
}

/// The state that this server remembers between two calls.
#[derive(Debug, Default)]
pub(super) struct GcState {
    pub(super) removal: RemovalState,
    /// Rows that can't be removed because the database is damaged: keys of deleted messages, of
    /// contents of broken deliveries, and of users.
    damaged: HashSet<(Damaged, i64)>,
}

/// A kind of rows that can't be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Damaged {
    /// A deleted message.
    DeletedMessage,
    /// The content of a delivery that was broken off.
    BrokenDelivery,
    /// The expired messages of a user.
    Expired,
    /// The deletion batches of a user.
    Deleted,
    /// The maildrop of a removed user.
    Removed,
}

impl SqlStore {
    /// Does what there is to do. A fault in one part does not stop the others; the first one is the
    /// error.
    pub(super) async fn collect(&self) -> Result<GcReport, StoreError> {
        let broken_deliveries = self.remove_broken_deliveries().await;
        let time = self.time().await?;
        let expired = self.expire(time).await;
        let moved = self.move_deleted().await;
        let emptied = self.empty_maildrops_of_the_removed().await;
        let removed = self.remove_deleted(time).await;
        moved?;
        emptied?;
        Ok(GcReport {
            removed: removed?,
            broken_deliveries: broken_deliveries?,
            expired: expired?,
        })
    }

    /// Moves deleted messages for some time.
    async fn move_deleted(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        for user in self.database.users_with_batches().await? {
            let what = (Damaged::Deleted, user.row());
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
            let what = (Damaged::Removed, user.row());
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

    /// Removes deleted messages for some time; returns how many.
    async fn remove_deleted(&self, time: Time) -> Result<usize, StoreError> {
        // Leases that are taken while it looks are not seen, so the grace for logins counts to here.
        let began = Instant::now();
        let Some(seen) = self.look(began, time).await? else {
            self.gc_state().removal.reset();
            self.register().await?;
            return Ok(0);
        };
        let Plan {
            dead_servers,
            removable,
            ..
        } = self.plan(began, &seen);
        for server in dead_servers {
            tracing::warn!(server, "another server has stopped without saying so");
            self.forget_server(&server).await?;
        }
        let (working_since, mut removed) = (Instant::now(), 0);
        for deletions in removable.chunks(DELETIONS_PER_STATEMENT) {
            loop {
                if working_since.elapsed() >= WORKING_TIME {
                    return Ok(removed);
                }
                let left = self.messages_of(deletions).await?;
                let now_removed = match self.remove_together(&left).await {
                    Err(error) if error.is_damage() => self.remove_each(&left).await?,
                    done => done?,
                };
                removed += now_removed;
                // Some are left where messages are large, or others have locked them.
                let were_all = left.len() < REMOVED_AT_ONCE && now_removed == left.len();
                if were_all || now_removed == 0 {
                    break;
                }
            }
            self.forget_deletions(deletions).await?;
        }
        Ok(removed)
    }

    /// Looks at the deletions and the other servers, and publishes leases; none if there are no
    /// deletions. The plan depends on the order.
    async fn look(&self, began: Instant, time: Time) -> Result<Option<Seen>, StoreError> {
        let deletions = self.deletions().await?;
        if deletions.is_empty() {
            return Ok(None);
        }
        let keys = deletions.iter().map(|deletion| deletion.key);
        let held = self.publish_leases(keys).await?;
        let heartbeats = self.heartbeats().await?;
        let heartbeats_after = began.elapsed();
        let remote_leases = self.remote_leases().await?;
        Ok(Some(Seen {
            now_ms: time.certain_ms,
            deletions,
            held,
            heartbeats,
            heartbeats_after,
            remote_leases,
        }))
    }

    fn plan(&self, now: Instant, seen: &Seen) -> Plan {
        let mut gc_state = self.gc_state();
        let state = std::mem::take(&mut gc_state.removal);
        let mut plan = removal::plan(now, state, seen);
        gc_state.removal = std::mem::take(&mut plan.state);
        plan
    }

    async fn remove_together(&self, messages: &[DeletedMessage]) -> Result<usize, StoreError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let remove = || async {
            let transaction = self.database.begin_maintenance().await?;
            let removed = remove(&transaction, messages).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(removed)
        };
        repeat(remove).await
    }

    /// Removes one after the other, but for those where the database is damaged.
    async fn remove_each(&self, messages: &[DeletedMessage]) -> Result<usize, StoreError> {
        let mut removed = 0;
        for message in messages {
            let done = self.remove_together(std::slice::from_ref(message)).await;
            let what = (Damaged::DeletedMessage, message.message_id);
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

    /// Returns the rows of one kind that can't be removed.
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

    async fn remove_broken_deliveries(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        let pending = self.database.pending_contents().await?;
        for content in removal::broken_off(&pending) {
            let what = (Damaged::BrokenDelivery, content.0);
            if !self.is_damaged(what) {
                let done = self.database.remove_broken_delivery(content).await;
                removed += usize::from(self.unless_damaged(what, done)?.unwrap_or_default());
            }
        }
        Ok(removed)
    }

    pub(super) fn gc_state(&self) -> MutexGuard<'_, GcState> {
        // The state only ever delays a removal, so a half-made change does no harm.
        self.gc_state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
