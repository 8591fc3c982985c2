//! The actor that accepts connections.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::Protocol;
use super::acceptor::Acceptor;
use super::socket::ListeningSocket;
use crate::log_throttle::LogThrottle;

/// The pause after an error of accepting, as when the system has no memory for a connection.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Accepts connections of one protocol on all its sockets.
pub struct ListenerActor<P: Protocol> {
    sockets: Arc<Vec<ListeningSocket>>,
    acceptor: Arc<Acceptor<P>>,
}

impl<P: Protocol> ListenerActor<P> {
    /// Accepts on these sockets.
    pub fn new(sockets: Arc<Vec<ListeningSocket>>, acceptor: Arc<Acceptor<P>>) -> Self {
        Self { sockets, acceptor }
    }

    fn accept_on(&self, socket: &ListeningSocket) -> io::Result<impl Future<Output = ()> + use<P>> {
        let listening = socket.listening()?;
        let address = socket.address()?;
        let (acceptor, kind) = (Arc::clone(&self.acceptor), socket.kind());
        let faults = LogThrottle::default();
        let complain = move |error: &dyn Display| {
            if let Some(before) = faults.allow() {
                tracing::error!(%error, before, %address, "no connection could be accepted");
            }
        };
        Ok(async move {
            loop {
                match acceptor.accept(&listening, &complain).await {
                    Ok((connection, peer)) => acceptor.receive(connection, peer, kind).await,
                    Err(error) => {
                        complain(&error);
                        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                    }
                }
            }
        })
    }
}

impl<P: Protocol> Actor for ListenerActor<P> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        for socket in self.sockets.iter() {
            match self.accept_on(socket) {
                Ok(accepting) => {
                    let accepting = accepting.into_actor(self);
                    context.spawn(accepting.map(|(), _, context| context.stop()));
                }
                Err(error) => {
                    tracing::error!(error = %error, "a listening socket can't be used");
                    context.stop();
                }
            }
        }
    }
}
