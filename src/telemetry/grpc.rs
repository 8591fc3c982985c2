//! OTLP over gRPC.
//!
//! A call of gRPC is a POST over HTTP/2 whose body is the message that OTLP over HTTP has, behind five
//! octets. So the exporter is that of OTLP over HTTP, and its requests are carried as such calls.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use data_encoding::BASE64;
use opentelemetry_http::{HttpError, Request, Response};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use ureq::http::header::{self, HeaderMap, HeaderValue};
use ureq::http::{Method, StatusCode, Uri, Version};

use super::collector::ANSWER_OCTETS;

/// The method that takes traces.
pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The method that takes metrics.
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The octets in front of a message: whether it is compressed, and its length.
const PREFIX_OCTETS: usize = 5;

/// The header with the result of a call, which is 0 if it succeeded.
const STATUS: &str = "grpc-status";

/// The header that says why a call failed.
const MESSAGE: &str = "grpc-message";

/// The longest explanation of a collector that is logged, in characters.
const MESSAGE_CHARACTERS: usize = 200;

/// Sends the body of a request of OTLP over HTTP as a call, over a connection of its own, and returns the
/// message of the answer. It blocks its thread, which must be none of a runtime.
///
/// # Errors
/// If there is no connection, the call fails, or it takes longer than this.
pub(super) fn call(
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Response<Bytes>, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answered = runtime.block_on(async {
        let answered = tokio::time::timeout(timeout, exchange(request, timeout)).await;
        answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    });
    // Its thread may still look up a name.
    runtime.shutdown_background();
    Ok(Response::new(answered?))
}

async fn exchange(request: Request<Bytes>, timeout: Duration) -> anyhow::Result<Bytes> {
    let uri = request.uri();
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().context("the URL has no host")?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let socket = TcpStream::connect((host.as_str(), port)).await?;
    if !is_tls {
        return speak(socket, request, timeout).await;
    }
    let name = ServerName::try_from(host)?;
    let connector = TlsConnector::from(Arc::new(tls()?));
    speak(connector.connect(name, socket).await?, request, timeout).await
}

/// Returns a configuration that trusts the authorities of this system.
fn tls() -> anyhow::Result<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Makes the call over this stream.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
    timeout: Duration,
) -> anyhow::Result<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await?;
    // It ends with the runtime. The call reports its errors.
    tokio::spawn(async { drop(connection.await) });
    let mut client = client.ready().await?;
    let (head, message) = framed(request, timeout)?;
    let (response, mut body) = client.send_request(head, false)?;
    body.send_data(message, true)?;
    let (head, mut body) = response.await?.into_parts();
    anyhow::ensure!(
        head.status == StatusCode::OK,
        "the collector answers {}",
        head.status
    );
    let mut answer = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        let total = answer.len() + data.len();
        anyhow::ensure!(total <= ANSWER_OCTETS, "the answer is too long");
        answer.put(data);
    }
    let trailers = body.trailers().await?;
    // A call that fails at once has its status in the head.
    succeeded(trailers.as_ref().unwrap_or(&head.headers))?;
    unframed(answer.freeze())
}

/// Turns a request of OTLP over HTTP into the head and the body of a call.
fn framed(request: Request<Bytes>, timeout: Duration) -> anyhow::Result<(Request<()>, Bytes)> {
    let (head, body) = request.into_parts();
    let length = u32::try_from(body.len()).context("the message is too long")?;
    let mut message = BytesMut::with_capacity(PREFIX_OCTETS + body.len());
    message.put_u8(0);
    message.put_u32(length);
    message.put(body);

    let (uri, authorization) = without_password(&head.uri)?;
    let mut call = Request::new(());
    *call.method_mut() = Method::POST;
    *call.uri_mut() = uri;
    *call.version_mut() = Version::HTTP_2;
    // Those of OTEL_EXPORTER_OTLP_HEADERS among them.
    let headers = call.headers_mut();
    *headers = head.headers;
    for unwanted in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        headers.remove(unwanted);
    }
    if let Some(authorization) = authorization {
        headers
            .entry(header::AUTHORIZATION)
            .or_insert(authorization);
    }
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let timeout = HeaderValue::from_str(&format!("{}m", timeout.as_millis()))?;
    headers.insert("grpc-timeout", timeout);
    Ok((call, message.freeze()))
}

