//! The skeleton of both protocols: sockets, accepting, transport, refusal and the session's actor.
//!
//! POP3 and LMTP are two [`Protocol`]s on it. Nothing here knows the store or a mailbox.

mod acceptor;
mod listener;
mod listener_kind;
mod peer;
pub(crate) mod proxy;
mod refusal;
mod self_test;
mod session_actor;
mod signals;
mod socket;
mod stream;
mod transport;
mod unix_socket;
mod unread;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::registry::{Admission, AdmissionRefusal, EndReason, SessionHandle};
use crate::tls::{Alpn, Tls};

pub use acceptor::{Acceptor, Worker};
pub use listener::ListenerActor;
pub use listener_kind::{ListenerKind, ProtocolName};
pub use peer::{ListenAddress, Peer};
pub use self_test::SelfTests;
pub use session_actor::SessionActor;
pub use signals::SessionSignals;
pub(crate) use socket::listen_on;
pub use socket::{BindError, ListeningSocket};
pub use transport::Transport;
pub use unix_socket::probe;

/// A protocol, with the settings of its sessions on one thread.
pub trait Protocol: Send + Sync + Sized + 'static {
    /// Talks with a client until its session ends, by itself or because it is killed (`signals`).
    fn serve(
        self: Arc<Self>,
        connection: AdmittedConnection,
        signals: Rc<SessionSignals>,
    ) -> impl Future<Output = EndReason> + 'static;

    /// Returns the reply to a connection that is refused.
    fn refusal(&self, why: AdmissionRefusal) -> Vec<u8>;

    /// The certificates for TLS, if it is possible.
    fn tls(&self) -> Option<(Arc<Tls>, Alpn)> {
        None
    }

    /// The longest time in which a client may read nothing of what is sent to it.
    fn write_timeout(&self) -> Duration;

    /// The idle time after which a session ends for the next one of its device; 0 is never.
    fn evict_idle_after(&self) -> Duration {
        Duration::ZERO
    }

    /// Makes the span of a session, with the empty fields `peer` and `ending`.
    fn span(&self, handle: &SessionHandle) -> tracing::Span;

    /// Logs the end of a session that took so many seconds.
    fn log_end(&self, handle: &SessionHandle, ending: &'static str, seconds: u64);

    /// Returns true if the octets that are sent to clients are counted.
    fn counts_octets(&self) -> bool {
        false
    }

    /// The counters.
    fn metrics(&self) -> &Arc<Metrics>;
}

/// A connection that has been admitted and not yet greeted.
pub struct AdmittedConnection {
    /// Its octets, in clear.
    pub transport: Transport,
    /// The listener that accepted it.
    pub listener: ListenerKind,
    /// Its place among the live sessions.
    pub admission: Admission,
}
