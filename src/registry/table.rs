//! The table of live sessions and the limits on their number.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pop3::Snapshot;

use super::end_reason::EndReason;
use super::session_handle::{LoggedInBy, SessionHandle};
use super::slots::Slots;
use crate::log_throttle::LogThrottle;
use crate::metrics::{Metrics, Refused};
use crate::net::ProtocolName;
use crate::networks::client_network;
use crate::settings::{Live, Pop3Settings};
use crate::store::Verified;

/// The number of the oldest sessions before login among which one is chosen to be evicted.
const CANDIDATES: usize = 32;

/// The limits on the number of POP3 sessions.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// In all; 0 is no limit.
    pub in_all: u32,
    /// Of one client address; 0 is no limit.
    pub per_address: u32,
    /// True if this machine's own addresses are counted too.
    pub loopback_counts: bool,
    /// Not logged in yet.
    pub before_login: u32,
    /// Of one user.
    pub per_user: u32,
    /// The idle time after which a session ends for the next one of its device; 0 is never.
    pub evict_idle_after: Duration,
}

impl From<&Pop3Settings> for AdmissionLimits {
    fn from(settings: &Pop3Settings) -> Self {
        let per_address = settings.max_connections_per_address;
        Self {
            in_all: settings.max_connections,
            per_address: per_address.unwrap_or(Pop3Settings::MAX_CONNECTIONS_PER_ADDRESS),
            loopback_counts: per_address.is_some(),
            before_login: settings.max_connections_before_login,
            per_user: settings.max_connections_per_user,
            evict_idle_after: settings.evict_idle_after,
        }
    }
}

impl AdmissionLimits {
    /// The network to which a client is counted, if it is counted.
    fn counted(&self, client: IpAddr) -> Option<IpAddr> {
        let exempt = client.is_loopback() && !self.loopback_counts;
        (self.per_address > 0 && !exempt).then(|| client_network(client))
    }
}

/// The limit for which a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefusal {
    /// The limit in all.
    #[error("too many connections, try again later")]
    InAll,
    /// The limit of one client address.
    #[error("too many connections from your network: close some of them")]
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

/// The live sessions of both protocols, and the slots that they have taken.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Arc<Mutex<TableRows>>,
    limits: Live<AdmissionLimits>,
    /// The most LMTP sessions.
    max_lmtp: u32,
    metrics: Arc<Metrics>,
    evictions: Arc<LogThrottle>,
}

#[derive(Debug, Default)]
pub(super) struct TableRows {
    sessions: HashMap<String, Arc<SessionHandle>>,
    /// The number of LMTP sessions among them.
    lmtp: usize,
    /// POP3 sessions that are not logged in, in the order in which they connected.
    before_login: BTreeMap<u64, Arc<SessionHandle>>,
    came: u64,
    addresses: HashMap<IpAddr, u32>,
    pub(super) slots: Slots,
}

