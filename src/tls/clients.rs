//! Whose certificates are believed when clients show them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{Error, RootCertStore};
use x509_parser::asn1_rs::{Any, Utf8String};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{alternative_names, time};
use super::certificate_file::CertificateFile;
use super::files::{ClientSources, Sources};

/// `SmtpUTF8Mailbox`, an address that is not all ASCII (RFC 9598).
const SMTP_UTF8_MAILBOX: Oid<'_> = oid!(1.3.6.1.5.5.7.8.9);

/// The authorities of clients, and what these have revoked.
#[derive(Debug)]
pub(super) struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// The revocation lists and until when they are good.
    pub(super) lists: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Clients {
    pub(super) fn load(sources: &Sources) -> anyhow::Result<Option<Self>> {
        sources.clients.as_ref().map(Self::read).transpose()
    }

    fn read(sources: &ClientSources) -> anyhow::Result<Self> {
        let file = &sources.authorities;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateFile::read(file, None)?.certificates {
            roots.add(certificate).map_err(|error| {
                anyhow!("cannot use an authority in {}: {error}", file.display())
            })?;
        }
        anyhow::ensure!(
            !roots.is_empty(),
            "there is no certificate of an authority in {} (Pop3__ClientCaPath)",
            file.display()
        );
        let provider = Arc::new(ring::default_provider());
        // Whoever shows no certificate logs in by a key.
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated();
        let mut lists = Vec::new();
        for file in &sources.lists {
            let held = CertificateFile::read(file, None)?.lists;
            anyhow::ensure!(
                !held.is_empty(),
                "there is no revocation list in {} (Pop3__CrlPath)",
                file.display()
            );
            for list in held {
                lists.push((file.clone(), next_update(&list)));
                builder = builder.with_crls([list]);
            }
        }
        if !lists.is_empty() {
            // Safe rather than sorry: a list that should have been renewed can't tell who is
            // revoked by now, and of an authority without a list nobody can. Both refuse the
            // client (rustls does so for the second unless told otherwise), in the whole chain.
            builder = builder.enforce_revocation_expiration();
        }
        let verifier = builder.build();
        let verifier = verifier.context("cannot use the revocation lists of Pop3__CrlPath")?;
        Ok(Self { verifier, lists })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Checks a client's certificate, with what follows it, as a handshake does.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (first, rest) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let verified = self
            .verifier
            .verify_client_cert(first, rest, UnixTime::now());
        verified.map(drop)
    }
}

/// The addresses that the first of these certificates is for.
pub(super) fn addresses(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let parsed = chain.first().map(|first| X509Certificate::from_der(first));
    let Some(Ok((_, certificate))) = parsed else {
        return Vec::new();
    };
    alternative_names(&certificate, address)
}

fn address(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::RFC822Name(address) = name {
        return Some((*address).to_owned());
    }
    let GeneralName::OtherName(kind, value) = name else {
        return None;
    };
    if *kind != SMTP_UTF8_MAILBOX {
        return None;
    }
    // Explicitly tagged: the text stands inside of another element.
    let (_, outer) = Any::from_der(value).ok()?;
    let (_, address) = Utf8String::from_der(outer.data).ok()?;
    Some(address.string())
}

fn next_update(list: &[u8]) -> Option<SystemTime> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    list.next_update().map(|at| time(at.timestamp()))
}
