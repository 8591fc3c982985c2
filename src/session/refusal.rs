//! A connection that is not let in, and is told why.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pop3::{Reply, ResponseCode};
use tokio::net::TcpStream;

use super::proxy::read_header;
use super::transport::{Transport, WriteDeadline};
use super::{ListenerKind, SessionContext};
use crate::registry::{AdmissionRefusal, SessionHandle};

/// How long it may take to tell a client that it is not let in.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client hears that is not let in. It may come again later, hence the code.
pub(super) fn reply_to(refusal: AdmissionRefusal) -> Reply {
    Reply::coded(ResponseCode::SysTemp, refusal)
}

/// Says why and closes. Inside TLS that takes a handshake first.
pub(crate) async fn refuse(
    service: &SessionContext,
    stream: TcpStream,
    listener: ListenerKind,
    live: Arc<SessionHandle>,
    refusal: AdmissionRefusal,
) {
    let telling = async {
        let is_proxy = live.client().is_none();
        let write_deadline = WriteDeadline {
            write_timeout: REFUSAL_TIMEOUT,
        };
        let mut transport = Transport::new(stream, write_deadline, live);
        if let Some(stream) = transport.in_clear().filter(|_| is_proxy) {
            read_header(stream).await.map_err(io::Error::other)?;
        }
        if let (ListenerKind::Tls, Some(tls)) = (listener, &service.tls) {
            let shaken = transport.start_tls(tls, service.alpn).await;
            transport = shaken.map_err(io::Error::other)?;
        }
        transport
            .write_all(reply_to(refusal).as_bytes(), &[])
            .await?;
        service.metrics.octets_sent(transport.take_sent());
        transport.close().await;
        io::Result::Ok(())
    };
    // It is a courtesy: a client that does not wait for it does without.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, telling).await;
}