impl Table {
    /// An empty table with these limits for POP3 and this one for LMTP.
    pub fn new(limits: Live<AdmissionLimits>, max_lmtp: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            rows: Arc::default(),
            limits,
            max_lmtp,
            metrics,
            evictions: Arc::default(),
        }
    }

    pub(crate) fn limits(&self) -> AdmissionLimits {
        *self.limits.current()
    }

    /// The most LMTP sessions; 0 is no limit.
    pub(crate) fn max_lmtp(&self) -> u32 {
        self.max_lmtp
    }

    /// The number of live sessions.
    pub fn len(&self) -> usize {
        self.rows().sessions.len()
    }

    /// Returns true if there is no live session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the session of this name.
    pub(crate) fn session(&self, id: &str) -> Option<Arc<SessionHandle>> {
        self.rows().sessions.get(id).cloned()
    }

    /// All sessions.
    pub(super) fn sessions(&self) -> Vec<Arc<SessionHandle>> {
        self.rows().sessions.values().cloned().collect()
    }

    /// Admits a session. If too many POP3 sessions are not logged in, the oldest of them is evicted.
    /// The server that tests itself is limited by nothing.
    pub(super) fn admit(&self, handle: Arc<SessionHandle>) -> Result<Admission, AdmissionRefusal> {
        let mut rows = self.rows();
        if handle.is_self_test() {
            return Ok(self.enter(&mut rows, handle, 0, None));
        }
        match handle.listener().protocol() {
            ProtocolName::Lmtp => self.admit_lmtp(&mut rows, handle),
            ProtocolName::Pop3 => self.admit_pop3(rows, handle),
        }
    }

    fn admit_lmtp(
        &self,
        rows: &mut TableRows,
        handle: Arc<SessionHandle>,
    ) -> Result<Admission, AdmissionRefusal> {
        if rows.lmtp >= as_limit(self.max_lmtp) {
            return Err(AdmissionRefusal::InAll);
        }
        rows.lmtp += 1;
        self.metrics.session_began(ProtocolName::Lmtp);
        Ok(self.enter(rows, handle, 0, None))
    }

    fn admit_pop3(
        &self,
        mut rows: MutexGuard<'_, TableRows>,
        handle: Arc<SessionHandle>,
    ) -> Result<Admission, AdmissionRefusal> {
        let limits = self.limits();
        if rows.sessions.len() - rows.lmtp >= as_limit(limits.in_all) {
            return Err(AdmissionRefusal::InAll);
        }
        let network = handle.client_ip().and_then(|ip| limits.counted(ip));
        rows.take_address(network, limits.per_address)?;
        let victim = if rows.before_login.len() >= as_limit(limits.before_login) {
            rows.oldest_before_login()
        } else {
            None
        };
        rows.came += 1;
        let number = rows.came;
        rows.before_login.insert(number, Arc::clone(&handle));
        let admission = self.enter(&mut rows, handle, number, network);
        drop(rows);
        if let Some(victim) = victim {
            self.evict(&victim);
        }
        self.metrics.session_began(ProtocolName::Pop3);
        Ok(admission)
    }

    fn enter(
        &self,
        rows: &mut TableRows,
        handle: Arc<SessionHandle>,
        number: u64,
        network: Option<IpAddr>,
    ) -> Admission {
        rows.sessions
            .insert(handle.id().to_owned(), Arc::clone(&handle));
        Admission {
            table: self.clone(),
            handle,
            number,
            network,
        }
    }

    fn evict(&self, victim: &SessionHandle) {
        self.metrics
            .connection_refused(ProtocolName::Pop3, Refused::BeforeLogin);
        victim.end(EndReason::Evicted);
        if let Some(before) = self.evictions.allow() {
            tracing::warn!(
                before,
                limit = self.limits().before_login,
                "too many sessions are not logged in: the oldest are evicted"
            );
        }
    }

    pub(super) fn rows(&self) -> MutexGuard<'_, TableRows> {
        self.rows.lock()
    }
}

/// Reads a limit, of which 0 is none.
fn as_limit(setting: u32) -> usize {
    match setting {
        0 => usize::MAX,
        limit => limit as usize,
    }
}

impl TableRows {
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

    /// Takes out a session to evict: the oldest one whose key is not being verified.
    fn oldest_before_login(&mut self) -> Option<Arc<SessionHandle>> {
        let mut oldest = self.before_login.iter().take(CANDIDATES);
        let idle = oldest.find(|(_, handle)| !handle.is_verifying());
        let victim = idle.or_else(|| self.before_login.first_key_value());
        let number = *victim?.0;
        self.before_login.remove(&number)
    }
}

/// The place of a session in the table, given back when this is dropped.
#[derive(Debug)]
pub struct Admission {
    table: Table,
    handle: Arc<SessionHandle>,
    /// Its number among those that are not logged in, from 1.
    number: u64,
    /// The network to which it is counted.
    network: Option<IpAddr>,
}

impl Admission {
    /// The session.
    pub fn handle(&self) -> &Arc<SessionHandle> {
        &self.handle
    }

    /// Counts the client that a proxy has named.
    pub(crate) fn count_client(&mut self) -> Result<(), AdmissionRefusal> {
        if self.network.is_none() {
            let limits = self.table.limits();
            let network = self.handle.client_ip().and_then(|ip| limits.counted(ip));
            let mut rows = self.table.rows();
            rows.take_address(network, limits.per_address)?;
            self.network = network;
        }
        Ok(())
    }

    /// The session has logged in, and can't be evicted for those that have not.
    pub(crate) fn logged_in(&self, user: &Verified, by: LoggedInBy, snapshot: &Snapshot) {
        self.handle.set_login(user, by, snapshot);
        self.table.rows().before_login.remove(&self.number);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let protocol = self.handle.listener().protocol();
        let is_counted = !self.handle.is_self_test();
        let mut rows = self.table.rows();
        rows.sessions.remove(self.handle.id());
        rows.before_login.remove(&self.number);
        if let Some(network) = self.network {
            rows.give_address_back(network);
        }
        rows.lmtp -= usize::from(is_counted && protocol == ProtocolName::Lmtp);
        drop(rows);
        if is_counted {
            self.table.metrics.session_ended(protocol);
        }
    }
}

#[cfg(test)]
mod tests;
