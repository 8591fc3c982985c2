//! Reasons why there is nothing to import.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::unpack::Packing;

/// Reasons why there is nothing to import.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The path leads nowhere.
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    /// The operating system refuses to read it.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A device, a pipe or a socket.
    #[error("{} is neither a file nor a folder", .0.display())]
    Special(PathBuf),
    /// A file of no octets, or a Maildir without a message.
    #[error("{} holds no message: it is empty", .0.display())]
    Empty(PathBuf),
    /// The list of a Maildir's unique-ids can't be used.
    #[error("the unique-ids of {} can't be read: {reason}", path.display())]
    UidList {
        /// The Maildir.
        path: PathBuf,
        /// The reason.
        reason: io::Error,
    },
    /// Another program uses the mbox; it may be free later.
    #[error("{} is in use: {by}", path.display())]
    Locked {
        /// The mbox.
        path: PathBuf,
        /// The program that has locked it, and by which lock.
        by: String,
    },
    /// The format of unique-ids asks for names of files.
    #[error(
        "{} is an mbox, whose messages have no file names: a format for it has %u and %v",
        .0.display()
    )]
    NoFileNames(PathBuf),
    /// A file that is neither an mbox nor a message.
    #[error(
        "{} is no mail: expected an mbox, whose first line begins with \"From \", or a message, \
         whose name ends in .eml or whose first line is a header field like \"Subject: Hello\"",
        .0.display()
    )]
    NotMail(PathBuf),
    /// An mbox that is packed.
    #[error(
        "{} is an mbox that is packed with {packing}: unpack it first, and import what comes out",
        path.display()
    )]
    PackedMbox {
        /// The file.
        path: PathBuf,
        /// The format of compression.
        packing: Packing,
    },
    /// A folder that is no Maildir and has no .eml file either.
    #[error(
        "{} holds no message: expected a Maildir, with the folders cur and new, or files that end \
         in .eml (an mbox inside a folder is imported by its own path)",
        .0.display()
    )]
    NoMessages(PathBuf),
}

impl SourceError {
    pub(super) fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::NotFound(path)
        } else {
            Self::Unreadable { path, source }
        }
    }
}
