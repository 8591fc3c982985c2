//! Decides which deleted messages may be removed, when several servers share a database.
//!
//! Sessions that opened a maildrop before a deletion can still read its messages, in this process
//! and in others. So the messages of a deletion are removed when
//! - all of them have been moved to `deleted_messages`,
//! - they can't be restored any more,
//! - no session of this server has opened the maildrop before the deletion,
//! - no login is under way that could still open it as it was before,
//! - every other server has looked at the deletions since then, and
//! - none of them has published a lease on it.
//!
//! Nothing here reads a clock or asks a database: `garbage.rs` does both, and executes the plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ContentId, MaildropVersion, UserId};

/// A login that began before a deletion takes its lease at most so long after it.
const LOGIN_GRACE: Duration = Duration::from_secs(4);

/// A server whose heartbeat has not changed for so long is dead.
const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// A delivery is broken off when nothing has been written for so long.
pub(super) const PENDING_EXPIRES_AFTER: Duration = Duration::from_secs(3600);

/// A deletion: the user of the maildrop, and the first version without the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DeletionKey {
    pub(super) user: UserId,
    pub(super) version: MaildropVersion,
}

/// State that a server keeps from round to round. Losing it delays removals, and does no harm.
#[derive(Debug, Clone, Default)]
pub(super) struct RemovalState {
    /// The deletions that this server has seen.
    deletions: HashMap<DeletionKey, Known>,
    /// The heartbeat of each other server, and since when it has not changed.
    servers: HashMap<String, (i64, Instant)>,
    leases: PublishedLeases,
}

/// The leases that a server has published.
#[derive(Debug, Clone, Default)]
struct PublishedLeases {
    /// Those that are in the database.
    certain: HashSet<DeletionKey>,
    /// Those that may be there: a commit may have been done without an answer.
    possible: HashSet<DeletionKey>,
}

/// A deletion that a server has seen.
#[derive(Debug, Clone)]
struct Known {
    since: Instant,
    /// The heartbeats of the other servers when every login had taken its lease; none before that.
    heartbeats: Option<Arc<HashMap<String, i64>>>,
}

/// A server's observations of a round, in the order in which they must be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The time by which retention ends: the database's.
    pub(super) now_ms: i64,
    /// Deletions, those that may go first.
    pub(super) deletions: Vec<SeenDeletion>,
    /// Those of them that sessions of this server can read; it has published them since.
    pub(super) held: HashSet<DeletionKey>,
    /// The heartbeats of the other servers, read after that.
    pub(super) heartbeats: HashMap<String, i64>,
    /// How long after the beginning of the look they were read.
    pub(super) heartbeats_after: Duration,
    /// The leases of the other servers, read after their heartbeats.
    pub(super) remote_leases: Vec<(String, DeletionKey)>,
}

/// A deletion in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenDeletion {
    pub(super) key: DeletionKey,
    /// Until when its messages can be restored.
    pub(super) kept_until_ms: i64,
    /// Have all its messages been moved?
    pub(super) is_moved: bool,
}

/// A content that is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenPending {
    pub(super) content: ContentId,
    /// When its last chunk was written, by the database's clock.
    pub(super) written_at_ms: i64,
    /// What that clock says now.
    pub(super) now_ms: i64,
}

/// The actions of a round.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Plan {
    /// The servers to forget, with their leases. Then `removable` may go.
    pub(super) dead_servers: Vec<String>,
    /// The deletions whose messages may be removed.
    pub(super) removable: Vec<DeletionKey>,
    /// The state to keep until the next round.
    pub(super) state: RemovalState,
}

/// Changes to the leases that this server has published.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Publication {
    pub(super) publish: Vec<DeletionKey>,
    pub(super) withdraw: Vec<DeletionKey>,
}

impl RemovalState {
    /// Decides which leases to publish and to withdraw; until [`Self::note_published`], both may have
    /// been done or not. If the others did not know this server, they took it for dead, and have
    /// removed its leases too.
    pub(super) fn publication(
        &mut self,
        held: &HashSet<DeletionKey>,
        is_known: bool,
    ) -> Publication {
        let PublishedLeases { certain, possible } = &mut self.leases;
        if !is_known {
            certain.clear();
        }
        let publish: Vec<DeletionKey> = held.difference(certain).copied().collect();
        let withdraw = possible.difference(held).copied().collect();
        certain.retain(|deletion| held.contains(deletion));
        possible.extend(&publish);
        Publication { publish, withdraw }
    }

    /// Returns the deletions on which this server may have published leases. A lease stays as long as
    /// sessions can read the messages, also when a clock that jumps back hides the deletion: another
    /// server may be in the middle of a look that began before.
    pub(super) fn published(&self) -> impl Iterator<Item = DeletionKey> {
        self.leases.possible.iter().copied()
    }

