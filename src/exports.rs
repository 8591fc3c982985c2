//! Mail on its way out: an mbox file, a Maildir, or a folder of .eml files.
//!
//! Nothing that exists is overwritten. What is being written has another name until it is complete,
//! so that a file with its final name is complete.

mod folder;
mod lines;
mod mbox;

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use folder::Folder;
use mbox::Mbox;

/// In which form mail is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One file with all messages, in the form that is called mboxrd.
    Mbox,
    /// A Maildir, with a dovecot-uidlist that holds the unique-ids.
    Maildir,
    /// A folder with a file for each message, as RETR sends it.
    Eml,
}

/// The properties of a message besides its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Time of receipt.
    pub received_at: SystemTime,
    /// Its unique-id.
    pub unique_id: String,
    /// Its sender, if its Return-Path says so.
    pub sender: Option<String>,
}

/// Reasons why nothing was exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Something has this name already.
    #[error("{} exists already, and is not overwritten: choose another path", .0.display())]
    Exists(PathBuf),
    /// The operating system refuses.
    #[error("{} can't be written: {reason}", .path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
}

/// The target of an export. Unless it is finished, nothing is left of it.
pub struct Destination {
    path: PathBuf,
    form: Form,
}

enum Form {
    Mbox(Mbox<BufWriter<tempfile::NamedTempFile>>),
    Folder(Folder),
}

impl Destination {
    /// Begins to write at this path, where nothing may be yet.
    ///
    /// # Errors
    /// If something is there, or the operating system refuses.
    pub fn new(path: &Path, format: Format) -> Result<Self, ExportError> {
        if path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists(path.to_owned()));
        }
        let parent = parent(path);
        let mut hidden = tempfile::Builder::new();
        hidden.prefix(".restante-export-");
        // Mail is for its owner's eyes. A temporary file is of itself.
        if format != Format::Mbox {
            hidden.permissions(Permissions::from_mode(0o700));
        }
        let form = match format {
            Format::Mbox => hidden
                .tempfile_in(parent)
                .map(|file| Form::Mbox(Mbox::new(BufWriter::new(file)))),
            Format::Maildir => hidden
                .tempdir_in(parent)
                .and_then(|folder| Folder::maildir(folder).map(Form::Folder)),
            Format::Eml => hidden
                .tempdir_in(parent)
                .map(|folder| Form::Folder(Folder::eml(folder))),
        };
        let form = form.map_err(|reason| unwritable(path, reason))?;
        let path = path.to_owned();
        Ok(Self { path, form })
    }

    /// Begins the next message.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn begin(&mut self, about: &About) -> Result<(), ExportError> {
        let began = match &mut self.form {
            Form::Mbox(mbox) => mbox.begin(about),
            Form::Folder(folder) => folder.begin(about),
        };
        began.map_err(|reason| unwritable(&self.path, reason))
    }

    /// Writes the next octets of the message.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), ExportError> {
        let written = match &mut self.form {
            Form::Mbox(mbox) => mbox.write(octets),
            Form::Folder(folder) => folder.write(octets),
        };
        written.map_err(|reason| unwritable(&self.path, reason))
    }

    /// The message is complete.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn end(&mut self) -> Result<(), ExportError> {
        let ended = match &mut self.form {
            Form::Mbox(mbox) => mbox.end(),
            Form::Folder(folder) => folder.end(),
        };
        ended.map_err(|reason| unwritable(&self.path, reason))
    }

    /// All messages are here: gives them their name, durably.
    ///
    /// # Errors
    /// If the operating system refuses, or something has got that name meanwhile.
    pub fn finish(self) -> Result<(), ExportError> {
        let Self { path, form } = self;
        let named = match form {
            Form::Mbox(mbox) => name_file(mbox.into_inner(), &path),
            Form::Folder(folder) => folder.finish().and_then(|folder| {
                // A folder would be moved into the place of an empty one.
                if path.symlink_metadata().is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(folder.path(), &path)?;
                // It has gone from where it would be removed.
                let _ = folder.keep();
                Ok(())
            }),
        };
        let named = named.and_then(|()| File::open(parent(&path))?.sync_all());
        named.map_err(|reason| {
            if reason.kind() == io::ErrorKind::AlreadyExists {
                ExportError::Exists(path.clone())
            } else {
                unwritable(&path, reason)
            }
        })
    }
}

fn name_file(file: BufWriter<tempfile::NamedTempFile>, path: &Path) -> io::Result<()> {
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)
        .map_err(|failed| failed.error)?;
    Ok(())
}

fn unwritable(path: &Path, reason: io::Error) -> ExportError {
    ExportError::Unwritable {
        path: path.to_owned(),
        reason,
    }
}

/// The folder in which a path lies.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sources::{Folders, Item, Source, UidlFormat};
    use proptest::prelude::*;

    /// As a delivery or an import brings it in.
    fn canonical(octets: &[u8]) -> Vec<u8> {
        let (mut canonical, mut out) = (wire::Canonical::default(), Vec::new());
        canonical.push(octets, &mut out);
        canonical.finish(&mut out);
        out
    }

    fn written(path: &Path, format: Format, messages: &[Vec<u8>], piece_octets: usize) {
        let mut destination = Destination::new(path, format).unwrap();
        for (at, message) in (0u64..).zip(messages) {
            let about = About {
                received_at: SystemTime::UNIX_EPOCH + Duration::from_secs(at / 3),
                unique_id: format!("id-{at}"),
                sender: None,
            };
            destination.begin(&about).unwrap();
            for piece in message.chunks(piece_octets) {
                destination.write(piece).unwrap();
            }
            destination.end().unwrap();
        }
        destination.finish().unwrap();
    }

    fn read_back(path: &Path) -> Vec<Vec<u8>> {
        let mut source = Source::open(path, &UidlFormat::default(), Folders::Inbox).unwrap();
        let mut messages = Vec::new();
        while let Some(item) = source.next_item() {
            assert!(matches!(item, Item::Message { .. }), "{item:?}");
            let mut message = Vec::new();
            while source.read(&mut message).unwrap() {}
            messages.push(canonical(&message));
        }
        messages
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back_octet_for_octet_and_in_order(
            messages in proptest::collection::vec(
                proptest::collection::vec("(>{0,2}(F|From|From me)?|\\.|x|\0|\u{e9}|\r|\r\r)\n?", 1..9),
                1..12),
            piece_octets in 1usize..20,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let messages = messages.iter().map(|lines| canonical(lines.concat().as_bytes()));
            let messages: Vec<_> = messages.filter(|message| !message.is_empty()).collect();
            prop_assume!(!messages.is_empty());
            for format in [Format::Mbox, Format::Maildir, Format::Eml] {
                let path = folder.path().join(format!("{format:?}"));
                written(&path, format, &messages, piece_octets);
                prop_assert_eq!(&read_back(&path), &messages, "{:?}", format);
            }
        }
    }
}
