//! Maildrops that logins share: the remembered ones, those of open sessions, and those being read.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use tokio::sync::OnceCell;

use crate::store::{Maildrop, Revision, StoreError, UserId};

/// Maximum memory of all remembered maildrops together, in octets. A message takes 45 of them, so
/// several maildrops of a million messages fit, and a machine of 1 GB has room for the rest.
pub(super) const REMEMBERED_OCTETS: u64 = 256 * 1024 * 1024;

/// Expected number of remembered maildrops.
const REMEMBERED_MAILDROPS: usize = 1000;

/// Memory of a maildrop beside its own, in octets.
const OVERHEAD_OCTETS: u64 = 128;

/// From so many entries on, those of maildrops that no session has open are looked for.
const FIRST_SWEEP: usize = 1000;

/// A maildrop that one login reads while others wait for it. If the one that reads is dropped,
/// the next one reads.
pub(super) type Opening = OnceCell<Result<Arc<dyn Maildrop>, Arc<StoreError>>>;

/// A maildrop for a login.
pub(super) enum SnapshotLookup {
    /// It is in memory.
    Read(Arc<dyn Maildrop>),
    /// It is to be read, or is being read.
    Unread(Arc<Opening>),
}

/// The last state of each maildrop that is in memory.
pub(super) struct Snapshots {
    /// Those that are kept, as far as they fit: most logins find nothing new.
    remembered: Cache<UserId, (Revision, Arc<dyn Maildrop>), ByOctets>,
    /// Those that exist. A session keeps its own, even one that is too large to be remembered.
    existing: HashMap<UserId, (Revision, Weak<dyn Maildrop>)>,
    /// Number of entries of `existing` at which those without a maildrop are removed.
    sweep_at: usize,
    openings: HashMap<(UserId, Revision), Weak<Opening>>,
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<UserId, (Revision, Arc<dyn Maildrop>)> for ByOctets {
    fn weight(&self, _: &UserId, (_, maildrop): &(Revision, Arc<dyn Maildrop>)) -> u64 {
        maildrop.memory_octets() as u64 + OVERHEAD_OCTETS
    }
}

impl Snapshots {
    /// Remembers maildrops that have at most so many octets of memory together.
    pub(super) fn new(octets: u64) -> Self {
        Self {
            remembered: Cache::with_weighter(REMEMBERED_MAILDROPS, octets, ByOctets),
            existing: HashMap::new(),
            sweep_at: FIRST_SWEEP,
            openings: HashMap::new(),
        }
    }

    /// The maildrop of a user, if it is in memory in this state.
    pub(super) fn get(&self, user: UserId, revision: Revision) -> Option<Arc<dyn Maildrop>> {
        match self.remembered.get(&user) {
            Some((known, maildrop)) if *known == revision => Some(Arc::clone(maildrop)),
            Some(_) | None => {
                let (known, maildrop) = self.existing.get(&user)?;
                (*known == revision).then(|| maildrop.upgrade())?
            }
        }
    }

    /// The same, or the place where it is read. All that ask meanwhile get the same one.
    pub(super) fn find(&mut self, user: UserId, revision: Revision) -> SnapshotLookup {
        if let Some(maildrop) = self.get(user, revision) {
            return SnapshotLookup::Read(maildrop);
        }
        self.openings
            .retain(|_, opening| opening.strong_count() > 0);
        let opening = self.openings.entry((user, revision)).or_default();
        if let Some(opening) = opening.upgrade() {
            return SnapshotLookup::Unread(opening);
        }
        let new = Arc::<Opening>::default();
        *opening = Arc::downgrade(&new);
        SnapshotLookup::Unread(new)
    }

