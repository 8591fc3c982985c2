//! A folder with a file for each message.

use std::fs::{DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::About;
use super::lines::UnixLines;

/// The folders that every Maildir has.
const MAILDIR_FOLDERS: [&str; 3] = ["cur", "new", "tmp"];

/// Writes messages into files of their own.
pub(super) struct Folder {
    folder: TempDir,
    form: Form,
    count: u64,
    current: Option<Current>,
}

enum Form {
    Eml,
    /// With what `dovecot-uidlist` says of the messages so far.
    Maildir {
        uids: String,
    },
}

struct Current {
    file: BufWriter<File>,
    received_at: SystemTime,
    /// Maildirs have the line ends of the machine.
    lines: Option<UnixLines>,
}

impl Folder {
    pub(super) fn eml(folder: TempDir) -> Self {
        Self {
            folder,
            form: Form::Eml,
            count: 0,
            current: None,
        }
    }

    pub(super) fn maildir(folder: TempDir) -> io::Result<Self> {
        for name in MAILDIR_FOLDERS {
            let mut private = DirBuilder::new();
            private.mode(0o700).create(folder.path().join(name))?;
        }
        let uids = String::new();
        Ok(Self {
            form: Form::Maildir { uids },
            ..Self::eml(folder)
        })
    }

    pub(super) fn begin(&mut self, about: &About) -> io::Result<()> {
        self.count += 1;
        let count = self.count;
        let name = match &mut self.form {
            Form::Eml => format!("{count:06}.eml"),
            Form::Maildir { uids } => {
                let since = about.received_at.duration_since(SystemTime::UNIX_EPOCH);
                let seconds = since.unwrap_or_default().as_secs();
                // As Dovecot keeps what UIDL said: field P of a line for each message.
                let file = format!("{seconds}.Q{count}.restante");
                uids.push_str(&format!("{count} P{} :{file}\n", about.unique_id));
                format!("cur/{file}:2,")
            }
        };
        let file = create(&self.folder.path().join(name))?;
        self.current = Some(Current {
            file: BufWriter::new(file),
            received_at: about.received_at,
            lines: matches!(self.form, Form::Maildir { .. }).then(UnixLines::default),
        });
        Ok(())
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let Some(lines) = &mut current.lines else {
            return current.file.write_all(octets);
        };
        let mut out = Vec::with_capacity(octets.len());
        lines.push(octets, &mut out);
        current.file.write_all(&out)
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        let mut out = Vec::new();
        if let Some(lines) = current.lines {
            lines.finish(&mut out);
        }
        current.file.write_all(&out)?;
        let file = current.file.into_inner();
        let file = file.map_err(io::IntoInnerError::into_error)?;
        file.set_times(FileTimes::new().set_modified(current.received_at))?;
        file.sync_all()
    }

    /// All messages are here.
    pub(super) fn finish(self) -> io::Result<TempDir> {
        if let Form::Maildir { uids } = &self.form {
            let (uidvalidity, guid) = identity(uids);
            let next = self.count + 1;
            let list = format!("3 V{uidvalidity} N{next} G{guid}\n{uids}");
            let mut file = create(&self.folder.path().join("dovecot-uidlist"))?;
            file.write_all(list.as_bytes())?;
            file.sync_all()?;
            // The names of the messages are to survive a power cut as well as their octets.
            for name in MAILDIR_FOLDERS {
                File::open(self.folder.path().join(name))?.sync_all()?;
            }
        }
        File::open(self.folder.path())?.sync_all()?;
        Ok(self.folder)
    }
}

/// Makes a new file that only its owner can read, also after it is moved.
fn create(path: &Path) -> io::Result<File> {
    let mut new = OpenOptions::new();
    new.write(true).create_new(true).mode(0o600).open(path)
}

/// Returns the identity of a new Maildir: its UIDVALIDITY, and a GUID.
fn identity(uids: &str) -> (u32, String) {
    let digest = Sha256::digest(uids.as_bytes());
    let guid: String = digest
        .iter()
        .take(16)
        .map(|octet| format!("{octet:02x}"))
        .collect();
    let uidvalidity = u32::from_str_radix(guid.get(..7).unwrap_or("1"), 16);
    (uidvalidity.unwrap_or(1).max(1), guid)
}
