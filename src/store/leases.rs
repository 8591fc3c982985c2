//! The versions of maildrops that the sessions of this process can still read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{MaildropVersion, UserId};

/// Counts the open snapshots of each user by version.
#[derive(Debug, Default, Clone)]
pub(super) struct Leases(Arc<Mutex<Counts>>);

type Counts = HashMap<UserId, BTreeMap<MaildropVersion, usize>>;

impl Leases {
    pub(super) fn take(&self, user: UserId, version: MaildropVersion) -> VersionLease {
        *self
            .counts()
            .entry(user)
            .or_default()
            .entry(version)
            .or_default() += 1;
        VersionLease {
            leases: self.clone(),
            user,
            version,
        }
    }

    /// Returns true if a session of this process can read what was deleted with this version.
    pub(super) fn reach(&self, user: UserId, deleted_with: MaildropVersion) -> bool {
        let counts = self.counts();
        let oldest = counts.get(&user).and_then(BTreeMap::first_key_value);
        oldest.is_some_and(|(version, _)| *version < deleted_with)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing that holds the lock can panic between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the messages of one snapshot readable while it lives.
#[derive(Debug)]
pub struct VersionLease {
    leases: Leases,
    user: UserId,
    version: MaildropVersion,
}

impl Drop for VersionLease {
    fn drop(&mut self) {
        let mut counts = self.leases.counts();
        let Some(versions) = counts.get_mut(&self.user) else {
            return;
        };
        if let Some(count) = versions.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                versions.remove(&self.version);
            }
        }
        if versions.is_empty() {
            counts.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_snapshots_of_the_same_user_reach_a_deleted_message() {
        let leases = Leases::default();
        let (ada, bob) = (UserId::from_row(1), UserId::from_row(2));
        let deleted = MaildropVersion(5);
        let newer = leases.take(ada, MaildropVersion(5));
        let others = leases.take(bob, MaildropVersion(1));
        assert!(!leases.reach(ada, deleted));
        let older = [
            leases.take(ada, MaildropVersion(4)),
            leases.take(ada, MaildropVersion(4)),
        ];
        assert!(leases.reach(ada, deleted));
        let [one, two] = older;
        drop(one);
        assert!(leases.reach(ada, deleted));
        drop((two, newer, others));
        assert!(!leases.reach(ada, deleted));
        assert!(leases.counts().is_empty());
    }
}