    /// Remembers that the leases on these deletions have been published, and all others withdrawn.
    pub(super) fn note_published(&mut self, held: HashSet<DeletionKey>) {
        self.leases.certain.clone_from(&held);
        self.leases.possible = held;
    }

    /// Forgets the deletions and the other servers, when there are no deletions. Leases may still be
    /// in the database, if the clock has jumped back.
    pub(super) fn reset(&mut self) {
        self.deletions.clear();
        self.servers.clear();
    }
}

/// Decides what to remove; `now` is the time of this process at which it began to look.
pub(super) fn plan(now: Instant, mut state: RemovalState, seen: &Seen) -> Plan {
    let dead_servers = state.note_heartbeats(now + seen.heartbeats_after, &seen.heartbeats);
    let is_of_dead = |server: &String| dead_servers.contains(server);
    let leases = seen.remote_leases.iter();
    let leases = leases.filter(|(server, _)| !is_of_dead(server));
    let leases: HashSet<DeletionKey> = leases.map(|(_, deletion)| *deletion).collect();
    let due: Vec<DeletionKey> = seen
        .deletions
        .iter()
        .filter(|deletion| deletion.is_moved && deletion.kept_until_ms <= seen.now_ms)
        .map(|deletion| deletion.key)
        .collect();
    state.note_deletions(now, &due);
    let is_free = |deletion: &DeletionKey| {
        let is_leased = seen.held.contains(deletion) || leases.contains(deletion);
        !is_leased && state.has_been_seen_by_all(*deletion)
    };
    let removable = due.into_iter().filter(is_free).collect();
    Plan {
        dead_servers,
        removable,
        state,
    }
}

/// Decides which contents were broken off.
pub(super) fn broken_off(pending: &[SeenPending]) -> Vec<ContentId> {
    let limit_ms = i64::try_from(PENDING_EXPIRES_AFTER.as_millis()).unwrap_or(i64::MAX);
    let is_old = |it: &&SeenPending| it.written_at_ms < it.now_ms.saturating_sub(limit_ms);
    let old = pending.iter().filter(is_old);
    old.map(|it| it.content).collect()
}

impl RemovalState {
    /// Remembers the heartbeats of the others; returns the servers that are dead, and forgets them.
    fn note_heartbeats(&mut self, now: Instant, heartbeats: &HashMap<String, i64>) -> Vec<String> {
        self.servers.retain(|id, _| heartbeats.contains_key(id));
        for (id, heartbeat) in heartbeats {
            let known = self.servers.entry(id.clone()).or_insert((*heartbeat, now));
            if known.0 != *heartbeat {
                *known = (*heartbeat, now);
            }
        }
        let is_silent = |since: Instant| now.duration_since(since) >= SERVER_TIMEOUT;
        let dead = self.servers.extract_if(|_, (_, since)| is_silent(*since));
        dead.map(|(id, _)| id).collect()
    }

    /// Remembers since when deletions are known, and forgets those that are gone.
    fn note_deletions(&mut self, now: Instant, deletions: &[DeletionKey]) {
        let heartbeats = self.servers.iter();
        let heartbeats = heartbeats.map(|(id, (heartbeat, _))| (id.clone(), *heartbeat));
        let heartbeats = Arc::new(heartbeats.collect());
        let here: HashSet<DeletionKey> = deletions.iter().copied().collect();
        self.deletions.retain(|deletion, _| here.contains(deletion));
        for deletion in deletions {
            let known = self.deletions.entry(*deletion).or_insert(Known {
                since: now,
                heartbeats: None,
            });
            if now.duration_since(known.since) >= LOGIN_GRACE {
                known
                    .heartbeats
                    .get_or_insert_with(|| Arc::clone(&heartbeats));
            }
        }
    }

    /// Has every server that could have opened the maildrop before this deletion published its lease?
    ///
    /// A server looks at the deletions, and its heartbeat grows at the end of the look. The second
    /// one after the grace for logins is the end of a look that began after it. A server registers
    /// before its first login, so one that was not there then has not opened the maildrop before.
    fn has_been_seen_by_all(&self, deletion: DeletionKey) -> bool {
        let known = self.deletions.get(&deletion);
        let Some(heartbeats) = known.and_then(|known| known.heartbeats.as_ref()) else {
            return false;
        };
        let has_looked = |(id, then): (&String, &i64)| {
            let heartbeat = self.servers.get(id).map(|(heartbeat, _)| *heartbeat);
            heartbeat.is_none_or(|heartbeat| heartbeat >= then + 2)
        };
        heartbeats.iter().all(has_looked)
    }
}

#[cfg(test)]
mod tests;
