//! TLS: certificates, whom they are shown to, and which clients' are believed.

pub(crate) mod authority;
mod binding;
mod choice;
mod clients;
mod external;
mod failures;
mod files;
mod programs;
mod renewal;

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use restante::metrics::Metrics;
use restante::settings::Config;
use restante::tls::{Alpn, HandshakeError, Secured, Tls};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    StreamOwned,
};

use crate::support::DEADLINE;

/// A folder for certificates and keys.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file as renewals should: all of it is there at once. Its path.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let (file, draft) = (self.path(name), self.path("draft"));
        std::fs::write(&draft, content).unwrap();
        std::fs::rename(draft, &file).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs a program in this folder, which must succeed.
    fn run(&self, line: &str) {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let output = command.args(words).current_dir(self.0.path()).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
    }

    /// A self-signed RSA certificate for this name, which needs openssl: NAME.pem and NAME.key.
    fn make_rsa(&self, name: &str) {
        self.run(&format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 30 \
             -subj /CN={name} -addext subjectAltName=DNS:{name}"
        ));
    }
}

/// Reads certificates as the server does; an error as the log would say it.
fn load(settings: &[(&str, &str)]) -> Result<Tls, String> {
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    let config = Config::load(None, settings.iter().map(pair))
        .unwrap()
        .config;
    let metrics = Arc::new(Metrics::new().unwrap());
    match Tls::load(&config.pop3, metrics) {
        Ok(tls) => Ok(tls.expect("there is a certificate")),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// A client, and what it found.
struct Shaken {
    server: Result<Secured, HandshakeError>,
    client: std::io::Result<TlsStream<TcpStream>>,
}

/// Shakes hands with a server that has these certificates, over a real connection.
async fn shake(tls: &Tls, client: ClientConfig, name: &str) -> Shaken {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        connector.connect(name, stream).await
    };
    let accepting = async {
        let (stream, _) = listener.accept().await?;
        tls.accept(stream, Alpn::Lenient).await
    };
    let both = async { tokio::join!(accepting, connecting) };
    let (server, client) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    Shaken { server, client }
}

impl Shaken {
    /// The server's certificate, if all went well.
    fn shown(&self) -> CertificateDer<'static> {
        assert!(self.server.is_ok(), "{:?}", self.server.as_ref().err());
        let (_, connection) = self.client.as_ref().unwrap().get_ref();
        connection.peer_certificates().unwrap()[0].clone()
    }

    /// Was it a full handshake, or did a ticket save it?
    fn kind(&self) -> Option<HandshakeKind> {
        self.client.as_ref().unwrap().get_ref().1.handshake_kind()
    }

    /// Ends the connection. The client has then read the ticket for its next one.
    async fn take_ticket(self) {
        drop(self.server);
        // The server has closed without a word, which is no end in order.
        drop(self.client.unwrap().read(&mut [0]).await);
    }
}

/// A client that takes any certificate, with all that rustls can do.
fn anybody() -> ClientConfig {
    anybody_with(ring::default_provider(), None)
}

/// A client that takes any certificate whose key makes such signatures.
fn anybody_with(provider: CryptoProvider, schemes: Option<Vec<SignatureScheme>>) -> ClientConfig {
    let all = provider
        .signature_verification_algorithms
        .supported_schemes();
    let verifier = Anybody {
        schemes: schemes.unwrap_or(all),
        provider: provider.clone(),
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// Believes every certificate: the tests look at it themselves.
#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Anybody {
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
        let known = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// The certificate that a POP3S port shows, and the greeting behind it.
pub(crate) fn shown_by(address: SocketAddr) -> CertificateDer<'static> {
    let tcp = StdStream::connect_timeout(&address, DEADLINE).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(anybody()), name).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    let mut greeting = [0; 3];
    std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
    assert_eq!(&greeting, b"+OK");
    stream.conn.peer_certificates().unwrap()[0].clone()
}

/// Does a handshake succeed that asks for this protocol by ALPN?
pub(crate) fn shakes_for(address: SocketAddr, protocol: &str) -> bool {
    let mut tcp = StdStream::connect_timeout(&address, DEADLINE).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut config = anybody();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut tcp).is_err() {
            return false;
        }
    }
    true
}

/// Is this program here? If not, it is said once.
fn is_here(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&paths).any(|folder| folder.join(program).exists());
    if !here {
        let skipped = format!("a test with {program} skipped: it is not installed\n");
        // Not eprint!, which the test harness keeps to itself while tests pass.
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
    here
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
