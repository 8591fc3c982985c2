//! Mail that an operator wants to import, read piece by piece.
//!
//! A file may be of any size, so no message is ever in memory as a whole: a
//! [`Source`] returns pieces of about 64 KiB. Their octets are those of the file; the store
//! brings the line ends into canonical form.

mod error;
mod files;
#[cfg(test)]
mod fixtures;
mod folder;
mod header;
mod identity;
mod maildir;
mod maildir_folders;
mod maildir_name;
pub(crate) mod mbox;
mod opening;
mod server;
mod uidl_format;
pub(crate) mod uidlist;
mod unpack;

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::time::SystemTime;

use files::Files;
use mbox::Mbox;
use opening::{Folder, OpenedSource, Seen};
use server::Server;
use uidlist::UidList;
use unpack::Message;

pub(crate) use error::SourceError;
pub(crate) use identity::Identity;
pub(crate) use maildir::Elsewhere;
pub(crate) use server::{ServerAccess, ServerAddress, ServerError};
pub(crate) use uidl_format::UidlFormat;

/// Size of the pieces in which a message is read, in octets.
const PIECE_OCTETS: usize = 64 * 1024;

/// Mail to import: an mbox file, a Maildir, an .eml file or a folder of them, or the maildrop of
/// another POP3 server.
#[derive(Debug)]
pub(crate) struct Source {
    total_octets: u64,
    form: Form,
    has_uid_list: bool,
    /// True if the source has its messages in the order in which its server had them.
    is_ordered: bool,
    elsewhere: Elsewhere,
}

/// The folders of a Maildir that are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Folders {
    /// The inbox alone, which is what a POP3 server serves.
    #[default]
    Inbox,
    /// All of them.
    All,
}

/// The unique-id of a message in its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OldId {
    /// This.
    Told(String),
    /// Something that is not known, unless the message itself says it in a field X-UIDL.
    Unknown,
    /// Nothing: no client of POP3 has seen it, since it was in a subfolder.
    NeverServed,
}

#[derive(Debug)]
enum Form {
    Mbox(Box<Mbox<File>>),
    Files(Box<Files>),
    Server(Box<Server>),
}

impl OldId {
    /// Returns the unique-id, if it is known.
    pub(crate) fn told(&self) -> Option<&str> {
        match self {
            Self::Told(told) => Some(told),
            Self::Unknown | Self::NeverServed => None,
        }
    }
}

/// The next item of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A message; read it with [`Source::read`] until that returns false.
    Message {
        /// Its file, or where in the mbox it begins.
        name: String,
        /// Time of receipt, if the source knows it. Otherwise the message may say it: see
        /// [`received_at`].
        received_at: Option<SystemTime>,
        /// Its unique-id in the source.
        old_id: OldId,
        /// Its size in octets, if the source knows it; reading it may take long then.
        octets: Option<u64>,
    },
    /// Something that is no message, and why it was left out.
    Skipped {
        /// Its file, or where in the mbox it begins.
        name: String,
        /// The reason.
        reason: String,
    },
}

impl Source {
    /// Looks at what is there, and finds out in which form.
    ///
    /// # Errors
    /// If it holds no mail, or can't be read.
    pub(crate) fn open(
        path: &Path,
        format: &UidlFormat,
        folders: Folders,
    ) -> Result<Self, SourceError> {
        match opening::open(path).map_err(|error| SourceError::new(path, error))? {
            OpenedSource::Folder(folder) => open_folder(folder, path, format, folders),
            OpenedSource::File(file, seen) => open_file(file, path, &seen, format),
            OpenedSource::Special => Err(SourceError::Special(path.to_owned())),
        }
    }

