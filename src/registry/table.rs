//! The table of live sessions: who may come in, and what each has taken.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::end_reason::EndReason;
use super::session_handle::SessionHandle;
use super::slots::Slots;
use crate::log_throttle::LogThrottle;
use crate::metrics::{Metrics, Refused};
use crate::networks::client_network;
use crate::settings::Pop3;

/// Among so many of the oldest sessions before login one is looked for that can be ended.
const CANDIDATES: usize = 32;

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// In all; 0 is no limit.
    pub in_all: u32,
    /// Of one client address; 0 is no limit.
    pub per_address: u32,
    /// Whether this machine's own addresses are counted too.
    pub loopback_counts: bool,
    /// Not logged in yet.
    pub before_login: u32,
    /// Of one user.
    pub per_user: u32,
    /// How long a session must have been idle to make way for another one of its device; 0 is never.
    pub evict_idle_after: Duration,
}

impl From<&Pop3> for AdmissionLimits {
    fn from(settings: &Pop3) -> Self {
        let per_address = settings.max_connections_per_address;
        Self {
            in_all: settings.max_connections,
            per_address: per_address.unwrap_or(Pop3::MAX_CONNECTIONS_PER_ADDRESS),
            loopback_counts: per_address.is_some(),
            before_login: settings.max_connections_before_login,
            per_user: settings.max_connections_per_user,
            evict_idle_after: settings.evict_idle_after,
        }
    }
}

impl AdmissionLimits {
    /// The network in whose name this client is counted, if it is.
    fn counted(&self, client: IpAddr) -> Option<IpAddr> {
        let exempt = client.is_loopback() && !self.loopback_counts;
        (self.per_address > 0 && !exempt).then(|| client_network(client))
    }
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefusal {
    /// There are as many sessions as there may be.
    #[error("the server has as many connections as it may have; try again later")]
    InAll,
    /// There are as many of this address.
    #[error("too many connections from your network at the same time; close some of them")]
    Address,
}

impl From<AdmissionRefusal> for Refused {
    fn from(refusal: AdmissionRefusal) -> Self {
        match refusal {
            AdmissionRefusal::InAll => Self::InAll,
            AdmissionRefusal::Address => Self::Address,
        }
    }
}

/// The sessions that are here and the slots that they have taken.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Arc<Mutex<Rows>>,
    limits: Arc<Mutex<AdmissionLimits>>,
    metrics: Arc<Metrics>,
    evictions: Arc<LogThrottle>,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    sessions: HashMap<String, Arc<SessionHandle>>,
    /// Those that are not logged in, in the order in which they came.
    before_login: BTreeMap<u64, Arc<SessionHandle>>,
    came: u64,
    addresses: HashMap<IpAddr, u32>,
    pub(super) slots: Slots,
}

