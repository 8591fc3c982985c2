//! Wrong keys slow down whoever tries them, and nobody else for long.
//!
//! Each wrong key from a client's network sets a gate: the time at which it is answered, and before
//! which no other attempt from there is verified. The gate is 2 s after the first wrong key, then
//! 4, 8 and 15 s, as the settings have it. Time is an argument, so nothing here waits.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::networks::client_network;

/// How many networks are remembered. Beyond it the one that would be forgotten first is.
const MAX_NETWORKS: usize = 10_000;

/// For each wrong key a network is remembered so long; then its next delay is a step shorter.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// So many wrong keys are remembered of a network: after ten minutes all is forgotten.
const MAX_STEPS: u32 = 10;

/// The wrong keys that came lately, by the network from which they came.
#[derive(Debug)]
pub struct Attempts {
    first_delay: Duration,
    longest_delay: Duration,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    networks: HashMap<IpAddr, Row>,
    /// The same networks, those that are forgotten first in front.
    forgotten: BTreeSet<(Instant, IpAddr)>,
}

/// What is remembered of a network.
#[derive(Debug, Clone, Copy)]
struct Row {
    gate: Instant,
    /// Its wrong keys are forgotten one by one, and the last of them then.
    forgotten_at: Instant,
}

impl Attempts {
    /// Nobody has tried yet. A first delay of zero is no delay at all.
    pub fn new(first_delay: Duration, longest_delay: Duration) -> Self {
        Self {
            first_delay,
            longest_delay,
            rows: Mutex::default(),
        }
    }

    /// Until when an attempt of this client that arrives now must wait before it is verified.
    ///
    /// It waits for the gate as it is now, whatever others try meanwhile: so never longer than the
    /// longest delay, and then a right key works.
    pub fn gate(&self, client: IpAddr, now: Instant) -> Option<Instant> {
        let rows = self.rows();
        let row = rows.networks.get(&client_network(client))?;
        Some(row.gate).filter(|gate| *gate > now)
    }

    /// The client has tried a wrong key: when it may be told so.
    ///
    /// A right key forgives nothing, or who has one could try others in between.
    pub fn failed(&self, client: IpAddr, now: Instant) -> Instant {
        if self.first_delay.is_zero() {
            return now;
        }
        let network = client_network(client);
        let mut rows = self.rows();
        let before = rows.take(network);
        let steps = before.map_or(0, |row| steps_left(row, now)) + 1;
        let steps = steps.min(MAX_STEPS);
        let gate = now + self.delay(steps);
        let gate = before.map_or(gate, |row| gate.max(row.gate));
        let forgotten_at = now + FORGIVEN_AFTER * steps;
        rows.put(network, Row { gate, forgotten_at });
        gate
    }