    /// Keeps a maildrop in memory if it fits, and for as long as a session has it open.
    pub(super) fn insert(
        &mut self,
        user: UserId,
        revision: Revision,
        maildrop: &Arc<dyn Maildrop>,
    ) {
        let existing = (revision, Arc::downgrade(maildrop));
        self.existing.insert(user, existing);
        self.remembered
            .insert(user, (revision, Arc::clone(maildrop)));
        if self.existing.len() >= self.sweep_at {
            let exists = |(_, maildrop): &(_, Weak<dyn Maildrop>)| maildrop.strong_count() > 0;
            self.existing.retain(|_, existing| exists(existing));
            self.sweep_at = FIRST_SWEEP.max(2 * self.existing.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use pop3::{MessageNumber, Snapshot};

    use super::*;
    use crate::store::{Cursor, Piece};

    const VERSION: Revision = Revision(1);

    /// A maildrop that is only counted.
    #[derive(Debug)]
    struct OfSize {
        octets: usize,
        snapshot: Arc<Snapshot>,
    }

    #[async_trait]
    impl Maildrop for OfSize {
        fn snapshot(&self) -> &Arc<Snapshot> {
            &self.snapshot
        }

        fn memory_octets(&self) -> usize {
            self.octets
        }

        async fn read_first(&self, _: &[MessageNumber]) -> Result<Vec<Option<Piece>>, StoreError> {
            Err(StoreError::Unsupported)
        }

        async fn read(&self, _: MessageNumber, _: Cursor, _: u32) -> Result<Piece, StoreError> {
            Err(StoreError::Gone)
        }

        async fn delete(&self, _: &[MessageNumber], _: &str) -> Result<usize, StoreError> {
            Err(StoreError::Unsupported)
        }
    }

    fn maildrop(octets: usize) -> Arc<dyn Maildrop> {
        let snapshot = Arc::default();
        Arc::new(OfSize { octets, snapshot })
    }

    fn open(snapshots: &mut Snapshots, user: i64, octets: usize) -> Arc<dyn Maildrop> {
        let maildrop = maildrop(octets);
        snapshots.insert(UserId::from_row(user), VERSION, &maildrop);
        maildrop
    }

    #[test]
    fn a_large_maildrop_is_remembered_as_long_as_it_fits() {
        let mut snapshots = Snapshots::new(1_000_000);
        drop(open(&mut snapshots, 1, 900_000));
        assert!(snapshots.get(UserId::from_row(1), VERSION).is_some());
        assert!(snapshots.get(UserId::from_row(1), Revision(2)).is_none());
        for user in 2..10 {
            drop(open(&mut snapshots, user, 300_000));
            assert!(snapshots.remembered.weight() <= 1_000_000);
        }
        let remembered =
            (1..10).filter(|user| snapshots.get(UserId::from_row(*user), VERSION).is_some());
        assert_eq!(remembered.count(), 3);
    }

    #[test]
    fn many_small_maildrops_are_bounded_too() {
        let mut snapshots = Snapshots::new(1_000_000);
        for user in 0..10_000 {
            drop(open(&mut snapshots, user, 150));
        }
        assert!(snapshots.remembered.weight() <= 1_000_000);
        assert!((1000..5000).contains(&snapshots.remembered.len()));
        assert!(snapshots.existing.len() <= 2 * 5000);
    }

    #[test]
    fn a_maildrop_that_is_too_large_is_shared_while_a_session_has_it_open() {
        let mut snapshots = Snapshots::new(1_000_000);
        let large = open(&mut snapshots, 1, 2_000_000);
        let shared = snapshots.get(UserId::from_row(1), VERSION).unwrap();
        assert!(Arc::ptr_eq(&large, &shared));
        drop((large, shared));
        assert!(snapshots.get(UserId::from_row(1), VERSION).is_none());
        // So is one that has been displaced.
        let first = open(&mut snapshots, 2, 600_000);
        for user in 3..10 {
            drop(open(&mut snapshots, user, 600_000));
        }
        let shared = snapshots.get(UserId::from_row(2), VERSION).unwrap();
        assert!(Arc::ptr_eq(&first, &shared));
    }

    #[test]
    fn a_maildrop_is_read_once_for_each_revision() {
        let mut snapshots = Snapshots::new(1_000_000);
        let mut opening = |user, revision| match snapshots.find(UserId::from_row(user), revision) {
            SnapshotLookup::Unread(opening) => opening,
            SnapshotLookup::Read(_) => panic!("nobody has read it"),
        };
        let first = opening(1, VERSION);
        assert!(Arc::ptr_eq(&first, &opening(1, VERSION)));
        assert!(!Arc::ptr_eq(&first, &opening(1, Revision(2))));
        assert!(!Arc::ptr_eq(&first, &opening(2, VERSION)));
        drop(first);
        drop(opening(3, VERSION));
        assert_eq!(snapshots.openings.len(), 1);
    }

    #[actix_rt::test]
    async fn a_login_that_ends_while_it_reads_leaves_nobody_waiting() {
        let opening = Arc::<Opening>::default();
        let never = tokio::task::spawn_local({
            let opening = Arc::clone(&opening);
            async move { opening.get_or_init(std::future::pending).await.is_ok() }
        });
        let reads = async || Ok(maildrop(0));
        let waits = tokio::task::spawn_local({
            let opening = Arc::clone(&opening);
            async move { opening.get_or_init(reads).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        never.abort();
        assert!(waits.await.unwrap());
    }
}
