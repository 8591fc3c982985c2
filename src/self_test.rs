//! The server as its own client: does it greet?
//!
//! Such a connection is announced before it is made, so that it is not taken for a user's: it
//! counts in no metric and no limit, and is not told at the usual level of the log.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version::TLS12, version::TLS13,
};

use crate::session::ListenerKind;

/// How much of a reply is read at most.
const MAX_REPLY_OCTETS: u64 = 512;

/// The connections that this server is about to make to itself, by their address and port.
#[derive(Debug, Clone, Default)]
pub struct SelfTests {
    expected: Arc<Mutex<HashSet<SocketAddr>>>,
}

/// One that is announced, until this is dropped.
struct Announced {
    tests: SelfTests,
    from: SocketAddr,
}

impl SelfTests {
    /// Is this client the server itself?
    pub fn expect(&self, client: SocketAddr) -> bool {
        self.expected().contains(&canonical(client))
    }

    /// Connects to this server as a client does, reads the greeting, and says QUIT.
    ///
    /// # Errors
    /// If it does not answer `+OK` to both; the text says what it did. There is no deadline.
    pub async fn run(&self, address: SocketAddr, kind: ListenerKind) -> Result<(), String> {
        let (stream, _announced) = self
            .connect(reachable(address))
            .await
            .map_err(|error| format!("no connection: {error}"))?;
        let talked = match kind {
            ListenerKind::Plain => talk(stream).await,
            ListenerKind::Tls => match shake_hands(stream).await {
                Ok(stream) => talk(stream).await,
                Err(error) => return Err(format!("no TLS: {error}")),
            },
        };
        talked.map_err(|error| error.to_string())
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<(TcpStream, Announced)> {
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // From its own address, and a port that is known before the connection is there.
        socket.bind(SocketAddr::new(to.ip(), 0))?;
        let from = canonical(socket.local_addr()?);
        self.expected().insert(from);
        let tests = self.clone();
        let announced = Announced { tests, from };
        Ok((socket.connect(to).await?, announced))
    }

    fn expected(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.tests.expected().remove(&self.from);
    }
}

/// A client of an IPv4 address is the same client on a socket for both.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where a server is reached that listens here.
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

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    expect_ok("the greeting", &mut stream).await?;
    stream.write_all(b"QUIT\r\n").await?;
    stream.flush().await?;
    expect_ok("the reply to QUIT", &mut stream).await
}

async fn expect_ok(
    what: &str,
    stream: &mut (impl AsyncBufReadExt + AsyncReadExt + Unpin),
) -> io::Result<()> {
    let mut line = String::new();
    stream.take(MAX_REPLY_OCTETS).read_line(&mut line).await?;
    if line.starts_with("+OK") && line.ends_with('\n') {
        return Ok(());
    }
    let got = line.trim_end().escape_debug();
    Err(io::Error::other(format!("{what} is not +OK but \"{got}\"")))
}

/// Takes any certificate: whether clients trust it is asked elsewhere, and this is no client.
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
