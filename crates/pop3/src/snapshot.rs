//! The maildrop at the time of the login, and the marks of DELE.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

/// The number of a message in a session: 1 is the oldest (RFC 1939, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageNumber(NonZeroU32);

impl MessageNumber {
    /// `None` for 0 and for numbers larger than any maildrop.
    pub fn new(number: u64) -> Option<Self> {
        u32::try_from(number)
            .ok()
            .and_then(NonZeroU32::new)
            .map(Self)
    }

    /// The place in a list that starts at 0.
    pub fn index(self) -> usize {
        // A u32 fits into the usize of every machine that this runs on.
        self.0.get() as usize - 1
    }

    fn from_index(index: usize) -> Option<Self> {
        Self::new(index as u64 + 1)
    }
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a message, which never changes: 1 to 70 octets of 0x21 to 0x7E (RFC 1939, section 7),
/// or up to 200 if another server has made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UniqueId(String);

/// A text that can't be a unique-id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a unique-id has 1 to 70 characters between ! and ~ (200 if it is imported), not {0:?}")]
pub struct InvalidUniqueId(String);

impl UniqueId {
    /// The longest unique-id that is made, in octets.
    pub const MAX_OCTETS: usize = 70;

    /// The longest unique-id that is taken over from another server, in octets.
    pub const MAX_IMPORTED_OCTETS: usize = 200;

    /// Checks the text.
    ///
    /// # Errors
    /// If it is empty, longer than 70 octets, or has any other character than `!` to `~`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidUniqueId> {
        Self::of_at_most(Self::MAX_OCTETS, text.into())
    }

    /// Checks a unique-id of another server. Some servers made longer ones than RFC 1939 allows, and
    /// clients know the messages by them.
    ///
    /// # Errors
    /// If it is empty, longer than 200 octets, or has any other character than `!` to `~`.
    pub fn imported(text: impl Into<String>) -> Result<Self, InvalidUniqueId> {
        Self::of_at_most(Self::MAX_IMPORTED_OCTETS, text.into())
    }

    fn of_at_most(octets: usize, text: String) -> Result<Self, InvalidUniqueId> {
        Self::check(octets, &text)?;
        Ok(Self(text))
    }

    fn check(octets: usize, text: &str) -> Result<(), InvalidUniqueId> {
        let graphic = text.bytes().all(|octet| octet.is_ascii_graphic());
        if graphic && (1..=octets).contains(&text.len()) {
            Ok(())
        } else {
            Err(InvalidUniqueId(text.to_owned()))
        }
    }

    /// The text as UIDL sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The messages of a maildrop at login, oldest first. Sessions share one while nothing changes.
///
/// A maildrop may hold a million messages. So each property is a list of its own, without gaps
/// between its values, and the unique-ids are one string.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    sizes: Vec<u64>,
    unique_ids: String,
    /// Where the unique-id of each message ends in `unique_ids`.
    unique_id_ends: Vec<u32>,
    octets: u64,
    hidden: u64,
}

/// Why a message can't be added to a snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// Its unique-id is none.
    #[error(transparent)]
    UniqueId(#[from] InvalidUniqueId),
    /// The unique-ids have 4 GiB together.
    #[error("the unique-ids of a maildrop have at most 4 GiB together")]
    Full,
}

impl Snapshot {
    /// Adds the next younger message. Its unique-id may be an imported one.
    ///
    /// # Errors
    /// If that is no unique-id, or there is no room for it.
    pub fn push(&mut self, octets: u64, unique_id: &str) -> Result<(), SnapshotError> {
        UniqueId::check(UniqueId::MAX_IMPORTED_OCTETS, unique_id)?;
        let end = u32::try_from(self.unique_ids.len() + unique_id.len());
        self.unique_id_ends
            .push(end.map_err(|_| SnapshotError::Full)?);
        self.unique_ids.push_str(unique_id);
        self.sizes.push(octets);
        self.octets += octets;
        Ok(())
    }

    /// Returns the snapshot with its messages in the opposite order.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut reversed = Self {
            sizes: self.sizes.iter().rev().copied().collect(),
            unique_ids: String::with_capacity(self.unique_ids.len()),
            unique_id_ends: Vec::with_capacity(self.unique_id_ends.len()),
            octets: self.octets,
            hidden: self.hidden,
        };
        let mut end = 0;
        for index in (0..self.len()).rev() {
            let range = self.unique_id_range(index).unwrap_or_default();
            end += u32::try_from(range.len()).unwrap_or_default();
            let unique_id = self.unique_ids.get(range).unwrap_or_default();
            reversed.unique_ids.push_str(unique_id);
            reversed.unique_id_ends.push(end);
        }
        reversed
    }

    /// Leaves out all messages but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.sizes.truncate(count);
        self.octets = self.sizes.iter().sum();
        self.unique_id_ends.truncate(count);
        let end = self.unique_id_ends.last().copied().unwrap_or_default();
        self.unique_ids.truncate(end as usize);
    }

    /// Gives back the memory that was kept for further messages.
    pub fn shrink_to_fit(&mut self) {
        self.sizes.shrink_to_fit();
        self.unique_ids.shrink_to_fit();
        self.unique_id_ends.shrink_to_fit();
    }

    /// The octets of memory that it takes.
    pub fn memory_octets(&self) -> usize {
        size_of::<Self>()
            + self.sizes.capacity() * size_of::<u64>()
            + self.unique_ids.capacity()
            + self.unique_id_ends.capacity() * size_of::<u32>()
    }

    /// Notes that the maildrop has so many older messages, which a limit hides from the session.
    pub fn hide(&mut self, older: u64) {
        self.hidden = older;
    }

    /// The number of older messages that a limit hides from the session.
    pub fn hidden(&self) -> u64 {
        self.hidden
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Returns true if there is no message.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The sum of all octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The octets of one message, as RETR sends them before byte-stuffing.
    pub fn octets_of(&self, number: MessageNumber) -> Option<u64> {
        self.sizes.get(number.index()).copied()
    }

    /// The unique-id of one message.
    pub fn unique_id_of(&self, number: MessageNumber) -> Option<&str> {
        self.unique_ids.get(self.unique_id_range(number.index())?)
    }

    fn unique_id_range(&self, index: usize) -> Option<Range<usize>> {
        let end = *self.unique_id_ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.unique_id_ends.get(before)?,
            None => 0,
        };
        Some(start as usize..end as usize)
    }
}