    fn delay(&self, steps: u32) -> Duration {
        let doubled = 1_u32.checked_shl(steps - 1).unwrap_or(u32::MAX);
        let delay = self.first_delay.saturating_mul(doubled);
        delay.min(self.longest_delay)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Whoever holds the lock can't panic between the two changes.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many wrong keys of a network are not forgotten yet.
fn steps_left(row: Row, now: Instant) -> u32 {
    let left = row.forgotten_at.saturating_duration_since(now);
    let steps = left.as_millis().div_ceil(FORGIVEN_AFTER.as_millis());
    u32::try_from(steps).unwrap_or(MAX_STEPS)
}

impl Rows {
    fn take(&mut self, network: IpAddr) -> Option<Row> {
        let row = self.networks.remove(&network)?;
        self.forgotten.remove(&(row.forgotten_at, network));
        Some(row)
    }

    fn put(&mut self, network: IpAddr, row: Row) {
        while self.networks.len() >= MAX_NETWORKS {
            let Some((_, first)) = self.forgotten.pop_first() else {
                break;
            };
            self.networks.remove(&first);
        }
        self.networks.insert(network, row);
        self.forgotten.insert((row.forgotten_at, network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempts() -> Attempts {
        Attempts::new(SECOND * 2, SECOND * 15)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let (attempts, ada, mut now) = (attempts(), ip("192.0.2.1"), Instant::now());
        assert_eq!(attempts.gate(ada, now), None);
        for seconds in [2, 4, 8, 15, 15, 15, 15, 15, 15, 15, 15, 15] {
            let gate = attempts.failed(ada, now);
            assert_eq!(gate, now + SECOND * seconds);
            assert_eq!(attempts.gate(ada, now), Some(gate));
            assert_eq!(attempts.gate(ada, gate), None);
            now = gate;
        }
    }

    #[test]
    fn a_minute_without_a_wrong_key_forgives_one() {
        let (attempts, ada, began) = (attempts(), ip("192.0.2.1"), Instant::now());
        for _ in 0..3 {
            attempts.failed(ada, began);
        }
        let later = began + SECOND * 60;
        // Two are left, so this is the third again.
        assert_eq!(attempts.failed(ada, later), later + SECOND * 8);
        let much_later = later + SECOND * 180;
        let first_again = much_later + SECOND * 2;
        assert_eq!(attempts.failed(ada, much_later), first_again);
    }

    #[test]
    fn however_many_wrong_keys_came_all_is_forgotten_after_ten_minutes() {
        let (attempts, ada, began) = (attempts(), ip("192.0.2.1"), Instant::now());
        for _ in 0..1000 {
            attempts.failed(ada, began);
        }
        let later = began + FORGIVEN_AFTER * MAX_STEPS;
        assert_eq!(attempts.failed(ada, later), later + SECOND * 2);
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_delay() {
        let (attempts, ada, mut now) = (attempts(), ip("192.0.2.1"), Instant::now());
        for _ in 0..100 {
            attempts.failed(ada, now);
            let gate = attempts.gate(ada, now).unwrap();
            assert!(gate <= now + SECOND * 15);
            now += SECOND / 10;
        }
    }

    #[test]
    fn a_wrong_key_does_not_open_a_gate_that_is_set_for_later() {
        let (attempts, ada, now) = (attempts(), ip("192.0.2.1"), Instant::now());
        for _ in 0..4 {
            attempts.failed(ada, now);
        }
        let gate = now + SECOND * 15;
        assert_eq!(attempts.gate(ada, now), Some(gate));
        assert!(attempts.failed(ada, now + SECOND) >= gate);
    }

    #[test]
    fn another_address_is_not_slowed_and_another_of_the_same_ipv6_network_is() {
        let (attempts, now) = (attempts(), Instant::now());
        attempts.failed(ip("192.0.2.1"), now);
        assert!(attempts.gate(ip("::ffff:192.0.2.1"), now).is_some());
        assert!(attempts.gate(ip("192.0.2.2"), now).is_none());
        attempts.failed(ip("2001:db8::1"), now);
        assert!(attempts.gate(ip("2001:db8::ffff:2"), now).is_some());
        assert!(attempts.gate(ip("2001:db8:0:1::1"), now).is_none());
    }

    #[test]
    fn a_delay_of_zero_slows_nobody_and_remembers_nothing() {
        let attempts = Attempts::new(Duration::ZERO, SECOND * 15);
        let (ada, now) = (ip("192.0.2.1"), Instant::now());
        assert_eq!(attempts.failed(ada, now), now);
        assert_eq!(attempts.gate(ada, now), None);
        assert!(attempts.rows().networks.is_empty());
    }

    #[test]
    fn one_more_network_than_fit_forgets_the_one_that_matters_least() {
        let (attempts, now) = (attempts(), Instant::now());
        let stubborn = ip("192.0.2.1");
        attempts.failed(stubborn, now);
        attempts.failed(stubborn, now);
        let network = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let others = u32::try_from(MAX_NETWORKS).unwrap() - 1;
        for n in 0..others {
            attempts.failed(network(n), now + Duration::from_micros(n.into()));
        }
        assert!(attempts.gate(network(0), now).is_some(), "all fit");
        attempts.failed(network(others), now + SECOND);
        let rows = attempts.rows();
        assert_eq!(rows.networks.len(), MAX_NETWORKS);
        assert_eq!(rows.forgotten.len(), MAX_NETWORKS);
        assert!(!rows.networks.contains_key(&network(0)));
        assert!(rows.networks.contains_key(&network(1)));
        assert!(rows.networks.contains_key(&stubborn));
    }
}
