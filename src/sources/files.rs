//! Messages that are files of their own.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::vec;

use super::opening::{Folder, Seen};
use super::unpack::Message;
use super::{Item, OldId, PIECE_OCTETS, begins_with_header_field, maildir, maildir_name};

/// The reason for a listed file of a Maildir that is not there under any name.
pub(super) const GONE: &str =
    "it is gone: it was deleted since the import began (import again to be sure)";

/// Maximum number of attempts to find a file that is renamed again and again.
const ATTEMPTS: usize = 50;

/// Maximum number of listings of a folder to find it.
const LISTINGS: usize = 5;

/// A file or folder that was found.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its path below the source.
    pub(super) below: PathBuf,
    /// Its size when it was found, in octets; none if it is left out.
    pub(super) octets: u64,
    pub(super) modified_at: SystemTime,
    inode: u64,
    /// The reason why it is no message to import, if it is none.
    pub(super) left_out: Option<String>,
    /// Its unique-id in the source.
    pub(super) old_id: OldId,
}

impl Entry {
    /// A message.
    pub(super) fn new(below: PathBuf, seen: &Seen) -> Self {
        Self {
            below,
            octets: seen.octets,
            modified_at: seen.modified_at,
            inode: seen.inode,
            left_out: None,
            old_id: OldId::Unknown,
        }
    }

    /// Something that is not imported, and why.
    pub(super) fn left_out(below: PathBuf, reason: impl ToString) -> Self {
        Self {
            below,
            octets: 0,
            modified_at: UNIX_EPOCH,
            inode: 0,
            left_out: Some(reason.to_string()),
            old_id: OldId::Unknown,
        }
    }
}

/// Files on their way, one open at a time.
#[derive(Debug)]
pub(super) struct Files {
    form: Form,
    waiting: vec::IntoIter<Entry>,
    current: Option<Current>,
    /// The octets of all files before the current one.
    octets_behind: u64,
}

/// The kinds of files.
#[derive(Debug)]
enum Form {
    /// Below this folder.
    Folder(Folder),
    /// In a Maildir, where the names of files change as messages are read.
    Maildir(Maildir),
    /// It is one file, which is open already.
    One(PathBuf, Option<Message>),
}

#[derive(Debug)]
struct Current {
    message: Message,
    /// As they were counted in the total.
    octets: u64,
    octets_read: u64,
    /// The size in octets that the name of the file says.
    octets_by_name: Option<u64>,
}

impl Files {
    /// Files below a folder, in the order in which they are to be read.
    pub(super) fn below(folder: Folder, entries: Vec<Entry>) -> Self {
        Self::new(Form::Folder(folder), entries)
    }

    /// The messages of a Maildir, in the order in which they are to be read.
    pub(super) fn of_maildir(root: Folder, entries: Vec<Entry>) -> Self {
        Self::new(Form::Maildir(Maildir::new(root)), entries)
    }

    /// One file.
    pub(super) fn one(path: &Path, seen: &Seen, message: Message) -> Self {
        let entry = Entry::new(PathBuf::new(), seen);
        Self::new(Form::One(path.to_owned(), Some(message)), vec![entry])
    }

    fn new(form: Form, entries: Vec<Entry>) -> Self {
        Self {
            form,
            waiting: entries.into_iter(),
            current: None,
            octets_behind: 0,
        }
    }

    /// Returns the unique-ids of the messages that have not been read yet.
    pub(super) fn old_ids(&self) -> impl Iterator<Item = &OldId> {
        self.waiting.as_slice().iter().map(|entry| &entry.old_id)
    }

    /// Returns the octets that were read or skipped so far.
    pub(super) fn octets_read(&self) -> u64 {
        let current = self.current.as_ref();
        // A file that has grown must not make the progress go back when it ends.
        let octets = current.map_or(0, |current| current.octets_read.min(current.octets));
        self.octets_behind + octets
    }

    /// Closes the current file and opens the next.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        if let Some(current) = self.current.take() {
            self.octets_behind += current.octets;
        }
        let entry = self.waiting.next()?;
        let name = self.form.path_of(&entry).display().to_string();
        let opened = match entry.left_out {
            Some(reason) => Err(reason),
            None => self.form.open(&entry).map_err(|error| error.to_string()),
        };
        Some(match opened {
            Ok(current) => {
                self.current = Some(current);
                Item::Message {
                    name,
                    received_at: Some(entry.modified_at),
                    old_id: entry.old_id,
                    octets: None,
                }
            }
            Err(reason) => {
                self.octets_behind += entry.octets;
                Item::Skipped { name, reason }
            }
        })
    }

    /// Appends the next piece of the current file; false says that it has ended.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let mut piece = current.message.by_ref().take(PIECE_OCTETS as u64);
        let octets = piece.read_to_end(out)?;
        current.octets_read += octets as u64;
        Ok(octets > 0)
    }

    /// Returns a remark on the current message, which has been read to its end.
    pub(super) fn remark(&self) -> Option<String> {
        let current = self.current.as_ref()?;
        let (by_name, read) = (current.octets_by_name?, current.octets_read);
        (by_name != read).then(|| format!("by its name it has {by_name} octets, but it has {read}"))
    }
}

