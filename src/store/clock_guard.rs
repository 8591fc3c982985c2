//! Detects jumps of the database's clock, so that no mail is removed by a wrong time.
//!
//! Expiry and the end of `DeletedRetention` go by the database's clock. If that is a year ahead,
//! all mail is too old at once. So each round compares the progress of that clock with that of
//! this machine's time since boot, which can't be set. The last result is in the database too, so
//! that a server that restarts knows whether the clock has jumped meanwhile.
//!
//! After a reboot, or on another machine, a wrong clock looks the same as servers that were off for
//! some days. Then the clock is watched for a day before it is trusted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock_record::{ClockRecord, Machine};
use super::raw::now;
use super::{Database, StoreError};

/// Maximum difference between the clock and its expected time.
const MAX_JUMP_MS: i64 = 24 * 60 * 60 * 1000;

/// Time for which an unexplained clock is watched before it is trusted.
const PROBATION_MS: i64 = 24 * 60 * 60 * 1000;

/// Interval at which the record is renewed, and a jump logged.
const INTERVAL_MS: i64 = 60 * 60 * 1000;

/// Watches the clock of a database.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClockGuard(Arc<Mutex<Watch>>);

/// The verdict on the clock of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockVerdict {
    /// It shows the expected time.
    #[default]
    Right,
    /// It has jumped by this many milliseconds.
    Jumped(i64),
    /// This many milliseconds lie between its last record and now, and it is unknown whether they
    /// have really passed.
    Unexplained(i64),
}

/// The time by which mail is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    /// The clock of the database; if it can't be believed, the latest time that is certain.
    pub(super) certain_ms: i64,
    /// True if the clock can be trusted.
    pub(super) is_right: bool,
}

/// A server's knowledge of the clock.
#[derive(Debug, Default)]
struct Watch {
    verdict: ClockVerdict,
    /// The clock's lead over this machine's time since boot, when it was right.
    ahead_ms: Option<i64>,
    /// The time since boot from which this machine has watched an unexplained clock.
    watched_since_ms: Option<i64>,
    /// The time since boot when the record was last renewed, or a jump last logged.
    noted_at_ms: Option<i64>,
}

impl ClockGuard {
    /// Returns the verdict of the last check.
    pub(crate) fn verdict(&self) -> ClockVerdict {
        self.watch().verdict
    }

    /// Checks the clock and returns the time.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn look(&self, database: &Database) -> Result<Time, StoreError> {
        let now_ms = now(database.read()).await?;
        let machine = Machine::here();
        let is_steady = self.watch().is_steady(now_ms, &machine);
        let record = if is_steady {
            None
        } else {
            database.clock_record().await?
        };
        let (time, renewed) = {
            let mut watch = self.watch();
            let before = watch.verdict;
            watch.verdict = if is_steady {
                ClockVerdict::Right
            } else {
                watch.judge(now_ms, &machine, record.as_ref())
            };
            watch.tell(before, &machine);
            watch.finish(before, now_ms, &machine, record)
        };
        if let Some(record) = renewed {
            database.write_clock_record(&record).await?;
        }
        Ok(time)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // A state that a panic left is judged again in the next round.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Returns true if the clock was right in the last round, and has advanced as this machine has.
    fn is_steady(&self, now_ms: i64, machine: &Machine) -> bool {
        let ahead_ms = now_ms - machine.since_boot_ms;
        self.verdict == ClockVerdict::Right
            && self
                .ahead_ms
                .is_some_and(|before| is_close(ahead_ms, before))
    }

    /// Decides by this server's knowledge and by the record.
    fn judge(
        &mut self,
        now_ms: i64,
        machine: &Machine,
        record: Option<&ClockRecord>,
    ) -> ClockVerdict {
        let Some(record) = record else {
            // This is the first check, or an operator has accepted the clock.
            return ClockVerdict::Right;
        };
        let is_near = is_close(now_ms, record.right_at_ms);
        let here = record.ahead_ms_on(machine);
        if let Some(before) = self.ahead_ms.or(here) {
            self.ahead_ms = Some(before);
            let jump_ms = now_ms - machine.since_boot_ms - before;
            // This machine may have been stopped; then others have found the clock right since.
            let is_confirmed = here.is_none() && is_near && record.jumped_by_ms == 0;
            return if is_confirmed || is_close(jump_ms, 0) {
                ClockVerdict::Right
            } else {
                ClockVerdict::Jumped(jump_ms)
            };
        }
        if is_near && record.jumped_by_ms >= 0 {
            return ClockVerdict::Right;
        }
        if record.jumped_by_ms != 0 {
            // Only the machine that noticed, or an operator, can say whether it is right again.
            return ClockVerdict::Jumped(record.jumped_by_ms);
        }
        let since_ms = *self.watched_since_ms.get_or_insert(machine.since_boot_ms);
        if machine.since_boot_ms - since_ms >= PROBATION_MS {
            return ClockVerdict::Right;
        }
        ClockVerdict::Unexplained(now_ms - record.right_at_ms)
    }