/// Returns the URI without the user and the password in it, and these as a header.
fn without_password(uri: &Uri) -> anyhow::Result<(Uri, Option<HeaderValue>)> {
    let authority = uri.authority().context("the URL has no host")?.as_str();
    let Some((user, place)) = authority.rsplit_once('@') else {
        return Ok((uri.clone(), None));
    };
    let user: Vec<u8> = percent_decode_str(user).collect();
    let mut header = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(&user)))?;
    header.set_sensitive(true);
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(place.parse()?);
    Ok((Uri::from_parts(parts)?, Some(header)))
}

/// Returns an error unless the headers say that the call succeeded.
fn succeeded(headers: &HeaderMap) -> anyhow::Result<()> {
    let status = headers.get(STATUS).context("the answer has no status")?;
    if status.as_bytes() == b"0" {
        return Ok(());
    }
    let status = String::from_utf8_lossy(status.as_bytes()).into_owned();
    let message = headers.get(MESSAGE).map(HeaderValue::as_bytes);
    let message = String::from_utf8_lossy(message.unwrap_or_default()).into_owned();
    let message = percent_decode_str(&message).decode_utf8_lossy();
    let message: String = message.chars().take(MESSAGE_CHARACTERS).collect();
    anyhow::bail!("the collector answers gRPC status {status}: {message:?}")
}

/// Takes the message out of the body of an answer.
fn unframed(mut body: Bytes) -> anyhow::Result<Bytes> {
    anyhow::ensure!(body.len() >= PREFIX_OCTETS, "the answer has no message");
    let is_compressed = body.get_u8() != 0;
    let length = body.get_u32();
    let is_whole = usize::try_from(length).is_ok_and(|length| length == body.len());
    anyhow::ensure!(
        !is_compressed && is_whole,
        "the answer is no message of gRPC that can be read"
    );
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_behind_its_length() {
        let request = Request::post("http://u:p%40ss@otel:4317/x")
            .header("content-type", "application/x-protobuf")
            .header("x-tenant", "mail")
            .body(Bytes::from_static(b"abc"))
            .unwrap();
        let (head, message) = framed(request, Duration::from_secs(5)).unwrap();
        assert_eq!(&message[..], b"\0\0\0\0\x03abc");
        assert_eq!(head.uri(), "http://otel:4317/x");
        let header = |name: &str| head.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "application/grpc");
        assert_eq!(header("x-tenant"), "mail");
        assert_eq!(header("grpc-timeout"), "5000m");
        assert_eq!(
            header("authorization"),
            format!("Basic {}", BASE64.encode(b"u:p@ss"))
        );
        assert!(head.headers()["authorization"].is_sensitive());
        assert_eq!(unframed(message).unwrap(), "abc");
    }

    #[test]
    fn an_answer_that_is_no_message_is_an_error() {
        for body in [
            &b""[..],
            b"\0\0\0",
            b"\x01\0\0\0\x01a",
            b"\0\0\0\0\x02a",
            b"\0\xff\xff\xff\xffa",
        ] {
            assert!(unframed(Bytes::from_static(body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_call_that_failed_says_why_on_one_line() {
        let mut headers = HeaderMap::new();
        assert!(succeeded(&headers).is_err());
        headers.insert(STATUS, HeaderValue::from_static("0"));
        assert!(succeeded(&headers).is_ok());
        headers.insert(STATUS, HeaderValue::from_static("14"));
        headers.insert(MESSAGE, HeaderValue::from_static("too%20busy%0Anow"));
        assert_eq!(
            succeeded(&headers).unwrap_err().to_string(),
            "the collector answers gRPC status 14: \"too busy\\nnow\""
        );
    }
}
