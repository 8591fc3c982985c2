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
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::networks::{Networks, client_network};
use crate::settings::Pop3Settings;

/// The most names that are remembered, each with its network. Beyond that, the one that expires
/// first is dropped.
const MAX_NAMES: usize = 10_000;

/// A failure is remembered for this long; then the next delay of its name is one step shorter.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The most failures that count of a name, so that all are forgiven after ten minutes.
const MAX_STEPS: u32 = 10;

/// The time for which the wrong secrets of a name are remembered after the last attempt. A device that
/// polls with an old key does so more often than this.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// The number of failed names of one network above which a client is guessing names there: each
/// further failure is answered after the longest delay.
const MAX_NAMES_PER_NETWORK: usize = 20;

/// The delays after failed logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delays {
    /// The delay after the first failure, doubled with each that follows; zero is none at all.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// Addresses that are never delayed, since many users share them.
    pub exempt: Exempt,
}

/// Client addresses that are never delayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Exempt {
    /// None.
    #[default]
    Nobody,
    /// Loopback, where a webmail logs in for many users, and these networks.
    LoopbackAnd(Networks),
}

impl From<&Pop3Settings> for Delays {
    /// An unset delay exempts the addresses that many users share.
    fn from(settings: &Pop3Settings) -> Self {
        let exempt = match settings.auth_failure_delay {
            Some(_) => Exempt::Nobody,
            None => Exempt::LoopbackAnd(settings.proxy_networks.clone()),
        };
        Self {
            first: settings
                .auth_failure_delay
                .unwrap_or(Pop3Settings::AUTH_FAILURE_DELAY),
            longest: settings.max_auth_failure_delay,
            exempt,
        }
    }
}

/// The failed logins of the last minutes.
#[derive(Debug)]
pub(crate) struct LoginThrottle {
    delays: Delays,
    hasher: RandomState,
    failures: Mutex<Failures>,
}

/// A name and the network that it was tried from. Names are hashed: a client chooses their length.
type ThrottleKey = (IpAddr, u64);

#[derive(Debug, Default)]
struct Failures {
    rows: HashMap<ThrottleKey, Row>,
    /// The same keys, ordered by their expiry.
    by_expiry: BTreeSet<(Instant, ThrottleKey)>,
    /// The number of names of each network.
    names: HashMap<IpAddr, usize>,
}

/// The failures of one name.
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
    /// A throttle without failures.
    pub(crate) fn new(delays: Delays) -> Self {
        Self {
            delays,
            hasher: RandomState::new(),
            failures: Mutex::default(),
        }
    }

    /// Returns the time until which an attempt that arrives now must wait unverified, if any.
    ///
    /// That is the gate as it is now, regardless of later failures. So no client waits longer
    /// than the longest delay, and then a right secret works.
    pub(crate) fn wait_until(&self, client: IpAddr, name: &str, now: Instant) -> Option<Instant> {
        let failures = self.failures.lock();
        let row = failures.rows.get(&self.key(client, name))?;
        Some(row.gate).filter(|gate| *gate > now)
    }

    /// Records a failed login, and returns the time at which the client may be told.
    ///
    /// A secret that has failed lately for this name counts once: a device that keeps trying an old
    /// key guesses nothing. `secret` is `None` where it is not known, as in SCRAM.
    pub(crate) fn failed(
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
        let mut failures = self.failures.lock();
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
    pub(crate) fn succeeded(&self, client: IpAddr, name: &str) {
        let mut failures = self.failures.lock();
        if !failures.rows.is_empty() {
            failures.take(self.key(client, name));
        }
    }

    /// Ignores the name of a key behind the address (`ada@example.org#phone`).
    fn key(&self, client: IpAddr, name: &str) -> ThrottleKey {
        let address = name.split('#').next().unwrap_or_default();
        let hash = self.hasher.hash_one(address.to_lowercase());
        (client_network(client), hash)
    }

    fn delay(&self, steps: u32) -> Duration {
        let doubled = 1_u32.checked_shl(steps - 1).unwrap_or(u32::MAX);
        let delay = self.delays.first.saturating_mul(doubled);
        delay.min(self.delays.longest)
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

/// The number of failures of a name that are not forgiven yet.
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

    fn take(&mut self, key: ThrottleKey) -> Option<Row> {
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

    fn put(&mut self, key: ThrottleKey, row: Row) {
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
mod tests;
