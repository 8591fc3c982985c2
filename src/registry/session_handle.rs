//! A live session as the rest of the server sees it.

mod activity;

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use actix::Recipient;
use parking_lot::Mutex;
use pop3::Snapshot;

use super::Kill;
use super::end_reason::EndReason;
use super::report::{SessionReport, State};
use crate::net::{ListenerKind, Peer, ProtocolName};
use crate::store::{KeyId, UserId, Verified};
use crate::tls::HandshakeError;
use activity::Activity;

/// A live session. The session writes, all others read.
#[derive(Debug)]
pub struct SessionHandle {
    id: String,
    peer: Peer,
    /// The client; behind a proxy it is unknown until the proxy has named it.
    client: OnceLock<Peer>,
    listener: ListenerKind,
    self_test: bool,
    login: OnceLock<Box<LoginRecord>>,
    updating: AtomicBool,
    verifying: AtomicBool,
    tls: OnceLock<TlsProtocol>,
    handshake_error: OnceLock<Box<HandshakeError>>,
    ending: AtomicU8,
    activity: Activity,
    reach: Mutex<Reach>,
}

/// How to tell a session to end.
#[derive(Debug)]
enum Reach {
    /// It has no actor yet; with a reason it never begins.
    NotYet(Option<EndReason>),
    Actor(Recipient<Kill>),
}

/// The version and cipher of TLS.
#[derive(Debug)]
struct TlsProtocol {
    version: &'static str,
    cipher: &'static str,
}

/// The credentials of a session, as far as they tell one device of a user from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedInBy {
    /// A key, of which each device has its own.
    Key(KeyId),
    /// A certificate.
    Certificate,
    /// A login without a key.
    Nothing,
}

/// A successful login.
#[derive(Debug)]
struct LoginRecord {
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
    pub fn new(id: String, peer: impl Into<Peer>) -> Self {
        let peer = peer.into();
        let handle = Self::behind_proxy(id, peer);
        handle.set_client(peer);
        handle
    }

    /// A session whose client will be named by a proxy.
    pub fn behind_proxy(id: String, peer: impl Into<Peer>) -> Self {
        Self {
            id,
            peer: peer.into().canonical(),
            client: OnceLock::new(),
            listener: ListenerKind::Pop3,
            self_test: false,
            login: OnceLock::new(),
            updating: AtomicBool::new(false),
            verifying: AtomicBool::new(false),
            tls: OnceLock::new(),
            handshake_error: OnceLock::new(),
            ending: AtomicU8::new(u8::MAX),
            activity: Activity::default(),
            reach: Mutex::new(Reach::NotYet(None)),
        }
    }

    /// The same session, at this listener.
    #[must_use]
    pub fn on(self, listener: ListenerKind) -> Self {
        Self { listener, ..self }
    }

    /// The same session, as a self-test if this is true: it counts nowhere.
    #[must_use]
    pub fn for_self_test(self, self_test: bool) -> Self {
        Self { self_test, ..self }
    }

    /// The unique name of the session, in logs and everywhere else.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address of the client; that of the proxy until it has named its client.
    pub fn ip(&self) -> IpAddr {
        self.client_or_peer().ip()
    }

    /// The client; the proxy until it has named its client.
    pub fn client_or_peer(&self) -> Peer {
        self.client.get().copied().unwrap_or(self.peer)
    }

    /// Returns true if the client is known: there is no proxy, or it has named its client.
    pub fn is_client_known(&self) -> bool {
        self.client.get().is_some()
    }

    /// The address of the client, if it is known and has one.
    pub fn client_ip(&self) -> Option<IpAddr> {
        match self.client.get()? {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Local => None,
        }
    }

    /// The other end of the connection: the client or its proxy.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Sets the client that a proxy has named.
    pub(crate) fn set_client(&self, client: impl Into<Peer>) {
        let _ = self.client.set(client.into().canonical());
    }

    /// The listener that accepted it.
    pub fn listener(&self) -> ListenerKind {
        self.listener
    }

    /// The time of the connection.
    pub fn connected_at(&self) -> SystemTime {
        self.activity.connected_at()
    }

    /// The first address of the user, once logged in.
    pub fn user_address(&self) -> Option<&str> {
        Some(&self.login.get()?.address)
    }

    /// The name of the key of the login.
    pub fn key_name(&self) -> Option<&str> {
        Some(&self.login.get()?.key_name)
    }

    /// The user, and the key if there was one, once logged in.
    pub fn logged_in(&self) -> Option<(UserId, Option<KeyId>)> {
        let login = self.login.get()?;
        Some((login.user, login.key))
    }

    /// Returns true if this is the server that tests itself.
    pub fn is_self_test(&self) -> bool {
        self.self_test
    }

    /// Sets the actor that ends the session; returns a reason if the session must not begin.
    pub(crate) fn set_actor(&self, actor: Recipient<Kill>) -> Option<EndReason> {
        match std::mem::replace(&mut *self.reach.lock(), Reach::Actor(actor)) {
            Reach::NotYet(doomed) => doomed,
            Reach::Actor(_) => None,
        }
    }

    /// Tells the session to end; returns false if it has ended, or commits the deletions of its QUIT.
    pub(crate) fn end(&self, why: EndReason) -> bool {
        match &mut *self.reach.lock() {
            Reach::Actor(actor) => !self.commit_is_last() && actor.try_send(Kill(why)).is_ok(),
            Reach::NotYet(doomed) => {
                doomed.get_or_insert(why);
                true
            }
        }
    }

