//! A connection before its greeting: who the client is, TLS, and the limit of its address.

use pop3::Reply;

use super::authorization::AuthorizationPhase;
use super::client::ClientIo;
use super::refusal_reply;
use crate::net::proxy::read_header;
use crate::net::{ListenerKind, ProtocolName};
use crate::registry::{Admission, EndReason};

/// A client that has not been greeted.
pub(super) struct Arrival {
    pub(super) client: ClientIo,
    pub(super) admission: Admission,
    pub(super) listener: ListenerKind,
}

impl Arrival {
    /// Receives the client; the session begins in AUTHORIZATION.
    pub(super) async fn run(mut self) -> Result<AuthorizationPhase, EndReason> {
        if !self.client.handle.is_client_known()
            && let Err(ending) = Box::pin(self.learn_client()).await
        {
            self.client.close().await;
            return Err(ending);
        }
        if self.listener.begins_with_tls() {
            self.client = Box::pin(self.client.start_tls()).await?;
        }
        if let Err(ending) = self.count_client().await {
            self.client.close().await;
            return Err(ending);
        }
        let greeting = Reply::greeting(&self.client.context.server_name);
        self.client.say(&greeting);
        Ok(AuthorizationPhase::new(self.client, self.admission))
    }

    /// Reads the PROXY header, in which the proxy names its client.
    async fn learn_client(&mut self) -> Result<(), EndReason> {
        let client = &mut self.client;
        let stream = client.transport.in_clear();
        let stream = stream.ok_or(EndReason::Disconnected)?;
        let header = tokio::select! {
            header = read_header(stream) => header,
            () = &mut client.draining => return Err(EndReason::Shutdown),
        };
        match header {
            Ok(named) => {
                let handle = &client.handle;
                handle.set_client(named.map_or_else(|| handle.peer(), Into::into));
                let host = tracing::field::display(handle.ip());
                tracing::Span::current().record("peer", host);
                Ok(())
            }
            Err(error) if self.listener.begins_with_tls() => {
                // The client could read a reply only inside TLS.
                client.note_proxy_fault(&error);
                Err(EndReason::Refused)
            }
            Err(error) => client.refuse_proxy(&error).await,
        }
    }

    /// Counts the client for its address, which may have been unknown until its proxy named it.
    async fn count_client(&mut self) -> Result<(), EndReason> {
        let Err(refusal) = self.admission.count_client() else {
            return Ok(());
        };
        let metrics = &self.client.context.metrics;
        metrics.connection_refused(ProtocolName::Pop3, refusal.into());
        self.client.say(&refusal_reply(refusal));
        self.client.flush().await?;
        Err(EndReason::Refused)
    }
}
