//! Failed logins delay further attempts of the same name from the same network.
//!
//! The first wrong secret of a name sets a gate 2 s ahead, the next ones 4, 8 and 15 s, as the
//! settings have it. The attempt that failed is answered at the gate, and an attempt of that name
//! from that network that arrives before it is not verified until then. Other names from there are
//! not delayed, so one device with an old key behind a NAT does not delay its neighbours. Time is
//! an argument, so nothing here waits.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::networks::{Networks, client_network};
use crate::settings::Pop3;

/// How many names are remembered, each with its network. Beyond that, the one that would expire
/// first is dropped.
const MAX_NAMES: usize = 10_000;

/// A failure is remembered for this long; then the next delay of its name is one step shorter.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The most failures that count of a name, so that all are forgiven after ten minutes.
const MAX_STEPS: u32 = 10;

/// How long the wrong secrets of a name are remembered since the last attempt. A device that polls
/// with an old key does so more often than this.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// Once this many names of one network have failed lately, somebody is guessing names there: each
/// further failure is answered after the longest delay.
const MAX_NAMES_PER_NETWORK: usize = 20;

/// How failed logins delay others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delays {
    /// The delay after the first failure, doubled with each that follows; zero is none at all.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// Addresses that are never delayed: many people share them.
    pub exempt: Exempt,
}

/// Client addresses that are never delayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Exempt {
    /// None.
    #[default]
    Nobody,
    /// Loopback, where a webmail speaks for everybody, and these networks.
    LoopbackAnd(Networks),
}

impl From<&Pop3> for Delays {
    /// A delay that is not set exempts the addresses that many people share.
    fn from(settings: &Pop3) -> Self {
        let exempt = match settings.auth_failure_delay {
            Some(_) => Exempt::Nobody,
            None => Exempt::LoopbackAnd(settings.proxy_networks.clone()),
        };
        Self {
            first: settings
                .auth_failure_delay
                .unwrap_or(Pop3::AUTH_FAILURE_DELAY),
            longest: settings.max_auth_failure_delay,
            exempt,
        }
    }
}

/// The failed logins of the last minutes.
#[derive(Debug)]
pub struct LoginThrottle {
    delays: Delays,
    hasher: RandomState,
    failures: Mutex<Failures>,
}

/// A name and the network that it was tried from. Names are hashed: a client chooses their length.
type Key = (IpAddr, u64);

#[derive(Debug, Default)]
struct Failures {
    rows: HashMap<Key, Row>,
    /// The same keys, those that expire first in front.
    by_expiry: BTreeSet<(Instant, Key)>,
    /// How many names of each network there are.
    names: HashMap<IpAddr, usize>,
}

/// What is remembered of a name.
#[derive(Debug, Clone)]
struct Row {
    gate: Instant,
    /// Its failures are forgiven one by one, the last of them at this time.
    forgiven_at: Instant,
    expires_at: Instant,
    /// Hashes of the last wrong secrets, at most [`MAX_STEPS`].
    secrets: Vec<u64>,
}

impl LoginThrottle {
    /// A throttle that no login has failed in yet.
    pub fn new(delays: Delays) -> Self {
        Self {
            delays,
            hasher: RandomState::new(),
            failures: Mutex::default(),
        }
    }

    /// Returns the time until which an attempt that arrives now must wait unverified, if any.
    ///
    /// That is the gate as it is now, regardless of what fails meanwhile. So nobody waits longer
    /// than the longest delay, and then a right secret works.
    pub fn wait_until(&self, client: IpAddr, name: &str, now: Instant) -> Option<Instant> {
        let failures = self.failures();
        let row = failures.rows.get(&self.key(client, name))?;
        Some(row.gate).filter(|gate| *gate > now)
    }