    /// The reason for which a session without an actor must not begin.
    #[cfg(test)]
    pub(super) fn doomed(&self) -> Option<EndReason> {
        match &*self.reach.lock() {
            Reach::NotYet(doomed) => *doomed,
            Reach::Actor(_) => None,
        }
    }

    /// Sets whether the credentials are being verified.
    pub(crate) fn set_verifying(&self, verifying: bool) {
        self.verifying.store(verifying, Relaxed);
    }

    pub(super) fn is_verifying(&self) -> bool {
        self.verifying.load(Relaxed)
    }

    /// Returns true if a commit is under way after which the session ends by itself. A session of LMTP
    /// goes on after it has stored a message.
    pub(crate) fn commit_is_last(&self) -> bool {
        let ends_after_it = self.listener.protocol() == ProtocolName::Pop3;
        ends_after_it && self.state() == State::Update
    }

    /// Sets whether a commit is under way, which is never broken off.
    pub(crate) fn set_updating(&self, updating: bool) {
        self.updating.store(updating, Relaxed);
    }

    /// Sets the version and cipher of TLS.
    pub(crate) fn set_tls(&self, version: &'static str, cipher: &'static str) {
        // TLS begins once.
        let _ = self.tls.set(TlsProtocol { version, cipher });
    }

    /// Sets the error of the TLS handshake that ends the session.
    pub(crate) fn set_handshake_error(&self, error: HandshakeError) {
        let _ = self.handshake_error.set(Box::new(error));
    }

    pub(crate) fn handshake_error(&self) -> Option<&HandshakeError> {
        self.handshake_error.get().map(|error| &**error)
    }

    /// The commands, octets and times of the session.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The time since the last octets, while the client of an open maildrop is waited for; `None`
    /// while the session works.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let is_idle = self.activity.waits() && self.state() == State::Transaction;
        is_idle.then(|| self.activity.silence())
    }

    /// The credentials of the login.
    pub(super) fn logged_in_by(&self) -> Option<LoggedInBy> {
        self.login.get().map(|login| login.by)
    }

    /// Records the login and its maildrop.
    pub(super) fn set_login(&self, user: &Verified, by: LoggedInBy, snapshot: &Snapshot) {
        let _ = self.login.set(Box::new(LoginRecord {
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

    /// Sets the reason of the end; the first one counts.
    pub(crate) fn set_ending(&self, ending: EndReason) {
        let _ = self
            .ending
            .compare_exchange(u8::MAX, ending as u8, Relaxed, Relaxed);
    }

    /// The reason of the end, if there is one.
    pub(crate) fn ending(&self) -> Option<EndReason> {
        let ending = self.ending.load(Relaxed);
        EndReason::ALL
            .into_iter()
            .find(|known| *known as u8 == ending)
    }

    /// The present state. LMTP has no login: a session is in TRANSACTION from the start.
    pub fn state(&self) -> State {
        let is_open = match self.listener.protocol() {
            ProtocolName::Pop3 => self.login.get().is_some(),
            ProtocolName::Lmtp => true,
        };
        if self.updating.load(Relaxed) {
            State::Update
        } else if is_open {
            State::Transaction
        } else {
            State::Authorization
        }
    }

    /// A report of the session at this moment.
    pub fn report(&self) -> SessionReport {
        let client = self.client.get().copied();
        let login = self.login.get();
        let report = SessionReport {
            user: login.map(|login| login.address.to_string()),
            key: login.map(|login| login.key_name.to_string()),
            key_id: login.and_then(|login| login.key),
            proxy: client.filter(|it| *it != self.peer).map(|_| self.peer.ip()),
            state: self.state(),
            tls: self.tls.get().is_some(),
            tls_version: self.tls.get().map(|tls| tls.version),
            tls_cipher: self.tls.get().map(|tls| tls.cipher),
            messages: login.map_or(0, |login| login.messages),
            hidden: login.map_or(0, |login| login.hidden),
            octets: login.map_or(0, |login| login.octets),
            ..SessionReport::new(self.id.clone(), self.listener, self.client_or_peer())
        };
        self.activity.fill(report)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use pop3::Verb;

    use super::*;

    fn handle() -> SessionHandle {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        SessionHandle::new("one".into(), peer)
    }

    #[test]
    fn a_command_is_current_until_the_client_is_waited_for() {
        let handle = handle();
        assert_eq!(handle.report().last_command, None);
        handle.activity().wait_for_client();
        assert_eq!(handle.report().last_command, None);
        for verb in Verb::ALL {
            handle.activity().begin_command(verb);
            assert_eq!(handle.report().command, Some(verb.as_str()));
            handle.activity().wait_for_client();
            let report = handle.report();
            assert_eq!(
                (report.command, report.last_command),
                (None, Some(verb.as_str()))
            );
        }
        let report = handle.report();
        assert_eq!(
            [report.tops, report.retrs, report.deles, report.uidls],
            [1; 4]
        );
    }

    #[test]
    fn the_first_reason_to_end_is_the_one_that_counts() {
        for ending in EndReason::ALL {
            let handle = handle();
            assert_eq!(handle.ending(), None);
            handle.set_ending(ending);
            handle.set_ending(EndReason::Storage);
            assert_eq!(handle.ending(), Some(ending));
        }
    }
}