    /// Updates this server's knowledge; returns the time, and the record if it must be written.
    fn finish(
        &mut self,
        before: ClockVerdict,
        now_ms: i64,
        machine: &Machine,
        record: Option<ClockRecord>,
    ) -> (Time, Option<ClockRecord>) {
        let is_right = self.verdict == ClockVerdict::Right;
        let is_due = before != self.verdict || self.is_due(machine);
        if is_due {
            self.noted_at_ms = Some(machine.since_boot_ms);
        }
        if is_right {
            self.ahead_ms = Some(now_ms - machine.since_boot_ms);
            self.watched_since_ms = None;
            let time = Time {
                certain_ms: now_ms,
                is_right,
            };
            return (time, is_due.then(|| ClockRecord::right(now_ms, machine)));
        }
        let expected_ms = match (self.ahead_ms, &record) {
            (Some(ahead_ms), _) => machine.since_boot_ms + ahead_ms,
            (None, Some(record)) => record.right_at_ms,
            (None, None) => now_ms,
        };
        let time = Time {
            certain_ms: expected_ms.min(now_ms),
            is_right,
        };
        let jumped = match self.verdict {
            ClockVerdict::Jumped(by_ms) => Some(by_ms),
            ClockVerdict::Right | ClockVerdict::Unexplained(_) => None,
        };
        let flag = |(mut record, by_ms): (ClockRecord, i64)| {
            let is_new = record.jumped_by_ms == 0;
            record.jumped_by_ms = by_ms;
            is_new.then_some(record)
        };
        (time, record.zip(jumped).and_then(flag))
    }

    /// Logs a change of the verdict at once, and an unchanged one once an interval.
    fn tell(&self, before: ClockVerdict, machine: &Machine) {
        let is_due = before != self.verdict || self.is_due(machine);
        match self.verdict {
            ClockVerdict::Right if before != ClockVerdict::Right => {
                tracing::info!("the clock of the database is believed again: mail expires");
            }
            ClockVerdict::Jumped(by_ms) if is_due => tracing::error!(
                jump = shown_days(by_ms),
                "the clock of the database has jumped: no mail expires, and deleted mail is kept; \
                 set the clock, or run \"restante clock --accept\" if it is right now"
            ),
            ClockVerdict::Unexplained(gap_ms) if is_due => tracing::warn!(
                gap = shown_days(gap_ms),
                "no server has looked at the clock of the database for more than a day: it is \
                 watched for a day before mail expires; run \"restante clock --accept\" if it is right"
            ),
            ClockVerdict::Right | ClockVerdict::Jumped(_) | ClockVerdict::Unexplained(_) => {}
        }
    }

    fn is_due(&self, machine: &Machine) -> bool {
        self.noted_at_ms
            .is_none_or(|at| machine.since_boot_ms - at >= INTERVAL_MS)
    }
}

fn is_close(one_ms: i64, other_ms: i64) -> bool {
    one_ms.abs_diff(other_ms) <= MAX_JUMP_MS.unsigned_abs()
}

/// Formats a signed duration to the nearest day or hour: `+400 days`, `-30 hours`.
pub(crate) fn shown_days(milliseconds: i64) -> String {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    let nearest = |unit: i64| {
        let half = milliseconds.signum() * (unit / 2);
        milliseconds.saturating_add(half) / unit
    };
    if nearest(HOUR_MS).abs() >= 72 {
        format!("{:+} days", nearest(DAY_MS))
    } else {
        format!("{:+} hours", nearest(HOUR_MS))
    }
}

#[cfg(test)]
mod tests;
