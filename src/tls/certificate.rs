//! The certificates of the server, each with its key, and which of them suits a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512,
    OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
};
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::Alpn;
use super::certificate_file::CertificateFile;
use super::clients::Clients;
use super::files::{Sources, files_at};

/// The protocol's name in ALPN (registered by IANA).
const ALPN_POP3: &[u8] = b"pop3";

/// A certificate and how to shake hands with it.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) file: PathBuf,
    /// The DNS names that it is for, in lower case.
    pub(super) names: Vec<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// The channel binding `tls-server-end-point`, if its signature has a hash.
    pub(super) end_point: Option<Vec<u8>>,
    /// For clients that ask for POP3, or for no protocol at all.
    config: Arc<ServerConfig>,
    /// For clients that ask for other protocols.
    without_alpn: Arc<ServerConfig>,
    key: Arc<dyn SigningKey>,
}

/// How well a certificate's names fit what the client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It has another name, or the client does not say which one it wants.
    Other,
    /// By `*` for the first label.
    Wildcard,
    /// It is the same name.
    Name,
}

/// Reads all certificates, in the order of the settings.
pub(super) fn load(
    sources: &Sources,
    clients: Option<&Clients>,
) -> anyhow::Result<Vec<Arc<Certificate>>> {
    let mut certificates = Vec::new();
    for (path, key_path) in &sources.certificates {
        let read = |path: &Path| -> anyhow::Result<Vec<(PathBuf, CertificateFile)>> {
            let files = files_at(path)?.into_iter();
            let read = files.map(|file| {
                let holding = CertificateFile::read(&file, sources.password.as_ref())?;
                Ok((file, holding))
            });
            read.collect()
        };
        let holdings = read(path)?;
        let elsewhere = key_path.as_deref().map(read).transpose()?;
        let key_files = elsewhere.iter().flatten().chain(&holdings);
        let keys: Vec<_> = key_files.flat_map(|(_, held)| &held.keys).collect();
        let found = pair(path, &holdings, &keys)?;
        for (file, pair) in found {
            certificates.push(Arc::new(Certificate::new(file, pair, clients)?));
        }
    }
    Ok(certificates)
}

/// The files that hold a private key, of all that are read.
pub(super) fn key_files(sources: &Sources) -> Vec<PathBuf> {
    let paths = sources
        .certificates
        .iter()
        .flat_map(|(path, key_path)| std::iter::once(path).chain(key_path));
    let files = paths.flat_map(|path| files_at(path).unwrap_or_default());
    let has_key = |file: &PathBuf| {
        let holding = CertificateFile::read(file, sources.password.as_ref());
        holding.is_ok_and(|holding| !holding.keys.is_empty())
    };
    files.filter(has_key).collect()
}