    /// Logs in to another server. What is asked there blocks the thread.
    ///
    /// # Errors
    /// If the server can't be reached, can't be trusted, or refuses the login.
    pub(crate) fn connect(
        address: &ServerAddress,
        access: &ServerAccess,
        password: &str,
    ) -> Result<Self, ServerError> {
        let server = Server::open(address, access, password)?;
        Ok(Self {
            total_octets: server.total_octets(),
            has_uid_list: true,
            is_ordered: true,
            form: Form::Server(Box::new(server)),
            elsewhere: Elsewhere::default(),
        })
    }

    /// Returns whether the source itself lists the unique-ids of its messages.
    pub(crate) fn has_uid_list(&self) -> bool {
        self.has_uid_list
    }

    /// Returns whether the source has its messages in the order in which its server had them.
    pub(crate) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Returns the size of the other folders of a Maildir that were not asked for.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        self.elsewhere
    }

    /// Returns the number of messages that their user has deleted in Thunderbird, which are still
    /// in the file and are not imported.
    pub(crate) fn expunged(&self) -> usize {
        match &self.form {
            Form::Mbox(mbox) => mbox.expunged(),
            Form::Files(_) | Form::Server(_) => 0,
        }
    }

    /// Returns the unique-ids of the messages, as far as they are known beforehand.
    pub(crate) fn old_ids(&self) -> Vec<String> {
        let told = |old_id: &OldId| old_id.told().map(str::to_owned);
        match &self.form {
            Form::Mbox(mbox) => mbox.old_ids().filter_map(|old_id| told(&old_id)).collect(),
            Form::Files(files) => files.old_ids().filter_map(told).collect(),
            Form::Server(server) => server.old_ids().filter_map(told).collect(),
        }
    }

    /// Returns the size of all messages together, in octets.
    pub(crate) fn total_octets(&self) -> u64 {
        self.total_octets
    }

    /// Returns the octets of all messages that were read or skipped so far.
    pub(crate) fn octets_read(&self) -> u64 {
        let octets = match &self.form {
            Form::Mbox(mbox) => mbox.octets_read(),
            Form::Files(files) => files.octets_read(),
            Form::Server(server) => server.octets_read(),
        };
        // A file that grows meanwhile does not take the progress past its end.
        octets.min(self.total_octets)
    }

    /// Goes on to the next item, past what is left of the current message.
    ///
    /// A message that cannot be opened is an [`Item::Skipped`]. So is the rest of an mbox that
    /// cannot be read to its end.
    pub(crate) fn next_item(&mut self) -> Option<Item> {
        match &mut self.form {
            Form::Mbox(mbox) => mbox.next_item(),
            Form::Files(files) => files.next_item(),
            Form::Server(server) => server.next_item(),
        }
    }

    /// Appends the next piece of the current message to `out`; false says that it has ended.
    ///
    /// After an error the message is incomplete, and [`Source::next_item`] goes on behind it.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        match &mut self.form {
            Form::Mbox(mbox) => mbox.read(out),
            Form::Files(files) => files.read(out),
            Form::Server(server) => server.read(out),
        }
    }

    /// Returns a remark on the current message, which has been read to its end: something odd that
    /// is no reason to leave it out.
    pub(crate) fn remark(&self) -> Option<String> {
        match &self.form {
            Form::Files(files) => files.remark(),
            Form::Mbox(_) | Form::Server(_) => None,
        }
    }
}

/// Returns the time of receipt of a message, by its header.
pub(crate) fn received_at(beginning: &[u8]) -> Option<SystemTime> {
    header::received_at(beginning)
}

/// Returns the unique-id that a server has written into the header of a message.
pub(crate) fn x_uidl(beginning: &[u8]) -> Option<String> {
    header::x_uidl(beginning)
}

