//! What a session does: its commands, octets and times.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use pop3::Verb;

use crate::registry::SessionReport;

/// The flag beside the verb in `command` while the client is waited for.
const WAITING: u8 = 0x80;

/// The commands, octets and times of a session.
#[derive(Debug)]
pub(crate) struct Activity {
    connected_at: SystemTime,
    /// The same moment by a clock that is never set.
    since: Instant,
    /// Milliseconds after `connected_at`.
    last_activity_ms: AtomicU64,
    /// The last verb, and [`WAITING`] once it is done.
    command: AtomicU8,
    marked: AtomicU32,
    committed: AtomicU32,
    retrieved: AtomicU32,
    tops: AtomicU32,
    retrs: AtomicU32,
    deles: AtomicU32,
    uidls: AtomicU32,
    delivered: AtomicU32,
    refused: AtomicU32,
    octets_sent: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            connected_at: SystemTime::now(),
            since: Instant::now(),
            last_activity_ms: AtomicU64::new(0),
            command: AtomicU8::new(u8::MAX),
            marked: AtomicU32::new(0),
            committed: AtomicU32::new(0),
            retrieved: AtomicU32::new(0),
            tops: AtomicU32::new(0),
            retrs: AtomicU32::new(0),
            deles: AtomicU32::new(0),
            uidls: AtomicU32::new(0),
            delivered: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            octets_sent: AtomicU64::new(0),
        }
    }
}

impl Activity {
    /// The time of the connection.
    pub(super) fn connected_at(&self) -> SystemTime {
        self.connected_at
    }

    /// A command begins.
    pub(crate) fn begin_command(&self, verb: Verb) {
        self.command.store(verb as u8, Relaxed);
        match verb {
            Verb::Top => add_one(&self.tops),
            Verb::Retr => add_one(&self.retrs),
            Verb::Dele => add_one(&self.deles),
            Verb::Uidl => add_one(&self.uidls),
            Verb::Auth
            | Verb::Capa
            | Verb::List
            | Verb::Noop
            | Verb::Pass
            | Verb::Quit
            | Verb::Rset
            | Verb::Stat
            | Verb::Stls
            | Verb::User
            | Verb::Unknown => {}
        }
    }

    /// All commands are done, and the client is waited for.
    pub(crate) fn wait_for_client(&self) {
        self.command
            .store(self.command.load(Relaxed) | WAITING, Relaxed);
    }

    /// Returns true if the client is waited for.
    pub(super) fn waits(&self) -> bool {
        self.command.load(Relaxed) & WAITING != 0
    }

    /// Octets have just gone one way or the other.
    pub(crate) fn note(&self) {
        let since = self.since.elapsed().as_millis();
        self.last_activity_ms
            .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    /// The time since octets last went either way.
    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_activity_ms.load(Relaxed));
        self.since.elapsed().saturating_sub(last)
    }

    /// Sets the number of messages that are marked as deleted.
    pub(crate) fn set_marked(&self, marked: usize) {
        let marked = u32::try_from(marked).unwrap_or(u32::MAX);
        self.marked.store(marked, Relaxed);
    }

    /// Sets the number of committed deletions, which the client may never learn of.
    pub(crate) fn set_committed(&self, deleted: usize) {
        let deleted = u32::try_from(deleted).unwrap_or(u32::MAX);
        self.committed.store(deleted, Relaxed);
    }

    /// The number of committed deletions.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Relaxed).into()
    }

    /// A message was sent whole.
    pub(crate) fn add_retrieved(&self) {
        add_one(&self.retrieved);
    }

    /// A copy of a message was stored.
    pub(crate) fn add_delivered(&self) {
        add_one(&self.delivered);
    }

    /// A copy of a message was refused.
    pub(crate) fn add_refused(&self) {
        add_one(&self.refused);
    }

    /// The numbers of stored and refused copies of messages.
    pub(crate) fn deliveries(&self) -> (u64, u64) {
        let refused = self.refused.load(Relaxed);
        (self.delivered.load(Relaxed).into(), refused.into())
    }

    /// Octets were sent to the client.
    pub(crate) fn add_sent(&self, octets: u64) {
        self.octets_sent.fetch_add(octets, Relaxed);
        self.note();
    }

    /// Adds the activity to the report of a session.
    pub(super) fn fill(&self, report: SessionReport) -> SessionReport {
        let command = self.command.load(Relaxed);
        let last = Verb::ALL.get(usize::from(command & !WAITING));
        let last = last.map(|verb| verb.as_str());
        let since = Duration::from_millis(self.last_activity_ms.load(Relaxed));
        SessionReport {
            command: last.filter(|_| command & WAITING == 0),
            last_command: last,
            connected_at: self.connected_at,
            last_activity_at: self.connected_at + since,
            deleted: self.marked.load(Relaxed).into(),
            retrieved: self.retrieved.load(Relaxed).into(),
            tops: self.tops.load(Relaxed).into(),
            retrs: self.retrs.load(Relaxed).into(),
            deles: self.deles.load(Relaxed).into(),
            uidls: self.uidls.load(Relaxed).into(),
            delivered: self.delivered.load(Relaxed).into(),
            octets_sent: self.octets_sent.load(Relaxed),
            ..report
        }
    }
}

/// Only the session itself writes, so nothing is lost between reading and writing.
fn add_one(count: &AtomicU32) {
    count.store(count.load(Relaxed).saturating_add(1), Relaxed);
}
