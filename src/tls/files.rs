//! The files that the settings name, and a stamp that shows whether they have changed.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::settings::{Pop3Settings, SecretText};

/// The endings of file names in a folder of certificates.
const ENDINGS: [&str; 6] = ["pem", "crt", "cer", "key", "p12", "pfx"];

/// The files that a handshake needs.
#[derive(Debug)]
pub(super) struct Sources {
    /// The file or folder of each certificate, and that of its key.
    pub(super) certificates: Vec<(PathBuf, Option<PathBuf>)>,
    pub(super) password: Option<SecretText>,
    pub(super) clients: Option<ClientSources>,
}

/// The files that clients' certificates are verified with.
#[derive(Debug)]
pub(super) struct ClientSources {
    pub(super) authorities: PathBuf,
    /// The revocation lists; `None` if revocation is not checked.
    pub(super) lists: Vec<PathBuf>,
}

impl Sources {
    /// Takes the files from the settings; `None` if there is no certificate, and so no TLS.
    pub(super) fn of(settings: &Pop3Settings) -> anyhow::Result<Option<Self>> {
        let (paths, keys) = (&settings.certificate_path, &settings.certificate_key_path);
        anyhow::ensure!(
            keys.is_empty() || keys.len() == paths.len(),
            "Pop3__CertificateKeyPath names {} files and Pop3__CertificatePath {}: \
             there is one key for each certificate, in the same order",
            keys.len(),
            paths.len()
        );
        let clients = ClientSources::of(settings)?;
        if paths.is_empty() {
            return Ok(None);
        }
        let keys = keys.iter().cloned().map(Some);
        let keys = keys.chain(std::iter::repeat(None));
        Ok(Some(Self {
            certificates: paths.iter().cloned().zip(keys).collect(),
            password: settings.certificate_password.clone(),
            clients,
        }))
    }

    /// Returns a stamp of all files, which changes when one of them does.
    pub(super) fn stamp(&self) -> Stamp {
        let mut stamp = Stamp::default();
        for (certificate, key) in &self.certificates {
            stamp.add(certificate);
            if let Some(key) = key {
                stamp.add(key);
            }
        }
        if let Some(clients) = &self.clients {
            stamp.add(&clients.authorities);
            for list in &clients.lists {
                stamp.add(list);
            }
        }
        stamp
    }
}

impl ClientSources {
    fn of(settings: &Pop3Settings) -> anyhow::Result<Option<Self>> {
        let Some(authorities) = &settings.client_ca_path else {
            return Ok(None);
        };
        let checks = settings.check_certificate_revocation;
        anyhow::ensure!(
            !checks || !settings.crl_path.is_empty(),
            "Pop3__ClientCaPath is set, so clients' certificates are checked against revocation \
             lists, and there are none: set Pop3__CrlPath to them, or \
             Pop3__CheckCertificateRevocation=false"
        );
        let lists = checks.then(|| settings.crl_path.clone());
        Ok(Some(Self {
            authorities: authorities.clone(),
            lists: lists.unwrap_or_default(),
        }))
    }
}

/// The stamp of several files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(BTreeMap<PathBuf, Option<Look>>);

/// Inode, size, and the times of the last change of content and inode.
type Look = (u64, u64, (i64, i64), (i64, i64));

impl Stamp {
    fn add(&mut self, path: &Path) {
        // certbot renews by giving a symbolic link another target, so links are followed.
        let look = std::fs::metadata(path).ok();
        if look.as_ref().is_some_and(Metadata::is_dir) {
            for file in files_in(path).unwrap_or_default() {
                self.add(&file);
            }
        }
        let look = look.map(|it| {
            let changed = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
            (it.ino(), it.size(), changed.0, changed.1)
        });
        self.0.insert(path.to_owned(), look);
    }
}

/// Returns the file itself, or the files of a folder that may hold certificates or keys.
pub(super) fn files_at(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files = files_in(path).with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(
        !files.is_empty(),
        "there is no certificate in the folder {}: none of its files ends in .{}",
        path.display(),
        ENDINGS.join(", .")
    );
    Ok(files)
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let counts = ending.is_some_and(|ending| {
            let ending = ending.to_ascii_lowercase();
            ENDINGS.contains(&ending.as_str())
        });
        if counts && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