    /// Records a failed login, and returns when the client may be told.
    ///
    /// A secret that has failed lately for this name counts once: a device that keeps trying an old
    /// key guesses nothing. `secret` is `None` where it is not known, as in SCRAM.
    pub fn failed(
        &self,
        client: IpAddr,
        name: &str,
        secret: Option<&[u8]>,
        now: Instant,
    ) -> Instant {
        if self.delays.first.is_zero() || self.delays.exempt.contains(client) {
            return now;
        }
        let key = self.key(client, name);
        let secret = secret.map(|secret| self.hasher.hash_one(secret));
        let mut failures = self.failures();
        failures.expire(now);
        let before = failures.take(key);
        if let Some(row) = before.as_ref()
            && secret.is_some_and(|secret| row.secrets.contains(&secret))
        {
            let answer_at = row.gate.max(now + self.delays.first);
            let expires_at = now + REMEMBERED_FOR;
            failures.put(
                key,
                Row {
                    expires_at,
                    ..row.clone()
                },
            );
            return answer_at;
        }
        let steps = before.as_ref().map_or(0, |row| steps_left(row, now)) + 1;
        let steps = steps.min(MAX_STEPS);
        let known = before.as_ref().map_or(now, |row| row.gate);
        let mut secrets = before.map_or_else(Vec::new, |row| row.secrets);
        if secrets.len() >= MAX_STEPS as usize {
            secrets.remove(0);
        }
        secrets.extend(secret);
        let gate = known.max(now + self.delay(steps));
        failures.put(
            key,
            Row {
                gate,
                forgiven_at: now + FORGIVEN_AFTER * steps,
                expires_at: now + REMEMBERED_FOR,
                secrets,
            },
        );
        let names = failures.names.get(&key.0).copied().unwrap_or_default();
        if names > MAX_NAMES_PER_NETWORK {
            return gate.max(now + self.delays.longest);
        }
        gate
    }

    /// Forgets the failures of this name from this network: a right secret proves that there was
    /// nothing to guess.
    pub fn succeeded(&self, client: IpAddr, name: &str) {
        let mut failures = self.failures();
        if !failures.rows.is_empty() {
            failures.take(self.key(client, name));
        }
    }

    /// The name of a key behind the address (`ada@example.org#phone`) makes no other user.
    fn key(&self, client: IpAddr, name: &str) -> Key {
        let address = name.split('#').next().unwrap_or_default();
        let hash = self.hasher.hash_one(address.to_lowercase());
        (client_network(client), hash)
    }

    fn delay(&self, steps: u32) -> Duration {
        let doubled = 1_u32.checked_shl(steps - 1).unwrap_or(u32::MAX);
        let delay = self.delays.first.saturating_mul(doubled);
        delay.min(self.delays.longest)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        // No code panics between two changes that belong together.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exempt {
    fn contains(&self, client: IpAddr) -> bool {
        match self {
            Self::Nobody => false,
            Self::LoopbackAnd(networks) => {
                client.to_canonical().is_loopback() || networks.contain(client)
            }
        }
    }
}

/// How many failures of a name are not forgiven yet.
fn steps_left(row: &Row, now: Instant) -> u32 {
    let left = row.forgiven_at.saturating_duration_since(now);
    let steps = left.as_millis().div_ceil(FORGIVEN_AFTER.as_millis());
    u32::try_from(steps).unwrap_or(MAX_STEPS)
}

impl Failures {
    /// Removes the rows that have expired, except those whose gate lies ahead.
    fn expire(&mut self, now: Instant) {
        while let Some((at, key)) = self.by_expiry.first().copied()
            && at <= now
            && self.rows.get(&key).is_none_or(|row| row.gate <= now)
        {
            self.take(key);
        }
    }

    fn take(&mut self, key: Key) -> Option<Row> {
        let row = self.rows.remove(&key)?;
        self.by_expiry.remove(&(row.expires_at, key));
        if let Some(names) = self.names.get_mut(&key.0) {
            *names -= 1;
            if *names == 0 {
                self.names.remove(&key.0);
            }
        }
        Some(row)
    }

