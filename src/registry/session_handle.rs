//! What is seen of a session from outside, while it goes on.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix::Recipient;
use pop3::{Snapshot, Verb};

use super::Kill;
use super::end_reason::EndReason;
use super::report::{SessionReport, State};
use crate::session::ListenerKind;
use crate::store::UserId;
use crate::store::{KeyId, Verified};
use crate::tls::HandshakeError;

/// A session that goes on. The session writes, everybody may read.
#[derive(Debug)]
pub struct SessionHandle {
    id: String,
    peer: SocketAddr,
    /// Who it is about, if the peer is a proxy: known once it has said so.
    client: OnceLock<SocketAddr>,
    listener: ListenerKind,
    self_test: bool,
    connected_at: SystemTime,
    /// When that was, by a clock that nobody sets.
    since: Instant,
    /// Milliseconds after `connected_at`.
    last_activity_ms: AtomicU64,
    login: OnceLock<Box<Login>>,
    state: AtomicU8,
    verifying: AtomicBool,
    tls: OnceLock<Tls>,
    handshake_error: OnceLock<Box<HandshakeError>>,
    /// The verb that came last, and [`WAITING`] once it is done.
    command: AtomicU8,
    ending: AtomicU8,
    marked: AtomicU32,
    committed: AtomicU32,
    retrieved: AtomicU32,
    tops: AtomicU32,
    retrs: AtomicU32,
    deles: AtomicU32,
    uidls: AtomicU32,
    octets_sent: AtomicU64,
    reach: Mutex<Reach>,
}

/// How to tell a session to end.
#[derive(Debug)]
enum Reach {
    /// It has no actor yet; this is why it is not to begin.
    NotYet(Option<EndReason>),
    Actor(Recipient<Kill>),
}

/// How a connection is encrypted.
#[derive(Debug)]
struct Tls {
    version: &'static str,
    cipher: &'static str,
}

/// What a session has logged in with, as far as it tells one device of a user from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedInBy {
    /// A key, of which each device has one of its own.
    Key(KeyId),
    /// A certificate.
    Certificate,
    /// Nothing: no key was needed.
    Nothing,
}

/// What `command` holds beside the verb while the client is waited for.
const WAITING: u8 = 0x80;

#[derive(Debug)]
struct Login {
    user: UserId,
    key: Option<KeyId>,
    by: LoggedInBy,
    address: Box<str>,
    key_name: Box<str>,
    messages: u64,
    hidden: u64,
    octets: u64,
}

impl SessionHandle {
    /// A session whose client has just connected.
    pub fn new(id: String, peer: SocketAddr) -> Self {
        let live = Self::behind_proxy(id, peer);
        live.set_client(peer);
        live
    }

    /// A session of which a proxy will say who the client is.
    pub fn behind_proxy(id: String, peer: SocketAddr) -> Self {
        Self {
            id,
            peer: canonical(peer),
            client: OnceLock::new(),
            listener: ListenerKind::Plain,
            self_test: false,
            connected_at: SystemTime::now(),
            since: Instant::now(),
            last_activity_ms: AtomicU64::new(0),
            login: OnceLock::new(),
            state: AtomicU8::new(0),
            verifying: AtomicBool::new(false),
            tls: OnceLock::new(),
            handshake_error: OnceLock::new(),
            command: AtomicU8::new(u8::MAX),
            ending: AtomicU8::new(u8::MAX),
            marked: AtomicU32::new(0),
            committed: AtomicU32::new(0),
            retrieved: AtomicU32::new(0),
            tops: AtomicU32::new(0),
            retrs: AtomicU32::new(0),
            deles: AtomicU32::new(0),
            uidls: AtomicU32::new(0),
            octets_sent: AtomicU64::new(0),
            reach: Mutex::new(Reach::NotYet(None)),
        }
    }

    /// The same, at this listener.
    #[must_use]
    pub fn on(self, listener: ListenerKind) -> Self {
        Self { listener, ..self }
    }

    /// The same, but for the server that tests whether it answers: it counts nowhere.
    #[must_use]
    pub fn for_self_test(self, self_test: bool) -> Self {
        Self { self_test, ..self }
    }

    /// The name of the session, in logs and everywhere else.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address of the client; that of the proxy until it has said who it is.
    pub fn ip(&self) -> IpAddr {
        self.client().unwrap_or_else(|| self.peer.ip())
    }

