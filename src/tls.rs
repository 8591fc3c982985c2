//! The certificate of the server, and how to shake hands with it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::settings::Pop3;

/// The protocol's name in ALPN (registered by IANA).
const ALPN_POP3: &[u8] = b"pop3";

/// The acceptor for the configured certificate, if there is one.
///
/// # Errors
/// If a file can't be read, or does not hold what it should.
pub fn acceptor(settings: &Pop3) -> anyhow::Result<Option<TlsAcceptor>> {
    let Some(certificate) = settings.certificate_path.first() else {
        return Ok(None);
    };
    let key = settings.certificate_key_path.first().unwrap_or(certificate);
    let chain = read_chain(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("no private key in PEM could be read from {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!(
                "the certificate {} does not fit its key",
                certificate.display()
            )
        })?;
    config.alpn_protocols = vec![ALPN_POP3.to_vec()];
    // A client that polls every few minutes resumes by its ticket; nothing is kept for it here.
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || anyhow::Ok(CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?);
    let chain = read().with_context(|| {
        format!(
            "no certificate in PEM could be read from {}",
            path.display()
        )
    })?;
    anyhow::ensure!(
        !chain.is_empty(),
        "there is no certificate in PEM in {}",
        path.display()
    );
    Ok(chain)
}