impl Table {
    /// An empty table.
    pub fn new(limits: AdmissionLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            rows: Arc::default(),
            limits: Arc::new(Mutex::new(limits)),
            metrics,
            evictions: Arc::default(),
        }
    }

    /// Lets in as these say from now on; nobody who is here has to go.
    pub fn change(&self, limits: AdmissionLimits) {
        let held = self.limits.lock();
        *held.unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(crate) fn limits(&self) -> AdmissionLimits {
        // Whoever holds the lock copies a few numbers.
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions are here.
    pub fn len(&self) -> usize {
        self.rows().sessions.len()
    }

    /// Is no session here?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session of this name.
    pub(crate) fn session(&self, id: &str) -> Option<Arc<SessionHandle>> {
        self.rows().sessions.get(id).cloned()
    }

    /// All sessions.
    pub(super) fn sessions(&self) -> Vec<Arc<SessionHandle>> {
        self.rows().sessions.values().cloned().collect()
    }

    /// Takes a session in. If too many are not logged in yet, the oldest of them goes. No limit
    /// is for the server that tests itself.
    pub(super) fn admit(&self, live: Arc<SessionHandle>) -> Result<Admission, AdmissionRefusal> {
        let limits = self.limits();
        let mut rows = self.rows();
        if live.is_self_test() {
            let id = live.id().to_owned();
            rows.sessions.insert(id, Arc::clone(&live));
            return Ok(Admission {
                table: self.clone(),
                live,
                number: 0,
                network: None,
            });
        }
        if rows.sessions.len() >= as_limit(limits.in_all) {
            return Err(AdmissionRefusal::InAll);
        }
        let network = live.client().and_then(|ip| limits.counted(ip));
        rows.take_address(network, limits.per_address)?;
        let victim = if rows.before_login.len() >= as_limit(limits.before_login) {
            rows.oldest_before_login()
        } else {
            None
        };
        rows.came += 1;
        let number = rows.came;
        rows.before_login.insert(number, Arc::clone(&live));
        rows.sessions
            .insert(live.id().to_owned(), Arc::clone(&live));
        drop(rows);
        if let Some(victim) = victim {
            self.end_for_room(&victim);
        }
        self.metrics.session_began();
        Ok(Admission {
            table: self.clone(),
            live,
            number,
            network,
        })
    }

    fn end_for_room(&self, victim: &SessionHandle) {
        self.metrics.connection_refused(Refused::BeforeLogin);
        victim.end(EndReason::Evicted);
        if let Some(before) = self.evictions.allow() {
            tracing::warn!(
                before,
                limit = self.limits().before_login,
                "too many sessions are not logged in: the oldest of them end"
            );
        }
    }

    pub(super) fn rows(&self) -> MutexGuard<'_, Rows> {
        // Whoever holds the lock counts in maps and does nothing else, so no change is half made.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A limit of 0 is none.
fn as_limit(setting: u32) -> usize {
    match setting {
        0 => usize::MAX,
        limit => limit as usize,
    }
}

impl Rows {
    fn take_address(
        &mut self,
        network: Option<IpAddr>,
        limit: u32,
    ) -> Result<(), AdmissionRefusal> {
        let Some(network) = network else {
            return Ok(());
        };
        let taken = self.addresses.entry(network).or_default();
        if *taken >= limit {
            return Err(AdmissionRefusal::Address);
        }
        *taken += 1;
        Ok(())
    }

    fn give_address_back(&mut self, network: IpAddr) {
        if let Some(taken) = self.addresses.get_mut(&network) {
            *taken -= 1;
            if *taken == 0 {
                self.addresses.remove(&network);
            }
        }
    }

    /// Takes one out that is to end: the oldest whose key is not being looked at just now.
    fn oldest_before_login(&mut self) -> Option<Arc<SessionHandle>> {
        let mut oldest = self.before_login.iter().take(CANDIDATES);
        let idle = oldest.find(|(_, live)| !live.is_verifying());
        let victim = idle.or_else(|| self.before_login.first_key_value());
        let number = *victim?.0;
        self.before_login.remove(&number)
    }
}

/// A session's place in the table, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Admission {
    table: Table,
    live: Arc<SessionHandle>,
    /// Its place among those that are not logged in, from 1.
    number: u64,
    /// In whose name it is counted.
    network: Option<IpAddr>,
}

impl Admission {
    /// What is seen of the session.
    pub fn live(&self) -> &Arc<SessionHandle> {
        &self.live
    }

    /// The proxy has said who its client is, who counts from now on.
    pub(crate) fn count_client(&mut self) -> Result<(), AdmissionRefusal> {
        if self.network.is_none() {
            let limits = self.table.limits();
            let network = self.live.client().and_then(|ip| limits.counted(ip));
            let mut rows = self.table.rows();
            rows.take_address(network, limits.per_address)?;
            self.network = network;
        }
        Ok(())
    }

    /// The session is logged in, and no longer makes room for those that are not.
    pub(crate) fn logged_in(&self) {
        self.table.rows().before_login.remove(&self.number);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut rows = self.table.rows();
        rows.sessions.remove(self.live.id());
        rows.before_login.remove(&self.number);
        if let Some(network) = self.network {
            rows.give_address_back(network);
        }
        drop(rows);
        if !self.live.is_self_test() {
            self.table.metrics.session_ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(limits: AdmissionLimits) -> Table {
        Table::new(limits, Arc::new(Metrics::new().unwrap()))
    }

    const NONE: AdmissionLimits = AdmissionLimits {
        in_all: 0,
        per_address: 0,
        loopback_counts: true,
        before_login: 100,
        per_user: 5,
        evict_idle_after: Duration::ZERO,
    };

    fn session(name: &str, address: &str) -> Arc<SessionHandle> {
        let ip: IpAddr = address.parse().unwrap();
        Arc::new(SessionHandle::new(name.to_owned(), (ip, 1).into()))
    }

    fn admit(table: &Table, name: &str, address: &str) -> Result<Admission, AdmissionRefusal> {
        table.admit(session(name, address))
    }

    fn ending(admission: &Admission) -> Option<EndReason> {
        admission.live().doomed()
    }

    #[test]
    fn one_more_than_there_may_be_in_all_is_refused_until_one_goes() {
        let table = table(AdmissionLimits { in_all: 2, ..NONE });
        let first = admit(&table, "1", "192.0.2.1").unwrap();
        let _second = admit(&table, "2", "192.0.2.2").unwrap();
        let third = admit(&table, "3", "192.0.2.3");
        assert_eq!(third.unwrap_err(), AdmissionRefusal::InAll);
        drop(first);
        admit(&table, "4", "192.0.2.4").unwrap();
    }

    #[test]
    fn an_address_is_counted_by_itself_and_one_of_ipv6_by_its_network() {
        for (ours, same, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ] {
            let table = table(AdmissionLimits {
                per_address: 2,
                ..NONE
            });
            let first = admit(&table, "1", ours).unwrap();
            let _second = admit(&table, "2", same).unwrap();
            let third = admit(&table, "3", same);
            assert_eq!(third.unwrap_err(), AdmissionRefusal::Address, "{same}");
            let _other = admit(&table, "4", other).unwrap();
            drop(first);
            admit(&table, "5", same).unwrap();
        }
    }

    #[test]
    fn this_machine_itself_is_not_counted_unless_it_is_asked_for() {
        let table = table(AdmissionLimits {
            per_address: 1,
            loopback_counts: false,
            ..NONE
        });
        let _first = admit(&table, "1", "127.0.0.1").unwrap();
        let _second = admit(&table, "2", "127.0.0.1").unwrap();
        let _third = admit(&table, "3", "::1").unwrap();
        let _fourth = admit(&table, "4", "::1").unwrap();
    }

    #[test]
    fn the_client_of_a_proxy_is_counted_once_it_is_known() {
        let table = table(AdmissionLimits {
            per_address: 1,
            ..NONE
        });
        let proxied = |name: &str| {
            let live = SessionHandle::behind_proxy(name.to_owned(), ([192, 0, 2, 1], 1).into());
            table.admit(Arc::new(live)).unwrap()
        };
        let mut first = proxied("1");
        let mut second = proxied("2");
        for admission in [&first, &second] {
            admission.live().set_client(([198, 51, 100, 7], 5).into());
        }
        first.count_client().unwrap();
        assert_eq!(second.count_client(), Err(AdmissionRefusal::Address));
        drop(first);
        second.count_client().unwrap();
    }

    #[test]
    fn one_more_before_login_ends_the_oldest_and_nobody_else() {
        let table = table(AdmissionLimits {
            before_login: 3,
            ..NONE
        });
        let came: Vec<_> = ["1", "2", "3"]
            .map(|name| admit(&table, name, "192.0.2.1").unwrap())
            .into();
        assert!(came.iter().all(|admission| ending(admission).is_none()));
        // Who is logged in has made room already.
        came[0].logged_in();
        let fourth = admit(&table, "4", "192.0.2.1").unwrap();
        assert!(came.iter().all(|admission| ending(admission).is_none()));
        let fifth = admit(&table, "5", "192.0.2.1").unwrap();
        assert_eq!(ending(&came[1]), Some(EndReason::Evicted));
        assert!(ending(&came[0]).is_none() && ending(&came[2]).is_none());
        // Who ends makes room too, and whoever was ended is not counted any more.
        drop(fourth);
        let _sixth = admit(&table, "6", "192.0.2.1").unwrap();
        assert!(ending(&came[2]).is_none() && ending(&fifth).is_none());
    }

    #[test]
    fn a_session_whose_key_is_being_looked_at_goes_last() {
        let table = table(AdmissionLimits {
            before_login: 2,
            ..NONE
        });
        let first = admit(&table, "1", "192.0.2.1").unwrap();
        let second = admit(&table, "2", "192.0.2.1").unwrap();
        first.live().set_verifying(true);
        let third = admit(&table, "3", "192.0.2.1").unwrap();
        assert!(ending(&first).is_none());
        assert_eq!(ending(&second), Some(EndReason::Evicted));
        third.live().set_verifying(true);
        let _fourth = admit(&table, "4", "192.0.2.1").unwrap();
        assert_eq!(ending(&first), Some(EndReason::Evicted));
    }
}