impl Form {
    /// The path of an entry, as an operator knows it.
    fn path_of(&self, entry: &Entry) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().join(&entry.below),
            Self::Maildir(maildir) => maildir.root.path().join(&entry.below),
            Self::One(path, _) => path.clone(),
        }
    }

    fn open(&mut self, entry: &Entry) -> io::Result<Current> {
        let mut message = match self {
            Self::Folder(folder) => message(open_below(folder, &entry.below)?)?,
            Self::Maildir(maildir) => {
                let message = message(maildir.open(entry)?)?;
                return current_of_maildir(message, entry);
            }
            Self::One(_, message) => message.take().ok_or(io::ErrorKind::NotFound)?,
        };
        message.skip_from_line();
        Ok(Current::new(message, entry))
    }
}

impl Current {
    fn new(message: Message, entry: &Entry) -> Self {
        Self {
            message,
            octets: entry.octets,
            octets_read: 0,
            octets_by_name: None,
        }
    }
}

fn current_of_maildir(message: Message, entry: &Entry) -> io::Result<Current> {
    let name = entry.name();
    let (_, flags) = maildir_name::split(&name);
    // Programs that pack messages behind Dovecot's back set this flag.
    let is_packed = flags.contains('Z') && !begins_with_header_field(message.beginning());
    if is_packed && message.packing().is_none() {
        let reason = "its flag Z says that it is packed, in a way that is not known here";
        return Err(io::Error::other(reason));
    }
    Ok(Current {
        octets_by_name: maildir_name::octets(&name),
        ..Current::new(message, entry)
    })
}

fn message((file, seen): (File, Seen)) -> io::Result<Message> {
    if seen.octets == 0 {
        return Err(io::Error::other("the file is empty"));
    }
    Message::open(file)
}

fn open_below(folder: &Folder, below: &Path) -> io::Result<(File, Seen)> {
    let name = below.file_name().unwrap_or_default();
    match below.parent() {
        Some(parent) if parent != Path::new("") => folder.folder(parent)?.file(name),
        Some(_) | None => folder.file(name),
    }
}

impl Entry {
    /// The name of its file.
    pub(super) fn name(&self) -> Cow<'_, str> {
        name_of(&self.below)
    }
}

fn name_of(below: &Path) -> Cow<'_, str> {
    below.file_name().unwrap_or_default().to_string_lossy()
}

/// A Maildir whose messages are read while others may use it.
#[derive(Debug)]
struct Maildir {
    root: Folder,
    /// A listing of one of its folders: the present files of each name without flags.
    renamed: Option<(PathBuf, HashMap<String, Vec<PathBuf>>)>,
}

impl Maildir {
    fn new(root: Folder) -> Self {
        let renamed = None;
        Self { root, renamed }
    }

    /// Opens a message, also under another name: its flags change when a mail client reads it.
    fn open(&mut self, entry: &Entry) -> io::Result<(File, Seen)> {
        let mut below = entry.below.clone();
        for _ in 0..ATTEMPTS {
            match open_below(&self.root, &below) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    below = self.find(&below, entry.inode)?;
                }
                opened => return opened,
            }
        }
        Err(io::Error::other("its name changes all the time"))
    }

    /// Returns the present path of a file that was renamed.
    fn find(&mut self, lost: &Path, inode: u64) -> io::Result<PathBuf> {
        let gone = || io::Error::other(GONE);
        let folder = lost.parent().and_then(Path::parent).unwrap_or(lost);
        let name = name_of(lost);
        let base = maildir_name::base(&name);
        if let Some((looked_at, files)) = &self.renamed
            && looked_at == folder
            && let Some(found) = files.get(base).and_then(|found| self.choose(found, inode))
            && found != lost
        {
            return Ok(found.to_owned());
        }
        // What gets another name while a folder is listed may be missed, but hardly each time.
        let mut names = BTreeSet::new();
        let is_it = |below: &PathBuf| maildir_name::base(&name_of(below)) == base;
        for _ in 0..LISTINGS {
            let listed = maildir::names(&self.root, folder)?;
            let is_found = listed.iter().any(is_it);
            names.extend(listed);
            if is_found {
                break;
            }
        }
        let mut files: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for below in names {
            let base = maildir_name::base(&name_of(&below)).to_owned();
            files.entry(base).or_default().push(below);
        }
        let (_, files) = self.renamed.insert((folder.to_owned(), files));
        let found = files.get(base).ok_or_else(gone)?.clone();
        Ok(self.choose(&found, inode).ok_or_else(gone)?.to_owned())
    }

    /// Of files with one name, the one that it was.
    fn choose<'a>(&self, files: &'a [PathBuf], inode: u64) -> Option<&'a Path> {
        let is_it = |below: &&PathBuf| {
            let folder = below
                .parent()
                .and_then(|parent| self.root.folder(parent).ok());
            let seen = folder.and_then(|folder| folder.look(below.file_name()?).ok());
            seen.is_some_and(|seen| seen.inode == inode)
        };
        let it = files.iter().find(is_it).or_else(|| files.first());
        it.map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests;
