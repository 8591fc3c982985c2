//! Refused connections, whose clients are told why.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Protocol;
use super::listener_kind::ListenerKind;
use super::proxy::read_header;
use super::stream::NetStream;
use super::transport::Transport;
use crate::registry::{AdmissionRefusal, SessionHandle};

/// The longest time of telling a client why it is refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the refusal, best effort, and closes. Inside TLS that takes a handshake first.
pub(super) async fn refuse<P: Protocol>(
    protocol: &P,
    stream: NetStream,
    listener: ListenerKind,
    handle: Arc<SessionHandle>,
    why: AdmissionRefusal,
) {
    let refusal = async {
        let is_proxy = !handle.is_client_known();
        let mut transport = Transport::new(stream, REFUSAL_TIMEOUT, handle);
        if let Some(stream) = transport.in_clear().filter(|_| is_proxy) {
            read_header(stream).await.map_err(io::Error::other)?;
        }
        if let (true, Some((tls, alpn))) = (listener.begins_with_tls(), protocol.tls()) {
            let secured = transport.start_tls(&tls, alpn).await;
            transport = secured.map_err(io::Error::other)?;
        }
        transport.write_all(&protocol.refusal(why), &[]).await?;
        if protocol.counts_octets() {
            protocol.metrics().octets_sent(transport.take_sent());
        }
        transport.close().await;
        io::Result::Ok(())
    };
    // A client that does not wait for the reason goes without.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refusal).await;
}