/// The messages that DELE has marked, one bit each. It holds no memory before the first DELE.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Marks {
    words: Vec<u64>,
    count: usize,
}

impl Marks {
    const BITS: usize = u64::BITS as usize;

    /// Returns true if this message is marked.
    pub fn contains(&self, number: MessageNumber) -> bool {
        let word = self.words.get(number.index() / Self::BITS);
        word.is_some_and(|word| word & Self::bit(number) != 0)
    }

    /// The number of marked messages.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns true if no message is marked.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The marked messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = MessageNumber> + '_ {
        let all = (0..self.words.len() * Self::BITS).filter_map(MessageNumber::from_index);
        all.filter(|number| self.contains(*number))
    }

    pub(crate) fn insert(&mut self, number: MessageNumber) {
        let at = number.index() / Self::BITS;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            self.count += usize::from(*word & Self::bit(number) == 0);
            *word |= Self::bit(number);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn bit(number: MessageNumber) -> u64 {
        1 << (number.index() % Self::BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn message_number_zero_does_not_exist() {
        assert_eq!(MessageNumber::new(0), None);
        assert_eq!(MessageNumber::new(u64::MAX), None);
        assert_eq!(MessageNumber::new(1).map(MessageNumber::index), Some(0));
    }

    #[test]
    fn a_unique_id_has_1_to_70_graphic_octets() {
        assert!(UniqueId::new("").is_err());
        assert!(UniqueId::new("x".repeat(70)).is_ok());
        assert!(UniqueId::new("x".repeat(71)).is_err());
        assert!(UniqueId::new("!~").is_ok());
        for bad in ["a b", "a\u{7f}", "ä", "a\r\n"] {
            assert!(UniqueId::new(bad).is_err(), "{bad:?}");
            assert!(UniqueId::imported(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_unique_id_of_another_server_may_have_200_octets() {
        assert!(UniqueId::imported("").is_err());
        assert!(UniqueId::imported("x".repeat(200)).is_ok());
        assert!(UniqueId::imported("x".repeat(201)).is_err());
    }

    #[test]
    fn a_snapshot_tells_each_message_apart() {
        let mut snapshot = Snapshot::default();
        for (octets, id) in [(10, "a"), (20, "bcd"), (30, "e")] {
            snapshot.push(octets, id).unwrap();
        }
        let ids = |snapshot: &Snapshot| {
            let id = |n| {
                snapshot
                    .unique_id_of(MessageNumber::new(n)?)
                    .map(str::to_owned)
            };
            (1..5).map(id).collect::<Vec<_>>()
        };
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(ids(&snapshot), [id("a"), id("bcd"), id("e"), None]);
        let reversed = snapshot.reversed();
        assert_eq!(ids(&reversed), [id("e"), id("bcd"), id("a"), None]);
        assert_eq!(reversed.octets_of(MessageNumber::new(1).unwrap()), Some(30));
        assert_eq!(reversed.reversed(), snapshot);
        assert_eq!(snapshot.octets_of(MessageNumber::new(2).unwrap()), Some(20));
        assert_eq!((snapshot.len(), snapshot.octets()), (3, 60));
        snapshot.truncate(2);
        assert_eq!(ids(&snapshot), [id("a"), id("bcd"), None, None]);
        assert_eq!((snapshot.len(), snapshot.octets()), (2, 30));
        snapshot.truncate(0);
        assert_eq!(snapshot, Snapshot::default());
    }

    #[test]
    fn what_is_no_unique_id_is_not_added() {
        let mut snapshot = Snapshot::default();
        for bad in ["", "a b", &"x".repeat(201)] {
            let refused = snapshot.push(10, bad);
            assert!(
                matches!(refused, Err(SnapshotError::UniqueId(_))),
                "{bad:?}"
            );
        }
        assert_eq!(snapshot, Snapshot::default());
        snapshot.push(10, &"x".repeat(200)).unwrap();
        assert_eq!((snapshot.len(), snapshot.octets()), (1, 10));
    }

    #[test]
    fn a_message_takes_its_size_its_unique_id_and_four_octets() {
        let mut snapshot = Snapshot::default();
        for number in 0..10_000 {
            snapshot.push(number, &format!("{number:016}")).unwrap();
        }
        snapshot.shrink_to_fit();
        let apart = size_of::<Snapshot>();
        assert_eq!(snapshot.memory_octets() - apart, 10_000 * (8 + 16 + 4));
    }

    proptest! {
        #[test]
        fn marks_are_a_set(numbers in proptest::collection::vec(1u64..500, 0..100)) {
            let mut marks = Marks::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                let number = MessageNumber::new(number).unwrap();
                marks.insert(number);
                set.insert(number);
                prop_assert!(marks.contains(number));
            }
            prop_assert_eq!(marks.len(), set.len());
            prop_assert!(marks.iter().eq(set));
        }
    }
}