fn open_folder(
    folder: Folder,
    path: &Path,
    format: &UidlFormat,
    folders: Folders,
) -> Result<Source, SourceError> {
    let refused = |error| SourceError::new(path, error);
    let Some(inbox) = maildir::inbox(&folder) else {
        let entries = folder::messages_below(&folder).map_err(refused)?;
        if entries.iter().all(|entry| entry.left_out.is_some()) {
            return Err(SourceError::NoMessages(path.to_owned()));
        }
        let octets = entries.iter().map(|entry| entry.octets).sum();
        return Ok(Source::of_files(octets, Files::below(folder, entries)));
    };
    let list = folder.folder(&inbox);
    let list = list.and_then(|inbox| UidList::read(&inbox, format));
    let list = list.map_err(|reason| SourceError::UidList {
        path: path.join(&inbox),
        reason,
    })?;
    let found = maildir::maildir(&folder, &inbox, list.as_ref(), folders).map_err(refused)?;
    if found.entries.is_empty() && found.elsewhere.messages == 0 {
        return Err(SourceError::Empty(path.to_owned()));
    }
    let octets = found.entries.iter().map(|entry| entry.octets).sum();
    Ok(Source {
        has_uid_list: list.is_some(),
        is_ordered: list.is_some(),
        elsewhere: found.elsewhere,
        ..Source::of_files(octets, Files::of_maildir(folder, found.entries))
    })
}

fn open_file(
    mut file: File,
    path: &Path,
    seen: &Seen,
    format: &UidlFormat,
) -> Result<Source, SourceError> {
    let refused = |error| SourceError::new(path, error);
    let start = unpack::beginning_of(&mut file).map_err(refused)?;
    file.rewind().map_err(refused)?;
    if start.is_empty() {
        return Err(SourceError::Empty(path.to_owned()));
    }
    // An .eml file is one message, also where a program has left a From_ line in front of it.
    let is_eml = folder::is_eml(path);
    if !is_eml && let Some(first) = mbox::first_from_line(&start) {
        return open_mbox(file, path, first, format);
    }
    let message = Message::open(file).map_err(refused)?;
    match message.packing() {
        Some(packing) if !is_eml && mbox::first_from_line(message.beginning()).is_some() => {
            let path = path.to_owned();
            Err(SourceError::PackedMbox { path, packing })
        }
        _ if is_eml || begins_with_header_field(message.beginning()) => {
            let files = Files::one(path, seen, message);
            Ok(Source::of_files(seen.octets, files))
        }
        Some(_) | None => Err(SourceError::NotMail(path.to_owned())),
    }
}

fn open_mbox(
    file: File,
    path: &Path,
    first: u64,
    format: &UidlFormat,
) -> Result<Source, SourceError> {
    let mbox = mbox::open(file, path, first, format, PIECE_OCTETS);
    let mbox = mbox.map_err(|error| SourceError::new(path, error))?;
    let mbox = mbox.map_err(|by| SourceError::Locked {
        path: path.to_owned(),
        by,
    })?;
    if mbox.has_uids() && format.needs_file() {
        return Err(SourceError::NoFileNames(path.to_owned()));
    }
    Ok(Source {
        total_octets: mbox.octets(),
        has_uid_list: mbox.has_uids(),
        is_ordered: true,
        elsewhere: Elsewhere::default(),
        form: Form::Mbox(Box::new(mbox)),
    })
}

impl Source {
    fn of_files(total_octets: u64, files: Files) -> Self {
        Self {
            total_octets,
            form: Form::Files(Box::new(files)),
            has_uid_list: false,
            is_ordered: false,
            elsewhere: Elsewhere::default(),
        }
    }
}

/// Returns whether this looks like `Name: value`, so that no program or picture passes for a
/// message.
fn begins_with_header_field(octets: &[u8]) -> bool {
    let Some((name, value)) = octets
        .iter()
        .position(|octet| *octet == b':')
        .and_then(|colon| octets.split_at_checked(colon))
    else {
        return false;
    };
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
    let is_blank = |octet: &u8| b" \t\r\n".contains(octet);
    !name.is_empty() && name.iter().all(is_name) && value.get(1).is_none_or(is_blank)
}

#[cfg(test)]
mod tests;
