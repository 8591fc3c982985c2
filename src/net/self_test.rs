//! The server as its own client, which checks that it greets.
//!
//! Such a connection is announced before it is made, so that it is not taken for a client's: it
//! counts in no metric and no limit, and is not logged at the usual level.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version::TLS12, version::TLS13,
};

use super::listener_kind::{ListenerKind, ProtocolName};
use super::peer::{ListenAddress, Peer};

/// The most octets of a reply that are read.
const MAX_REPLY_OCTETS: u64 = 512;

/// The connections that this server is about to make to itself, by their address and port.
#[derive(Debug, Clone, Default)]
pub struct SelfTests {
    expected: Arc<Mutex<HashSet<SocketAddr>>>,
}

/// An announced connection, until this is dropped.
struct Announced {
    tests: SelfTests,
    from: SocketAddr,
}

impl SelfTests {
    /// Returns true if this client is the server itself. On a Unix socket that can't be told.
    pub(super) fn expect(&self, client: Peer) -> bool {
        match client {
            Peer::Tcp(client) => self.expected.lock().contains(&canonical(client)),
            Peer::Local => false,
        }
    }

    /// Connects to this server as a client does, reads the greeting, and says QUIT.
    ///
    /// # Errors
    /// If it does not answer both well; the text quotes the answer. There is no deadline.
    pub async fn run(&self, address: &ListenAddress, kind: ListenerKind) -> Result<(), String> {
        let no_connection = |error: io::Error| format!("no connection: {error}");
        let protocol = kind.protocol();
        let talked = match address {
            ListenAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(no_connection)?;
                talk(stream, protocol).await
            }
            ListenAddress::Tcp(address) => {
                let connected = self.connect(reachable(*address)).await;
                let (stream, _announced) = connected.map_err(no_connection)?;
                if kind.begins_with_tls() {
                    let stream = shake_hands(stream).await;
                    let stream = stream.map_err(|error| format!("no TLS: {error}"))?;
                    talk(stream, protocol).await
                } else {
                    talk(stream, protocol).await
                }
            }
        };
        talked.map_err(|error| error.to_string())
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<(TcpStream, Announced)> {
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // From its own address, and a port that is known before the connection is made.
        socket.bind(SocketAddr::new(to.ip(), 0))?;
        let from = canonical(socket.local_addr()?);
        self.expected.lock().insert(from);
        let announced = Announced {
            tests: self.clone(),
            from,
        };
        Ok((socket.connect(to).await?, announced))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.tests.expected.lock().remove(&self.from);
    }
}

/// An IPv4 client has one form on a socket for both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address at which a server is reached that listens here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A machine without loopback of IPv6 has it of IPv4, and the socket serves both.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn shake_hands(stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OwnCertificate(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    protocol: ProtocolName,
) -> io::Result<()> {
    let (greeting, goodbye) = match protocol {
        ProtocolName::Pop3 => ("+OK", "+OK"),
        ProtocolName::Lmtp => ("220", "221"),
    };
    let mut stream = BufReader::new(stream);
    expect("the greeting", greeting, &mut stream).await?;
    stream.write_all(b"QUIT\r\n").await?;
    stream.flush().await?;
    expect("the reply to QUIT", goodbye, &mut stream).await
}

async fn expect(
    what: &str,
    start: &str,
    stream: &mut (impl AsyncBufReadExt + AsyncReadExt + Unpin),
) -> io::Result<()> {
    let mut line = String::new();
    stream.take(MAX_REPLY_OCTETS).read_line(&mut line).await?;
    if line.starts_with(start) && line.ends_with('\n') {
        return Ok(());
    }
    let got = line.trim_end().escape_debug();
    Err(io::Error::other(format!(
        "{what} is not {start} but \"{got}\""
    )))
}

/// Accepts any certificate: whether clients trust it is checked elsewhere.
#[derive(Debug)]
struct OwnCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