    /// The address of the client, once it is known.
    pub fn client(&self) -> Option<IpAddr> {
        self.client.get().map(SocketAddr::ip)
    }

    /// The other end of the connection: the client or its proxy.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The proxy has said who its client is.
    pub(crate) fn set_client(&self, client: SocketAddr) {
        let _ = self.client.set(canonical(client));
    }

    /// When it connected.
    pub fn connected_at(&self) -> SystemTime {
        self.connected_at
    }

    /// The first address of its user, once they are logged in.
    pub fn user_address(&self) -> Option<&str> {
        Some(&self.login.get()?.address)
    }

    /// What the key is called that it logged in with.
    pub fn key_name(&self) -> Option<&str> {
        Some(&self.login.get()?.key_name)
    }

    /// Who is logged in, and with which key if it was one.
    pub fn logged_in(&self) -> Option<(UserId, Option<KeyId>)> {
        let login = self.login.get()?;
        Some((login.user, login.key))
    }

    /// Is it the server that tests whether it answers?
    pub fn is_self_test(&self) -> bool {
        self.self_test
    }

    /// The actor that is to be told when the session is to end; why, if it is not even to begin.
    pub(crate) fn set_actor(&self, actor: Recipient<Kill>) -> Option<EndReason> {
        match std::mem::replace(&mut *self.reach(), Reach::Actor(actor)) {
            Reach::NotYet(doomed) => doomed,
            Reach::Actor(_) => None,
        }
    }

    /// Tells the session to end; false if it can't be: it has ended, or is in UPDATE.
    pub(crate) fn end(&self, why: EndReason) -> bool {
        match &mut *self.reach() {
            Reach::Actor(actor) => {
                self.state() != State::Update && actor.try_send(Kill(why)).is_ok()
            }
            Reach::NotYet(doomed) => {
                doomed.get_or_insert(why);
                true
            }
        }
    }

    /// Why a session without an actor is not to begin.
    #[cfg(test)]
    pub(super) fn doomed(&self) -> Option<EndReason> {
        match &*self.reach() {
            Reach::NotYet(doomed) => *doomed,
            Reach::Actor(_) => None,
        }
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its credentials are being verified.
    pub(crate) fn set_verifying(&self, verifying: bool) {
        self.verifying.store(verifying, Relaxed);
    }

    pub(super) fn is_verifying(&self) -> bool {
        self.verifying.load(Relaxed)
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    pub(crate) fn set_tls(&self, version: &'static str, cipher: &'static str) {
        // TLS begins once.
        let _ = self.tls.set(Tls { version, cipher });
    }

    /// Its TLS handshake has failed, which ends it.
    pub(crate) fn set_handshake_error(&self, error: HandshakeError) {
        let _ = self.handshake_error.set(Box::new(error));
    }

    pub(crate) fn handshake_error(&self) -> Option<&HandshakeError> {
        self.handshake_error.get().map(|error| &**error)
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

    /// All that came is done: the client is waited for.
    pub(crate) fn wait_for_client(&self) {
        self.command
            .store(self.command.load(Relaxed) | WAITING, Relaxed);
    }

    /// Octets have just gone one way or the other.
    pub(crate) fn note_activity(&self) {
        let since = self.since.elapsed().as_millis();
        self.last_activity_ms
            .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long nothing has gone either way, while the client of an open maildrop is waited for; none
    /// if the session has something to do.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let waits = self.command.load(Relaxed) & WAITING != 0;
        if !waits || self.state() != State::Transaction {
            return None;
        }
        let last = Duration::from_millis(self.last_activity_ms.load(Relaxed));
        Some(self.since.elapsed().saturating_sub(last))
    }

    /// What it has logged in with.
    pub(super) fn logged_in_by(&self) -> Option<LoggedInBy> {
        self.login.get().map(|login| login.by)
    }

    /// They are logged in, and see this.
    pub(crate) fn set_login(&self, user: &Verified, by: LoggedInBy, snapshot: &Snapshot) {
        let _ = self.login.set(Box::new(Login {
            user: user.user,
            key: user.key,
            by,
            address: user.address.as_str().into(),
            key_name: user.key_name.as_str().into(),
            messages: snapshot.len() as u64,
            hidden: snapshot.hidden(),
            octets: snapshot.octets(),
        }));
    }

    pub(crate) fn set_marked(&self, marked: usize) {
        let marked = u32::try_from(marked).unwrap_or(u32::MAX);
        self.marked.store(marked, Relaxed);
    }

    /// So many deletions have been committed, whether or not the client learns of it.
    pub(crate) fn set_committed(&self, deleted: usize) {
        let deleted = u32::try_from(deleted).unwrap_or(u32::MAX);
        self.committed.store(deleted, Relaxed);
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Relaxed).into()
    }

    pub(crate) fn add_retrieved(&self) {
        add_one(&self.retrieved);
    }

    pub(crate) fn add_sent(&self, octets: u64) {
        self.octets_sent.fetch_add(octets, Relaxed);
        self.note_activity();
    }

    /// The first reason that is given is the one that counts.
    pub(crate) fn set_ending(&self, ending: EndReason) {
        let _ = self
            .ending
            .compare_exchange(u8::MAX, ending as u8, Relaxed, Relaxed);
    }

    /// How it ended, if it did so in an orderly way.
    pub(crate) fn ending(&self) -> Option<EndReason> {
        let ending = self.ending.load(Relaxed);
        EndReason::ALL
            .into_iter()
            .find(|known| *known as u8 == ending)
    }

    /// What it may do now.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            1 => State::Transaction,
            2 => State::Update,
            _ => State::Authorization,
        }
    }

