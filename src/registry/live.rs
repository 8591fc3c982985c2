//! What is seen of a session from outside, while it goes on.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use actix::Recipient;
use serde::Serialize;

use super::Kill;

/// The state of a session, as RFC 1939 calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Not logged in.
    Authorization,
    /// A maildrop is open.
    Transaction,
    /// Deletions are being committed.
    Update,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By QUIT; what was marked is deleted.
    Quit,
    /// By QUIT, but the deletions could not be committed.
    CommitFailed,
    /// Nothing came, or nothing was read, for too long.
    TimedOut,
    /// The client went away, or its connection broke.
    Disconnected,
    /// Too many bad commands or wrong keys.
    Refused,
    /// The TLS handshake failed.
    Handshake,
    /// It was the oldest of too many that were not logged in.
    MadeRoom,
    /// Storage failed in the middle of a message.
    Storage,
    /// An operator ended it.
    Killed,
    /// The server stopped.
    Shutdown,
}

impl Ending {
    const ALL: [Self; 10] = [
        Self::Quit,
        Self::CommitFailed,
        Self::TimedOut,
        Self::Disconnected,
        Self::Refused,
        Self::Handshake,
        Self::MadeRoom,
        Self::Storage,
        Self::Killed,
        Self::Shutdown,
    ];

    /// As the log says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::CommitFailed => "commit failed",
            Self::TimedOut => "timed out",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Handshake => "TLS handshake failed",
            Self::MadeRoom => "made room",
            Self::Storage => "storage failed",
            Self::Killed => "killed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A session that goes on. The session writes, everybody may read.
#[derive(Debug)]
pub struct Live {
    id: String,
    peer: SocketAddr,
    /// Who it is about, if the peer is a proxy: known once it has said so.
    client: OnceLock<SocketAddr>,
    connected_at: SystemTime,
    login: Mutex<Option<Login>>,
    state: AtomicU8,
    verifying: AtomicBool,
    tls: OnceLock<Tls>,
    ending: AtomicU8,
    messages: AtomicU64,
    marked: AtomicU64,
    retrieved: AtomicU64,
    octets_sent: AtomicU64,
    reach: Mutex<Reach>,
}

/// How to tell a session to end.
#[derive(Debug)]
enum Reach {
    /// It has no actor yet; this is why it is not to begin.
    NotYet(Option<Ending>),
    Actor(Recipient<Kill>),
}

/// How a connection is encrypted.
#[derive(Debug)]
struct Tls {
    version: &'static str,
    cipher: &'static str,
}

#[derive(Debug)]
struct Login {
    address: Box<str>,
    key: Box<str>,
}

/// A session at one moment, as the admin endpoint tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct SessionReport {
    pub id: String,
    pub user: Option<String>,
    pub key: Option<String>,
    pub peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<IpAddr>,
    pub state: State,
    pub tls: bool,
    pub tls_version: Option<&'static str>,
    pub tls_cipher: Option<&'static str>,
    #[serde(serialize_with = "rfc3339")]
    pub connected_at: SystemTime,
    pub messages: u64,
    pub deleted: u64,
    pub retrieved: u64,
    pub octets_sent: u64,
}

impl Live {
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
            connected_at: SystemTime::now(),
            login: Mutex::default(),
            state: AtomicU8::new(0),
            verifying: AtomicBool::new(false),
            tls: OnceLock::new(),
            ending: AtomicU8::new(u8::MAX),
            messages: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            retrieved: AtomicU64::new(0),
            octets_sent: AtomicU64::new(0),
            reach: Mutex::new(Reach::NotYet(None)),
        }
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

    /// The actor that is to be told when the session is to end; why, if it is not even to begin.
    pub(crate) fn set_actor(&self, actor: Recipient<Kill>) -> Option<Ending> {
        match std::mem::replace(&mut *self.reach(), Reach::Actor(actor)) {
            Reach::NotYet(doomed) => doomed,
            Reach::Actor(_) => None,
        }
    }

    /// Tells the session to end; false if it can't be: it has ended, or is in UPDATE.
    pub(crate) fn end(&self, why: Ending) -> bool {
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
    pub(super) fn doomed(&self) -> Option<Ending> {
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

    pub(crate) fn set_login(&self, address: &str, key: &str, messages: usize) {
        *self.login() = Some(Login {
            address: address.into(),
            key: key.into(),
        });
        self.messages.store(messages as u64, Relaxed);
    }

    pub(crate) fn set_marked(&self, marked: usize) {
        self.marked.store(marked as u64, Relaxed);
    }

    pub(crate) fn add_retrieved(&self) {
        self.retrieved.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_sent(&self, octets: u64) {
        self.octets_sent.fetch_add(octets, Relaxed);
    }

    /// The first reason that is given is the one that counts.
    pub(crate) fn set_ending(&self, ending: Ending) {
        let _ = self
            .ending
            .compare_exchange(u8::MAX, ending as u8, Relaxed, Relaxed);
    }

    /// How it ended, if it did so in an orderly way.
    pub(crate) fn ending(&self) -> Option<Ending> {
        let ending = self.ending.load(Relaxed);
        Ending::ALL.into_iter().find(|known| *known as u8 == ending)
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            1 => State::Transaction,
            2 => State::Update,
            _ => State::Authorization,
        }
    }

    /// What it is doing now.
    pub fn report(&self) -> SessionReport {
        let client = self.client.get().copied();
        let (user, key) = self
            .login()
            .as_ref()
            .map(|login| (login.address.to_string(), login.key.to_string()))
            .unzip();
        SessionReport {
            id: self.id.clone(),
            user,
            key,
            peer: client.unwrap_or(self.peer),
            proxy: client.filter(|it| *it != self.peer).map(|_| self.peer.ip()),
            state: self.state(),
            tls: self.tls.get().is_some(),
            tls_version: self.tls.get().map(|tls| tls.version),
            tls_cipher: self.tls.get().map(|tls| tls.cipher),
            connected_at: self.connected_at,
            messages: self.messages.load(Relaxed),
            deleted: self.marked.load(Relaxed),
            retrieved: self.retrieved.load(Relaxed),
            octets_sent: self.octets_sent.load(Relaxed),
        }
    }

    fn login(&self) -> MutexGuard<'_, Option<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client of an IPv4 address is the same client on a listener for both.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*time) {
        Ok(time) => serializer.collect_str(&time),
        Err(error) => Err(serde::ser::Error::custom(error)),
    }
}