/// Finds the key of each chain. In a folder, authorities without a key are passed over: certbot
/// puts the chain alone beside the others.
fn pair(
    path: &Path,
    holdings: &[(PathBuf, CertificateFile)],
    keys: &[&PrivateKeyDer<'static>],
) -> anyhow::Result<Vec<(PathBuf, CertifiedKey)>> {
    let mut found: Vec<(PathBuf, CertifiedKey)> = Vec::new();
    for (file, held) in holdings {
        let pair = match certified(&held.certificates, keys) {
            Ok(pair) => pair,
            Err(_) if path.is_dir() && held.certificates.iter().all(is_authority) => continue,
            Err(error) => {
                let what = format!("cannot use the certificate {}", file.display());
                return Err(error.context(what));
            }
        };
        // certbot writes the certificate with and without its chain: the chain is wanted.
        let first = pair.cert.first();
        match found
            .iter_mut()
            .find(|(_, other)| other.cert.first() == first)
        {
            Some(other) if other.1.cert.len() < pair.cert.len() => *other = (file.clone(), pair),
            Some(_) => {}
            None => found.push((file.clone(), pair)),
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "there is no certificate with its private key in {}",
        path.display()
    );
    Ok(found)
}

fn is_authority(certificate: &CertificateDer<'static>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, it)| it.is_ca())
}

/// The chain that begins with the certificate that one of the keys fits.
fn certified(
    certificates: &[CertificateDer<'static>],
    keys: &[&PrivateKeyDer<'static>],
) -> anyhow::Result<CertifiedKey> {
    if certificates.is_empty() {
        bail!("there is no certificate in it");
    }
    if keys.is_empty() {
        bail!(
            "there is no private key beside it; Pop3__CertificateKeyPath names its file if it is \
             in another"
        );
    }
    for key in keys {
        let signing = ring::default_provider().key_provider;
        let signing = signing.load_private_key(key.clone_key());
        let signing = signing.map_err(|error| anyhow!("its private key can't be used: {error}"))?;
        for certificate in certificates {
            let pair = CertifiedKey::new(chain(certificate, certificates), Arc::clone(&signing));
            match pair.keys_match() {
                Ok(()) => return Ok(pair),
                Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {}
                Err(error) => bail!("{error}"),
            }
        }
    }
    bail!("its private key belongs to another certificate")
}

/// The certificate, then who issued it, and so on; what does not belong to it comes last, as it
/// was given.
fn chain(
    first: &CertificateDer<'static>,
    given: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![first.clone()];
    let mut rest: Vec<_> = given.iter().filter(|it| *it != first).cloned().collect();
    while let Some(at) = chain.last().and_then(|last| {
        let (_, last) = X509Certificate::from_der(last).ok()?;
        rest.iter().position(|it| {
            X509Certificate::from_der(it).is_ok_and(|(_, it)| it.subject() == last.issuer())
        })
    }) {
        chain.push(rest.remove(at));
    }
    chain.extend(rest);
    chain
}

impl Certificate {
    fn new(file: PathBuf, pair: CertifiedKey, clients: Option<&Clients>) -> anyhow::Result<Self> {
        let (certificate, key) = (pair.end_entity_cert()?.clone(), Arc::clone(&pair.key));
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("cannot read the certificate {}", file.display()))?;
        let validity = parsed.validity().clone();
        let end_point = end_point(&parsed, &certificate);
        let names = alternative_names(&parsed, dns_name);
        let config = config(pair, clients)?;
        // It has the same keys for tickets, so either resumes what the other began.
        let mut without_alpn = config.clone();
        without_alpn.alpn_protocols.clear();
        Ok(Self {
            file,
            names,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            end_point,
            config: Arc::new(config),
            without_alpn: Arc::new(without_alpn),
            key,
        })
    }

    /// How to shake hands with this client. With a protocol list of our own, the library refuses a
    /// client that has none of it in its list.
    pub(super) fn config(&self, hello: &ClientHello<'_>, alpn: Alpn) -> Arc<ServerConfig> {
        let asks_for_pop3 = match hello.alpn() {
            Some(mut protocols) => protocols.any(|protocol| protocol == ALPN_POP3),
            None => true,
        };
        let config = match alpn {
            Alpn::Lenient if !asks_for_pop3 => &self.without_alpn,
            Alpn::Lenient | Alpn::Strict => &self.config,
        };
        Arc::clone(config)
    }

    /// Is it for this name? A dot at its end is no part of it.
    pub(super) fn fit(&self, name: Option<&str>) -> Fit {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return Fit::Other;
        };
        let name = name.strip_suffix('.').unwrap_or(&name);
        // A wildcard stands for one label (RFC 9525, section 6.3).
        let domain = name.split_once('.').map(|(_, domain)| domain);
        let wildcard = |known: &&String| {
            let known = known.strip_prefix("*.");
            known.is_some() && known == domain
        };
        if self.names.iter().any(|known| known == name) {
            Fit::Name
        } else if self.names.iter().any(|known| wildcard(&known)) {
            Fit::Wildcard
        } else {
            Fit::Other
        }
    }

    /// Can the client check signatures of its key, and is there a cipher suite for it?
    pub(super) fn is_usable(&self, hello: &ClientHello<'_>) -> bool {
        let suites = ring::ALL_CIPHER_SUITES.iter();
        let mut shared = suites.filter(|suite| hello.cipher_suites().contains(&suite.suite()));
        self.key.choose_scheme(hello.signature_schemes()).is_some()
            && shared.any(|suite| suite.usable_for_signature_algorithm(self.key.algorithm()))
    }
}

fn config(pair: CertifiedKey, clients: Option<&Clients>) -> anyhow::Result<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])?;
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(clients.verifier()),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![ALPN_POP3.to_vec()];
    // A client that polls every few minutes resumes by its ticket; nothing is kept for it here.
    // Each certificate has tickets of its own, so a session that is resumed is one with the same
    // certificate, to which a login may be bound.
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// What this makes of the names in the subjectAltName.
pub(super) fn alternative_names(
    certificate: &X509Certificate<'_>,
    read: impl Fn(&GeneralName<'_>) -> Option<String>,
) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names.filter_map(read).collect()
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::DNSName(name) = name else {
        return None;
    };
    Some(name.to_ascii_lowercase())
}

/// The hash of the certificate, by the hash function of its signature, and by SHA-256 in place of
/// MD5 and SHA-1 (RFC 5929, section 4.1).
fn end_point(parsed: &X509Certificate<'_>, der: &[u8]) -> Option<Vec<u8>> {
    let pss = match SignatureAlgorithm::try_from(&parsed.signature_algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => Some(parameters),
        _ => None,
    };
    let hash = match &pss {
        Some(parameters) => parameters.hash_algorithm_oid(),
        None => &parsed.signature_algorithm.algorithm,
    };
    let is = |known: &[Oid<'_>]| known.contains(hash);
    if is(&BY_SHA256) {
        Some(Sha256::digest(der).to_vec())
    } else if is(&BY_SHA384) {
        Some(Sha384::digest(der).to_vec())
    } else if is(&BY_SHA512) {
        Some(Sha512::digest(der).to_vec())
    } else {
        // Of Ed25519 the RFC says nothing, and clients differ.
        None
    }
}

/// The signatures, and the hashes of RSASSA-PSS, for which the hash is SHA-256.
const BY_SHA256: [Oid<'_>; 7] = [
    OID_PKCS1_SHA256WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256,
    OID_NIST_HASH_SHA256,
    OID_PKCS1_MD5WITHRSAENC,
    OID_PKCS1_SHA1WITHRSA,
    OID_ECDSA_WITH_SHA1,
    OID_HASH_SHA1,
];

/// Those with SHA-384.
const BY_SHA384: [Oid<'_>; 3] = [
    OID_PKCS1_SHA384WITHRSA,
    OID_SIG_ECDSA_WITH_SHA384,
    OID_NIST_HASH_SHA384,
];

/// Those with SHA-512.
const BY_SHA512: [Oid<'_>; 3] = [
    OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA512,
    OID_NIST_HASH_SHA512,
];

/// `ecdsa-with-SHA1`.
const OID_ECDSA_WITH_SHA1: Oid<'_> = oid!(1.2.840.10045.4.1);

/// A time before 1970 is 1970: long past, too.
pub(super) fn time(timestamp: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp).unwrap_or(0))
}
