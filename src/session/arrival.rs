//! Whose connection it is, and whether it may stay: what happens before the greeting.

use std::fmt::Display;

use pop3::Reply;

use super::ListenerKind;
use super::conversation::{Conversation, SessionEnded};
use super::proxy::read_header;
use super::refusal::reply_to;
use super::transport::Transport;
use crate::metrics::Refused;
use crate::registry::EndReason;

impl Conversation {
    /// Learns from the proxy who its client is, before the client itself says anything.
    pub(super) async fn learn_client(
        &mut self,
        listener: ListenerKind,
    ) -> Result<(), SessionEnded> {
        let transport = self.transport.as_mut().and_then(Transport::in_clear);
        let stream = transport.ok_or(SessionEnded(EndReason::Disconnected))?;
        let header = tokio::select! {
            header = read_header(stream) => header,
            () = &mut self.draining => return Err(SessionEnded(EndReason::Shutdown)),
        };
        match header {
            Ok(client) => {
                self.live
                    .set_client(client.unwrap_or_else(|| self.live.peer()));
                let client = tracing::field::display(self.live.ip());
                tracing::Span::current().record("peer", client);
                Ok(())
            }
            Err(error) if listener == ListenerKind::Plain => self.refuse_proxy(error).await,
            // Only inside TLS could the client read anything.
            Err(error) => {
                self.note_proxy_fault(error);
                Err(SessionEnded(EndReason::Refused))
            }
        }
    }

    fn note_proxy_fault(&self, fault: impl Display) {
        self.service.metrics.connection_refused(Refused::Proxy);
        let peer = self.live.peer().ip();
        if let Some(before) = self.service.proxy_faults.allow() {
            tracing::warn!(%peer, before, "not as Pop3__ProxyNetworks has it: {fault}");
        }
    }

    pub(super) async fn refuse_proxy<T>(&mut self, fault: impl Display) -> Result<T, SessionEnded> {
        let reply = Reply::err(format_args!("{fault}"));
        self.note_proxy_fault(fault);
        self.refuse(&reply).await
    }

    /// Says why nothing more will be said. It need not be heard.
    async fn refuse<T>(&mut self, reply: &Reply) -> Result<T, SessionEnded> {
        self.say(reply);
        self.flush().await?;
        Err(SessionEnded(EndReason::Refused))
    }

    /// Counts the client for its address, if that could not be done before its proxy named it.
    pub(super) async fn count_client(&mut self) -> Result<(), SessionEnded> {
        match self.admission.count_client() {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.service.metrics.connection_refused(refusal.into());
                self.refuse(&reply_to(refusal)).await
            }
        }
    }
}
