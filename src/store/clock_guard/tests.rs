//! Verdicts on clocks that are right, jump, or can't be explained.

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
