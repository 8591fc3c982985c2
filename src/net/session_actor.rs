//! The actor that owns one connection.
//!
//! It has an address, so that it can be ended from outside; the conversation is one future of its
//! protocol. When the future ends or is dropped, everything that the session has taken is given back
//! in `Drop`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tracing::Instrument;

use super::signals::SessionSignals;
use super::{AdmittedConnection, Protocol};
use crate::metrics::Metrics;
use crate::registry::{EndReason, Kill, SessionHandle, State};

/// The capacity of the actor's mailbox: it gets nothing but [`Kill`].
const MAILBOX_CAPACITY: usize = 4;

/// Owns one connection.
pub struct SessionActor<P: Protocol> {
    protocol: Arc<P>,
    handle: Arc<SessionHandle>,
    connection: Option<AdmittedConnection>,
    signals: Rc<SessionSignals>,
    _ended: SessionEnded<P>,
}

impl<P: Protocol> SessionActor<P> {
    pub(super) fn new(protocol: Arc<P>, connection: AdmittedConnection) -> Self {
        let handle = Arc::clone(connection.admission.handle());
        Self {
            _ended: SessionEnded {
                protocol: Arc::clone(&protocol),
                handle: Arc::clone(&handle),
                began: Instant::now(),
            },
            protocol,
            handle,
            connection: Some(connection),
            signals: Rc::default(),
        }
    }

    /// Lets an idle session say goodbye, unless its client has sent something meanwhile.
    fn make_way_if_idle(&self) {
        let least = self.protocol.evict_idle_after();
        let idle = self.handle.idle().is_some_and(|idle| idle >= least);
        if idle && !least.is_zero() {
            self.signals.interrupt();
        }
    }
}

impl<P: Protocol> Actor for SessionActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
        let Some(connection) = self.connection.take() else {
            return;
        };
        if let Some(why) = self.handle.set_actor(context.address().recipient()) {
            self.handle.set_ending(why);
            return context.stop();
        }
        let span = self.protocol.span(&self.handle);
        if self.handle.is_client_known() {
            let peer = self.handle.client_or_peer().host();
            span.record("peer", tracing::field::display(peer));
        }
        let protocol = Arc::clone(&self.protocol);
        // Boxed, it is not copied into each future around it.
        let conversation = Box::pin(protocol.serve(connection, Rc::clone(&self.signals)));
        let session = async move {
            let ending = conversation.await;
            tracing::Span::current().record("ending", ending.as_str());
            ending
        };
        let session = session.instrument(span).into_actor(self);
        context.spawn(session.map(|ending, actor, context| {
            actor.handle.set_ending(ending);
            context.stop();
        }));
    }
}

impl<P: Protocol> Handler<Kill> for SessionActor<P> {
    type Result = ();

    fn handle(&mut self, Kill(why): Kill, _: &mut Self::Context) {
        #[cfg(test)]
        crate::faults::panic_if_doomed(self.handle.id());
        let goes_on = match self.handle.state() {
            // The session ends by itself, and its client learns the outcome.
            State::Update if self.handle.commit_is_last() => true,
            State::Transaction if why == EndReason::Superseded => {
                self.make_way_if_idle();
                true
            }
            // It may have logged in meanwhile, and blocks no slot before login any more. In UPDATE it
            // sees the signal after its commit, when it waits for its client.
            State::Transaction | State::Update => why == EndReason::Evicted,
            // An idle session can say goodbye.
            State::Authorization => why == EndReason::Evicted && self.signals.interrupt(),
        };
        if !goes_on {
            self.handle.set_ending(why);
            self.signals.kill();
        }
    }
}

/// Counts and logs the end of a session, also after a panic.
struct SessionEnded<P: Protocol> {
    protocol: Arc<P>,
    handle: Arc<SessionHandle>,
    began: Instant,
}

impl<P: Protocol> SessionEnded<P> {
    fn metrics(&self) -> &Metrics {
        self.protocol.metrics()
    }

    /// Counts the end, and returns its name for the log.
    fn count(&self) -> &'static str {
        let ending = self.handle.ending();
        if ending.is_none() && std::thread::panicking() {
            self.metrics().session_panicked();
            let id = self.handle.id();
            tracing::error!(
                session.id = id,
                "a session has ended by a fault of the program"
            );
            return "panic";
        }
        if let Some(ending) = ending.filter(|_| !self.handle.is_self_test()) {
            let protocol = self.handle.listener().protocol();
            self.metrics().session_ended_by(protocol, ending);
        }
        ending.map_or("stopped", EndReason::as_str)
    }
}

impl<P: Protocol> Drop for SessionEnded<P> {
    fn drop(&mut self) {
        let ending = self.count();
        if self.handle.is_self_test() {
            let id = self.handle.id();
            return tracing::debug!(session.id = id, ending, "self-test ended");
        }
        if let Some(handshake) = self.handle.handshake_error() {
            self.metrics().tls.handshake_failed(handshake.failure);
        }
        let seconds = self.began.elapsed().as_secs();
        self.protocol.log_end(&self.handle, ending, seconds);
    }
}