    fn put(&mut self, key: Key, row: Row) {
        while self.rows.len() >= MAX_NAMES
            && let Some((_, first)) = self.by_expiry.first().copied()
        {
            self.take(first);
        }
        self.by_expiry.insert((row.expires_at, key));
        self.rows.insert(key, row);
        *self.names.entry(key.0).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const ADA: &str = "ada@example.org";

    fn throttle_except(exempt: Exempt) -> LoginThrottle {
        LoginThrottle::new(Delays {
            first: SECOND * 2,
            longest: SECOND * 15,
            exempt,
        })
    }

    fn throttle() -> LoginThrottle {
        throttle_except(Exempt::Nobody)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn home() -> IpAddr {
        ip("192.0.2.1")
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let (throttle, mut now) = (throttle(), Instant::now());
        assert_eq!(throttle.wait_until(home(), ADA, now), None);
        for (n, seconds) in [2, 4, 8, 15, 15, 15, 15, 15, 15, 15, 15, 15]
            .into_iter()
            .enumerate()
        {
            let secret = n.to_string();
            let gate = throttle.failed(home(), ADA, Some(secret.as_bytes()), now);
            assert_eq!(gate, now + SECOND * seconds);
            assert_eq!(throttle.wait_until(home(), ADA, now), Some(gate));
            assert_eq!(throttle.wait_until(home(), ADA, gate), None);
            now = gate;
        }
    }

    #[test]
    fn another_name_from_the_same_network_is_not_delayed() {
        let (throttle, now) = (throttle(), Instant::now());
        for _ in 0..5 {
            throttle.failed(home(), ADA, None, now);
        }
        assert_eq!(throttle.wait_until(home(), "bob@example.org", now), None);
        let first = throttle.failed(home(), "bob@example.org", None, now);
        assert_eq!(first, now + SECOND * 2);
        // The same user by another key or in other letters is the same name.
        for ada in ["Ada@Example.ORG", "ada@example.org#phone"] {
            assert!(throttle.wait_until(home(), ada, now).is_some(), "{ada}");
        }
    }

    #[test]
    fn a_wrong_secret_that_is_repeated_counts_once() {
        let (throttle, mut now) = (throttle(), Instant::now());
        let old_key = Some(&b"old"[..]);
        throttle.failed(home(), ADA, old_key, now);
        for seconds in [2, 2, 3, 60, 300, 3599, 3599] {
            now += SECOND * seconds;
            let answer_at = throttle.failed(home(), ADA, old_key, now);
            assert_eq!(answer_at, now + SECOND * 2, "its own answer is still late");
            assert_eq!(throttle.wait_until(home(), ADA, now), None);
        }
        let guess = throttle.failed(home(), ADA, Some(b"guess"), now);
        assert_eq!(guess, now + SECOND * 2, "the first was forgiven long ago");
        let next = throttle.failed(home(), ADA, Some(b"another"), now);
        assert_eq!(next, now + SECOND * 4);
    }

    #[test]
    fn a_secret_that_nobody_knows_is_never_a_repetition() {
        let (throttle, now) = (throttle(), Instant::now());
        throttle.failed(home(), ADA, None, now);
        assert_eq!(throttle.failed(home(), ADA, None, now), now + SECOND * 4);
    }

    #[test]
    fn a_right_secret_forgets_the_failures_of_its_name_alone() {
        let (throttle, now) = (throttle(), Instant::now());
        for name in [ADA, "bob@example.org"] {
            throttle.failed(home(), name, None, now);
            throttle.failed(home(), name, None, now);
        }
        throttle.succeeded(home(), "ADA@example.org#laptop");
        assert_eq!(throttle.wait_until(home(), ADA, now), None);
        assert_eq!(throttle.failed(home(), ADA, None, now), now + SECOND * 2);
        assert!(
            throttle
                .wait_until(home(), "bob@example.org", now)
                .is_some()
        );
        throttle.succeeded(ip("198.51.100.1"), "bob@example.org");
        assert!(
            throttle
                .wait_until(home(), "bob@example.org", now)
                .is_some()
        );
    }

    #[test]
    fn a_network_that_tries_many_names_gets_its_answers_late() {
        let (throttle, now) = (throttle(), Instant::now());
        for n in 0..MAX_NAMES_PER_NETWORK {
            let first = throttle.failed(home(), &format!("u{n}@example.org"), None, now);
            assert_eq!(first, now + SECOND * 2);
        }
        let late = throttle.failed(home(), "one.more@example.org", None, now);
        assert_eq!(late, now + SECOND * 15);
        assert_eq!(throttle.wait_until(home(), ADA, now), None);
        // After an hour without any, the network is like others.
        let later = now + REMEMBERED_FOR;
        assert_eq!(
            throttle.failed(home(), ADA, None, later),
            later + SECOND * 2
        );
        assert_eq!(throttle.failures().rows.len(), 1);
    }

    #[test]
    fn a_minute_without_a_failure_forgives_one() {
        let (throttle, began) = (throttle(), Instant::now());
        for _ in 0..3 {
            throttle.failed(home(), ADA, None, began);
        }
        let later = began + SECOND * 60;
        // Two are left, so this is the third again.
        let third = throttle.failed(home(), ADA, None, later);
        assert_eq!(third, later + SECOND * 8);
        let much_later = later + SECOND * 180;
        let first_again = much_later + SECOND * 2;
        assert_eq!(throttle.failed(home(), ADA, None, much_later), first_again);
    }

    #[test]
    fn any_number_of_failures_is_forgotten_after_ten_minutes() {
        let (throttle, began) = (throttle(), Instant::now());
        for _ in 0..1000 {
            throttle.failed(home(), ADA, None, began);
        }
        let later = began + FORGIVEN_AFTER * MAX_STEPS;
        let first = throttle.failed(home(), ADA, None, later);
        assert_eq!(first, later + SECOND * 2);
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_delay() {
        let (throttle, mut now) = (throttle(), Instant::now());
        for _ in 0..100 {
            throttle.failed(home(), ADA, None, now);
            let gate = throttle.wait_until(home(), ADA, now).unwrap();
            assert!(gate <= now + SECOND * 15);
            now += SECOND / 10;
        }
    }

    #[test]
    fn a_failure_does_not_bring_a_gate_forward() {
        let (throttle, now) = (throttle(), Instant::now());
        for _ in 0..4 {
            throttle.failed(home(), ADA, None, now);
        }
        let gate = now + SECOND * 15;
        assert_eq!(throttle.wait_until(home(), ADA, now), Some(gate));
        assert!(throttle.failed(home(), ADA, None, now + SECOND) >= gate);
    }

    #[test]
    fn another_network_is_not_delayed_and_another_address_of_one_ipv6_network_is() {
        let (throttle, now) = (throttle(), Instant::now());
        let waits = |client| throttle.wait_until(ip(client), ADA, now).is_some();
        throttle.failed(home(), ADA, None, now);
        assert!(waits("::ffff:192.0.2.1"));
        assert!(!waits("192.0.2.2"));
        throttle.failed(ip("2001:db8::1"), ADA, None, now);
        assert!(waits("2001:db8::ffff:2"));
        assert!(!waits("2001:db8:0:1::1"));
    }

    #[test]
    fn addresses_that_many_share_are_exempt() {
        let proxies = "198.51.100.0/24".parse().unwrap();
        let throttle = throttle_except(Exempt::LoopbackAnd(proxies));
        let now = Instant::now();
        for exempt in ["127.0.0.1", "127.8.8.8", "::1", "198.51.100.7"] {
            assert_eq!(throttle.failed(ip(exempt), ADA, None, now), now);
            assert_eq!(throttle.wait_until(ip(exempt), ADA, now), None);
        }
        assert!(throttle.failed(home(), ADA, None, now) > now);
    }

    #[test]
    fn a_delay_of_zero_delays_nobody_and_remembers_nothing() {
        let delays = Delays {
            first: Duration::ZERO,
            longest: SECOND * 15,
            exempt: Exempt::Nobody,
        };
        let (throttle, now) = (LoginThrottle::new(delays), Instant::now());
        assert_eq!(throttle.failed(home(), ADA, None, now), now);
        assert_eq!(throttle.wait_until(home(), ADA, now), None);
        assert!(throttle.failures().rows.is_empty());
    }

    #[test]
    fn one_more_name_than_fits_drops_the_one_that_expires_first() {
        let (throttle, now) = (throttle(), Instant::now());
        throttle.failed(home(), ADA, None, now);
        throttle.failed(home(), ADA, None, now);
        let network = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let others = u32::try_from(MAX_NAMES).unwrap() - 1;
        for n in 0..others {
            throttle.failed(network(n), ADA, None, now + Duration::from_micros(n.into()));
        }
        let waits = |client| throttle.wait_until(client, ADA, now).is_some();
        assert!(waits(network(0)), "all fit");
        throttle.failed(network(others), ADA, None, now + SECOND);
        assert!(!waits(network(0)));
        assert!(waits(network(1)) && waits(home()));
        let failures = throttle.failures();
        assert_eq!(failures.rows.len(), MAX_NAMES);
        assert_eq!(failures.by_expiry.len(), MAX_NAMES);
        assert_eq!(failures.names.len(), MAX_NAMES);
    }
}