    /// What it is doing now.
    pub fn report(&self) -> SessionReport {
        let client = self.client.get().copied();
        let login = self.login.get();
        let command = self.command.load(Relaxed);
        let last = Verb::ALL.get(usize::from(command & !WAITING));
        let last = last.map(|verb| verb.as_str());
        let since = Duration::from_millis(self.last_activity_ms.load(Relaxed));
        SessionReport {
            id: self.id.clone(),
            user: login.map(|login| login.address.to_string()),
            key: login.map(|login| login.key_name.to_string()),
            key_id: login.and_then(|login| login.key).map(|key| key.0),
            peer: client.unwrap_or(self.peer),
            proxy: client.filter(|it| *it != self.peer).map(|_| self.peer.ip()),
            listener: self.listener.as_str(),
            state: self.state(),
            tls: self.tls.get().is_some(),
            tls_version: self.tls.get().map(|tls| tls.version),
            tls_cipher: self.tls.get().map(|tls| tls.cipher),
            command: last.filter(|_| command & WAITING == 0),
            last_command: last,
            connected_at: self.connected_at,
            last_activity_at: self.connected_at + since,
            messages: login.map_or(0, |login| login.messages),
            hidden: login.map_or(0, |login| login.hidden),
            octets: login.map_or(0, |login| login.octets),
            deleted: self.marked.load(Relaxed).into(),
            retrieved: self.retrieved.load(Relaxed).into(),
            tops: self.tops.load(Relaxed).into(),
            retrs: self.retrs.load(Relaxed).into(),
            deles: self.deles.load(Relaxed).into(),
            uidls: self.uidls.load(Relaxed).into(),
            octets_sent: self.octets_sent.load(Relaxed),
        }
    }
}

/// Only the session itself writes, so nothing gets lost between reading and writing.
fn add_one(count: &AtomicU32) {
    count.store(count.load(Relaxed).saturating_add(1), Relaxed);
}

/// A client of an IPv4 address is the same client on a listener for both.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn live() -> SessionHandle {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        SessionHandle::new("one".into(), peer)
    }

    #[test]
    fn a_command_is_current_until_the_client_is_waited_for() {
        let live = live();
        assert_eq!(live.report().last_command, None);
        live.wait_for_client();
        assert_eq!(live.report().last_command, None);
        for verb in Verb::ALL {
            live.begin_command(verb);
            assert_eq!(live.report().command, Some(verb.as_str()));
            live.wait_for_client();
            let report = live.report();
            assert_eq!(
                (report.command, report.last_command),
                (None, Some(verb.as_str()))
            );
        }
        let report = live.report();
        assert_eq!(
            [report.tops, report.retrs, report.deles, report.uidls],
            [1; 4]
        );
    }

    #[test]
    fn the_first_reason_to_end_is_the_one_that_counts() {
        for ending in EndReason::ALL {
            let live = live();
            assert_eq!(live.ending(), None);
            live.set_ending(ending);
            live.set_ending(EndReason::Storage);
            assert_eq!(live.ending(), Some(ending));
        }
    }
}
