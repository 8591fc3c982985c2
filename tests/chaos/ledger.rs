//! What was promised to whom, and whether the database has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::support::mail::{ADA, BOB, message};

/// Whose mail is moved, and expires.
pub(crate) const CAROL: &str = "carol@example.com";

/// Who is removed.
pub(crate) const EVE: &str = "eve@example.com";

/// All users of a campaign.
pub(crate) const USERS: [&str; 4] = [ADA, BOB, CAROL, EVE];

/// What must be true of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was sent, and not answered: it may be there, once.
    Sent,
    /// It was answered with 250 or seen since: it is there.
    Stored,
    /// This QUIT was to delete it, and was not answered: it may be gone, with all others of the QUIT.
    Marked(u64),
    /// A QUIT that was to delete it was answered with +OK: it is gone.
    Deleted,
}

/// Whose message it is, and which: all of its octets follow from the number.
pub(crate) type Key = (&'static str, u64);

/// All messages of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    fates: Mutex<BTreeMap<Key, Fate>>,
}

/// A message as SQL finds it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) user: String,
    /// What RETR promises to send.
    pub(crate) octets: i64,
    pub(crate) trace_octets: i64,
    pub(crate) content_octets: i64,
    /// What its pieces hold together.
    pub(crate) chunk_octets: i64,
    pub(crate) first_chunk: Vec<u8>,
}

/// The message of this number: mostly small, some of several pieces, a few of several transactions.
pub(crate) fn octets(number: u64) -> Vec<u8> {
    let size = match number % 40 {
        7 => 300_000,
        17 => 1_500_000,
        _ => 100 + number % 4000,
    };
    message(number, usize::try_from(size).unwrap())
}

/// The number of a message, which stands in its subject.
pub(crate) fn number_of(message: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(message);
    let mut subjects = text.lines().filter_map(|it| it.strip_prefix("Subject: "));
    subjects.next()?.trim().parse().ok()
}

impl Ledger {
    pub(crate) fn set(&self, key: Key, fate: Fate) {
        self.fates.lock().unwrap().insert(key, fate);
    }

    /// It was answered with 250. A client may have deleted it before that was read.
    pub(crate) fn acknowledge(&self, key: Key) {
        let mut fates = self.fates.lock().unwrap();
        if fates.get(&key) == Some(&Fate::Sent) {
            fates.insert(key, Fate::Stored);
        }
    }

    /// As [`Ledger::acknowledge`], for all messages of a user.
    pub(crate) fn acknowledge_all(&self, user: &str) {
        let mut fates = self.fates.lock().unwrap();
        let of_user = fates.iter_mut().filter(|((owner, _), _)| *owner == user);
        for (_, known) in of_user.filter(|(_, known)| **known == Fate::Sent) {
            *known = Fate::Stored;
        }
    }

    /// A user's messages that are there.
    pub(crate) fn stored_of(&self, user: &str) -> Vec<u64> {
        let fates = self.fates.lock().unwrap();
        let of_user = fates.iter().filter(|((owner, _), _)| *owner == user);
        let there = of_user.filter(|(_, fate)| **fate == Fate::Stored);
        there.map(|((_, number), _)| *number).collect()
    }

    /// Says of all messages of a user what is to be true of them, if they are there.
    pub(crate) fn set_all(&self, user: &str, fate: Fate) {
        let mut fates = self.fates.lock().unwrap();
        let of_user = fates.iter_mut().filter(|((owner, _), _)| *owner == user);
        for (_, known) in of_user.filter(|(_, known)| **known != Fate::Deleted) {
            *known = fate;
        }
    }

    /// Says of all messages of a QUIT what has become of them.
    pub(crate) fn settle(&self, quit: u64, fate: Fate) {
        let mut fates = self.fates.lock().unwrap();
        for known in fates.values_mut().filter(|it| **it == Fate::Marked(quit)) {
            *known = fate;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fates.lock().unwrap().len()
    }

    /// How many messages this is true of.
    pub(crate) fn count(&self, fate: Fate) -> usize {
        let fates = self.fates.lock().unwrap();
        fates.values().filter(|it| **it == fate).count()
    }

    /// Each message that was found was sent, is whole, and is there once.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn look(&self, found: &[Found]) -> BTreeSet<Key> {
        let fates = self.fates.lock().unwrap();
        let mut seen = BTreeSet::new();
        for message in found {
            let number = number_of(&message.first_chunk);
            let number = number.unwrap_or_else(|| panic!("not one of ours: {message:?}"));
            let key = USERS.iter().find(|user| **user == message.user);
            let key = (*key.expect("one of our users"), number);
            assert!(fates.contains_key(&key), "never sent: {key:?}");
            assert!(seen.insert(key), "doubled: {key:?}");
            message.is_whole(number);
        }
        seen
    }

    /// Compares what was found with what was promised. What was open is known from then on.
    ///
    /// # Panics
    /// If a promise is broken.
    pub(crate) fn check(&self, found: &[Found]) {
        let seen = self.look(found);
        let mut fates = self.fates.lock().unwrap();
        let mut quits: BTreeMap<u64, [usize; 2]> = BTreeMap::new();
        for (key, fate) in fates.iter_mut() {
            let there = seen.contains(key);
            *fate = match (*fate, there) {
                (Fate::Stored, false) => panic!("lost, although it was acknowledged: {key:?}"),
                (Fate::Deleted, true) => panic!("back, although QUIT has deleted it: {key:?}"),
                (Fate::Sent, false) => Fate::Deleted,
                (Fate::Marked(quit), there) => {
                    quits.entry(quit).or_default()[usize::from(there)] += 1;
                    if there { Fate::Stored } else { Fate::Deleted }
                }
                (_, true) => Fate::Stored,
                (Fate::Deleted, false) => Fate::Deleted,
            };
        }
        for (quit, [gone, there]) in quits {
            let whole = gone == 0 || there == 0;
            assert!(whole, "half a QUIT ({quit}): {gone} gone, {there} there");
        }
    }
}

impl Found {
    fn is_whole(&self, number: u64) {
        let sent = octets(number);
        let length = i64::try_from(sent.len()).unwrap();
        let shown = (
            self.octets,
            self.trace_octets,
            self.content_octets,
            self.chunk_octets,
        );
        let whole = self.content_octets == length
            && self.chunk_octets == length
            && self.octets == length + self.trace_octets;
        assert!(
            whole,
            "half a message: {number} has {length} octets, not {shown:?}"
        );
        assert!(sent.starts_with(&self.first_chunk), "changed: {number}");
    }
}
