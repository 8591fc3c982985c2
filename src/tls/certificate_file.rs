//! What a file holds: certificates, private keys and revocation lists, in PEM, DER or PKCS#12.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use data_encoding::BASE64;
use p12_keystore::{Pkcs12Archive, error::Error as Pkcs12Error};
use pkcs8::EncryptedPrivateKeyInfoRef;
use tokio_rustls::rustls::pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use x509_parser::asn1_rs::{Any, FromDer, Sequence, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::settings::Secret;

/// The largest file that is read. The chains and lists of real authorities are far below it.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const ENCRYPTED_KEY: [&str; 2] = [
    "-----BEGIN ENCRYPTED PRIVATE KEY-----",
    "-----END ENCRYPTED PRIVATE KEY-----",
];
/// How OpenSSL marked an encrypted key before there was PKCS#8.
const OLD_ENCRYPTED_KEY: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// What a file holds.
#[derive(Default)]
pub(super) struct CertificateFile {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<PrivateKeyDer<'static>>,
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
}

impl CertificateFile {
    /// Reads a file, whatever its name.
    pub(super) fn read(file: &Path, password: Option<&Secret>) -> anyhow::Result<Self> {
        let read = || {
            let metadata = std::fs::metadata(file)?;
            anyhow::ensure!(metadata.is_file(), "it is no file");
            anyhow::ensure!(metadata.len() <= LARGEST_FILE, "it is too large");
            let octets = std::fs::read(file)?;
            Self::parse(&octets, password)
        };
        read().with_context(|| format!("cannot read {}", file.display()))
    }

    fn parse(octets: &[u8], password: Option<&Secret>) -> anyhow::Result<Self> {
        let mut holding = Self::default();
        if memchr::memmem::find(octets, PEM_BEGIN).is_some() {
            holding.add_pem(octets, password)?;
        } else if is_pkcs12(octets) {
            holding.add_pkcs12(octets, password)?;
        } else if X509Certificate::from_der(octets).is_ok() {
            holding.certificates.push(octets.to_vec().into());
        } else if CertificateRevocationList::from_der(octets).is_ok() {
            holding.lists.push(octets.to_vec().into());
        } else if let Ok(key) = PrivateKeyDer::try_from(octets.to_vec()) {
            holding.keys.push(key);
        } else {
            bail!("it is not in PEM, PKCS#12 or DER");
        }
        Ok(holding)
    }

    fn add_pem(&mut self, octets: &[u8], password: Option<&Secret>) -> anyhow::Result<()> {
        if memchr::memmem::find(octets, OLD_ENCRYPTED_KEY).is_some() {
            bail!(
                "its private key is encrypted in an old way; `openssl pkey -in FILE -aes256` \
                 writes it in a new one"
            );
        }
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(octets) {
            let (kind, der) = section.map_err(|error| anyhow!("its PEM is broken: {error}"))?;
            match kind {
                SectionKind::Certificate => self.certificates.push(der.into()),
                SectionKind::Crl => self.lists.push(der.into()),
                SectionKind::PrivateKey => self.keys.push(PrivateKeyDer::Pkcs8(der.into())),
                SectionKind::RsaPrivateKey => self.keys.push(PrivateKeyDer::Pkcs1(der.into())),
                SectionKind::EcPrivateKey => self.keys.push(PrivateKeyDer::Sec1(der.into())),
                // Not ours to use.
                SectionKind::PublicKey | SectionKind::Csr | SectionKind::EchConfigList | _ => {}
            }
        }
        if let Some(key) = encrypted_section(octets) {
            self.keys.push(decrypted(&key?, password)?);
        }
        Ok(())
    }

    fn add_pkcs12(&mut self, octets: &[u8], password: Option<&Secret>) -> anyhow::Result<()> {
        let archive = open_pkcs12(octets, password)?;
        let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec());
        self.certificates.extend(certificates.map(Into::into));
        for bag in &archive.keys {
            let key = PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec());
            self.keys.push(key.into());
        }
        Ok(())
    }
}

/// The key in the first section of this kind, which the reader of PEM passes over.
fn encrypted_section(pem: &[u8]) -> Option<anyhow::Result<Vec<u8>>> {
    let [begin, end] = ENCRYPTED_KEY;
    let (_, rest) = split_once(pem, begin)?;
    let (text, _) = split_once(rest, end)?;
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|it| !it.is_ascii_whitespace())
        .collect();
    let key = BASE64.decode(&text);
    Some(key.context("its encrypted private key is broken"))
}

fn split_once<'a>(octets: &'a [u8], at: &str) -> Option<(&'a [u8], &'a [u8])> {
    let (before, rest) = octets.split_at_checked(memchr::memmem::find(octets, at.as_bytes())?)?;
    Some((before, rest.get(at.len()..)?))
}

fn decrypted(key: &[u8], password: Option<&Secret>) -> anyhow::Result<PrivateKeyDer<'static>> {
    let password =
        password.context("its private key is encrypted: set Pop3__CertificatePassword")?;
    let key = EncryptedPrivateKeyInfoRef::try_from(key)
        .map_err(|_| anyhow!("its encrypted private key is broken"))?;
    let key = key.decrypt(password.expose()).map_err(|error| {
        anyhow!("its private key could not be decrypted by Pop3__CertificatePassword: {error}")
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// Is it a PFX of RFC 7292, a sequence that begins with the version 3?
fn is_pkcs12(octets: &[u8]) -> bool {
    let content = Any::from_der(octets).map(|(_, pfx)| pfx.data);
    content.is_ok_and(|content| content.starts_with(&[0x02, 0x01, 0x03]))
}

fn open_pkcs12(octets: &[u8], password: Option<&Secret>) -> anyhow::Result<Pkcs12Archive> {
    // Of several files one may have no password.
    let passwords = password.map(Secret::expose).into_iter().chain([""]);
    let mut refused = None;
    for password in passwords {
        match Pkcs12Archive::from_pkcs12(octets, password) {
            Ok(archive) => return Ok(archive),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    // "No password" is not the empty one: the MAC has another key then, and is of no use, since
    // everybody knows it. What is encrypted is so with the empty password.
    if let Some(archive) =
        without_mac(octets).and_then(|octets| Pkcs12Archive::from_pkcs12(&octets, "").ok())
    {
        return Ok(archive);
    }
    Err(match (refused, password) {
        (Some(Pkcs12Error::MacError(_)), Some(_)) => {
            anyhow!("it is PKCS#12, and Pop3__CertificatePassword is not its password")
        }
        (Some(Pkcs12Error::MacError(_)), None) => {
            anyhow!("it is PKCS#12 with a password: set Pop3__CertificatePassword")
        }
        (Some(error), _) => anyhow!("its PKCS#12 can't be read: {error}"),
        (None, _) => anyhow!("its PKCS#12 can't be read"),
    })
}

/// The same PFX (version, content, MAC) but for its MAC.
fn without_mac(octets: &[u8]) -> Option<Vec<u8>> {
    let (_, pfx) = Any::from_der(octets).ok()?;
    let (after_version, _) = Any::from_der(pfx.data).ok()?;
    let (mac, _) = Any::from_der(after_version).ok()?;
    let kept = pfx.data.get(..pfx.data.len() - mac.len())?;
    Sequence::new(kept.into()).to_der_vec().ok()
}
