//! TLS: the server's certificates, whom they are shown to, and which clients' are believed.
//!
//! What the files say is read at the start and again whenever they change ([`RenewalActor`]).
//! A handshake works with what was in force when it began, and a session with its handshake, so
//! nobody notices a renewal.

mod certificate;
mod certificate_file;
mod clients;
mod failure;
mod files;
mod renewal;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::{Acceptor, ClientHello};
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};
use tokio_rustls::server::TlsStream;

use crate::metrics::Metrics;
use crate::settings::Pop3;
use certificate::Certificate;
use clients::Clients;
use files::Sources;

pub use failure::{HandshakeError, HandshakeFailure};
pub use renewal::{Renew, RenewalActor, WARN_BEFORE};

/// The label of the exporter that binds a login to its connection (RFC 9266, section 4.2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// How many octets it exports.
const EXPORTER_OCTETS: usize = 32;

/// How this server shakes hands.
#[derive(Debug)]
pub struct Tls {
    sources: Sources,
    metrics: Arc<Metrics>,
    // Held for as long as it takes to clone the Arc.
    current: Mutex<Arc<Current>>,
    watch: Mutex<renewal::Watch>,
}

/// What the files said when they were last read without a mistake.
#[derive(Debug)]
struct Current {
    certificates: Vec<Arc<Certificate>>,
    clients: Option<Clients>,
}

/// Whether a client may ask for another protocol than POP3 (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// It may, and none is agreed on: some clients name a protocol of another port.
    Lenient,
    /// It is refused.
    Strict,
}

/// A certificate that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct CertificateReport {
    pub file: PathBuf,
    pub names: Vec<String>,
    pub not_after: SystemTime,
}

/// A connection after its handshake.
pub struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    certificate: Arc<Certificate>,
    client_addresses: Box<[String]>,
}

impl Tls {
    /// Reads the configured files; `None` if there is no certificate.
    ///
    /// # Errors
    /// If a file can't be read or used; the text names it and says why.
    pub fn load(settings: &Pop3, metrics: Arc<Metrics>) -> anyhow::Result<Option<Self>> {
        let Some(sources) = Sources::of(settings)? else {
            return Ok(None);
        };
        // The look comes first: what changes while we read is then seen at the next one.
        let watch = renewal::Watch::begin(&sources);
        let current = Current::load(&sources)?;
        let tls = Self {
            sources,
            metrics,
            current: Mutex::new(Arc::new(current)),
            watch: Mutex::new(watch),
        };
        tls.note_expiry();
        Ok(Some(tls))
    }

    /// The files that hold private keys, as they are now.
    pub fn key_files(&self) -> Vec<PathBuf> {
        certificate::key_files(&self.sources)
    }

    /// The certificates that new handshakes choose from.
    pub fn certificates(&self) -> Vec<CertificateReport> {
        let current = self.current();
        let report = |certificate: &Arc<Certificate>| CertificateReport {
            file: certificate.file.clone(),
            names: certificate.names.clone(),
            not_after: certificate.not_after,
        };
        current.certificates.iter().map(report).collect()
    }

    /// Shakes hands. Whoever calls sets the deadline.
    ///
    /// # Errors
    /// If the connection breaks, the two have no version or cipher suite in common, or the
    /// client's certificate is not a good one.
    pub async fn accept(&self, stream: TcpStream, alpn: Alpn) -> Result<Secured, HandshakeError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let current = self.current();
        let hello = start.client_hello();
        let certificate = current.choose(&hello);
        let certificate = certificate.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let config = certificate.config(&hello, alpn);
        let stream = start.into_stream(config).await?;
        let (_, connection) = stream.get_ref();
        let client_addresses = match (&current.clients, connection.peer_certificates()) {
            (Some(clients), Some(chain)) => {
                // A ticket says who the client was, and it may be older than the trust in them.
                if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
                    clients.verify(chain).map_err(io::Error::other)?;
                }
                clients::addresses(chain)
            }
            (None, _) | (_, None) => Vec::new(),
        };
        Ok(Secured {
            stream,
            certificate,
            client_addresses: client_addresses.into(),
        })
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&lock(&self.current))
    }
}

impl Current {
    fn load(sources: &Sources) -> anyhow::Result<Self> {
        let clients = Clients::load(sources)?;
        let certificates = certificate::load(sources, clients.as_ref())?;
        Ok(Self {
            certificates,
            clients,
        })
    }

    /// The certificate for the name that the client asks for, else any. Of several it is the first
    /// whose kind of key the client knows.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<Certificate>> {
        let fit = |certificate: &&Arc<Certificate>| certificate.fit(hello.server_name());
        let best = self.certificates.iter().map(|it| fit(&it)).max()?;
        let mut fitting = self.certificates.iter().filter(|it| fit(it) == best);
        let usable = fitting.clone().find(|it| it.is_usable(hello));
        usable.or_else(|| fitting.next()).cloned()
    }
}

impl Secured {
    /// Is there anything that a login can be bound to?
    pub fn can_bind(&self) -> bool {
        let version = self.stream.get_ref().1.protocol_version();
        self.certificate.end_point.is_some() || version == Some(ProtocolVersion::TLSv1_3)
    }

    /// What a login can be bound to, so that nobody in the middle can pass it on: the names of
    /// RFC 5929 and RFC 9266.
    pub fn channel_binding(&self, name: &str) -> Option<Vec<u8>> {
        let (_, connection) = self.stream.get_ref();
        match name {
            "tls-server-end-point" => self.certificate.end_point.clone(),
            // In TLS 1.2 it would need the extended master secret, and rustls does not say
            // whether there was one.
            "tls-exporter" if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) => {
                let room = vec![0; EXPORTER_OCTETS];
                let exported = connection.export_keying_material(room, EXPORTER_LABEL, Some(b""));
                exported.ok()
            }
            _ => None,
        }
    }

    /// The addresses that the client's verified certificate is for.
    pub fn client_addresses(&self) -> &[String] {
        &self.client_addresses
    }

    /// The version of TLS and the cipher suite.
    pub fn protocol(&self) -> (&'static str, &'static str) {
        let (_, connection) = self.stream.get_ref();
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            // There is no other that we speak.
            Some(_) | None => "TLS",
        };
        let suite = connection.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str());
        (version, suite.unwrap_or_default())
    }
}

/// What is locked is replaced as a whole, so it can't be half made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
