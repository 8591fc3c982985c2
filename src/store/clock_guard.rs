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
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * 60 * 1000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    /// The true time of this machine's boot.
    const BOOT_MS: i64 = 1_800_000_000_000;

    /// Returns this machine at a time since its boot.
    fn machine(since_boot_ms: i64) -> Machine {
        Machine {
            boot: "here".into(),
            since_boot_ms,
        }
    }

    /// A server and the stored record.
    #[derive(Default)]
    struct Server {
        watch: Watch,
        record: Option<ClockRecord>,
    }

    impl Server {
        /// Runs a round at a time since boot, with a clock that is wrong by `wrong_by_ms`.
        fn round(&mut self, since_boot_ms: i64, wrong_by_ms: i64) -> (ClockVerdict, i64) {
            self.round_on(machine(since_boot_ms), wrong_by_ms)
        }

        fn round_on(&mut self, machine: Machine, wrong_by_ms: i64) -> (ClockVerdict, i64) {
            let now_ms = BOOT_MS + machine.since_boot_ms + wrong_by_ms;
            let before = self.watch.verdict;
            let is_steady = self.watch.is_steady(now_ms, &machine);
            let record = self.record.clone().filter(|_| !is_steady);
            self.watch.verdict = if is_steady {
                ClockVerdict::Right
            } else {
                self.watch.judge(now_ms, &machine, record.as_ref())
            };
            let (time, renewed) = self.watch.finish(before, now_ms, &machine, record);
            self.record = renewed.or_else(|| self.record.take());
            assert_eq!(time.is_right, self.watch.verdict == ClockVerdict::Right);
            (self.watch.verdict, time.certain_ms - BOOT_MS)
        }

        /// Restarts the process.
        fn restart(&mut self) {
            self.watch = Watch::default();
        }
    }

    #[test]
    fn a_clock_that_drifts_or_is_set_by_hours_is_believed() {
        let mut server = Server::default();
        let mut wrong_by_ms = 0;
        for hour in 0..100 {
            wrong_by_ms += if hour % 2 == 0 {
                20 * HOUR_MS
            } else {
                -19 * HOUR_MS
            };
            let (verdict, certain_ms) = server.round(hour * HOUR_MS, wrong_by_ms);
            assert_eq!(verdict, ClockVerdict::Right, "hour {hour}");
            assert_eq!(certain_ms, hour * HOUR_MS + wrong_by_ms);
        }
    }

    #[test]
    fn a_jump_is_noticed_in_a_running_server_and_after_its_restart_until_the_clock_is_right() {
        for jump_ms in [400 * DAY_MS, DAY_MS + HOUR_MS, -2 * DAY_MS] {
            let mut server = Server::default();
            assert_eq!(server.round(0, 0).0, ClockVerdict::Right);
            let (verdict, certain_ms) = server.round(HOUR_MS, jump_ms);
            assert_eq!(verdict, ClockVerdict::Jumped(jump_ms));
            assert_eq!(certain_ms, HOUR_MS + jump_ms.min(0));
            assert_eq!(server.record.as_ref().unwrap().jumped_by_ms, jump_ms);
            server.restart();
            // The verdict stays, however long the server runs.
            for days in [1, 30] {
                let (verdict, certain_ms) = server.round(days * DAY_MS, jump_ms);
                assert_eq!(verdict, ClockVerdict::Jumped(jump_ms));
                assert_eq!(certain_ms, days * DAY_MS + jump_ms.min(0));
            }
            assert_eq!(server.round(31 * DAY_MS, 0).0, ClockVerdict::Right);
            assert_eq!(server.record.as_ref().unwrap().jumped_by_ms, 0);
        }
    }

    #[test]
    fn an_operator_may_say_that_the_clock_is_right_now() {
        let mut server = Server::default();
        server.round(0, -400 * DAY_MS);
        assert_eq!(server.round(5000, 0).0, ClockVerdict::Jumped(400 * DAY_MS));
        server.record = None;
        assert_eq!(server.round(10_000, 0).0, ClockVerdict::Right);
        server.restart();
        assert_eq!(server.round(DAY_MS, 0).0, ClockVerdict::Right);
    }

    #[test]
    fn a_server_that_was_stopped_for_days_goes_on_at_once_and_one_whose_clock_jumped_does_not() {
        let mut server = Server::default();
        server.round(0, 0);
        server.restart();
        assert_eq!(server.round(3 * DAY_MS, 0).0, ClockVerdict::Right);
        server.restart();
        let (verdict, certain_ms) = server.round(3 * DAY_MS + 5000, 3 * DAY_MS);
        assert_eq!(verdict, ClockVerdict::Jumped(3 * DAY_MS));
        assert_eq!(certain_ms, 3 * DAY_MS + 5000);
    }

    #[test]
    fn after_a_reboot_a_clock_that_has_come_far_is_watched_for_a_day() {
        let mut server = Server::default();
        server.round(0, 0);
        server.restart();
        // The machine was off for three days.
        let elsewhere = |since_boot_ms| Machine {
            boot: "another boot".into(),
            since_boot_ms,
        };
        for since_boot_ms in [0, HOUR_MS, DAY_MS - 1] {
            let (verdict, certain_ms) = server.round_on(elsewhere(since_boot_ms), 3 * DAY_MS);
            let gap_ms = 3 * DAY_MS + since_boot_ms;
            assert_eq!(verdict, ClockVerdict::Unexplained(gap_ms));
            assert_eq!(certain_ms, 0);
        }
        let (verdict, _) = server.round_on(elsewhere(DAY_MS), 3 * DAY_MS);
        assert_eq!(verdict, ClockVerdict::Right);
        // A server that was off for some hours trusts the clock at once.
        server.restart();
        let soon = Machine {
            boot: "a third".into(),
            since_boot_ms: 0,
        };
        assert_eq!(
            server.round_on(soon, 4 * DAY_MS + 8 * HOUR_MS).0,
            ClockVerdict::Right
        );
    }

    #[test]
    fn another_machine_does_not_believe_a_clock_that_has_jumped_elsewhere() {
        let mut server = Server::default();
        server.round(0, 0);
        server.round(5000, 400 * DAY_MS);
        server.restart();
        let other = |since_boot_ms| Machine {
            boot: "other".into(),
            since_boot_ms,
        };
        for since_boot_ms in [10_000, 30 * DAY_MS] {
            let (verdict, _) = server.round_on(other(since_boot_ms), 400 * DAY_MS);
            assert_eq!(verdict, ClockVerdict::Jumped(400 * DAY_MS));
        }
        // Once the clock is right again, it is trusted.
        assert_eq!(server.round_on(other(20_000), 0).0, ClockVerdict::Right);
    }

    #[test]
    fn a_machine_that_was_asleep_believes_those_that_were_not() {
        let mut server = Server::default();
        server.round(0, 0);
        // Two days have gone by for the others, and none here.
        let awake = Machine {
            boot: "awake".into(),
            since_boot_ms: 2 * DAY_MS,
        };
        server.record = Some(ClockRecord::right(BOOT_MS + 2 * DAY_MS, &awake));
        assert_eq!(server.round(5000, 2 * DAY_MS).0, ClockVerdict::Right);
    }

    #[test]
    fn the_record_is_renewed_each_hour() {
        let mut server = Server::default();
        server.round(0, 0);
        let mut renewed = 0;
        for round in 1..=36 {
            let known = server.record.clone();
            server.round(round * 5 * 60 * 1000, 0);
            renewed += usize::from(server.record != known);
        }
        assert_eq!(renewed, 3);
    }

    #[test]
    fn jumps_are_shown_in_days_or_hours() {
        for (milliseconds, shown) in [
            (400 * DAY_MS + HOUR_MS, "+400 days"),
            (400 * DAY_MS - 1, "+400 days"),
            (-3 * DAY_MS, "-3 days"),
            (30 * HOUR_MS, "+30 hours"),
            (-30 * HOUR_MS, "-30 hours"),
        ] {
            assert_eq!(shown_days(milliseconds), shown);
        }
    }
}
