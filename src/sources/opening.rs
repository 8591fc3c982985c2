//! Opens files in folders that other users can write.
//!
//! A Maildir belongs to its user, and often root imports it. So nothing in it is opened through a
//! symbolic link, and nothing is read but regular files: another user's mail, a pipe that never
//! ends or a device is named and left out. Each step goes from an open folder to what is in it, so
//! that no folder can be exchanged for a link in between.
//!
//! Root could read through hard links what the owner of the Maildir could not. So where root
//! imports, a file must belong to the owner of its folder, unless root alone can put one there, and
//! a folder to the owner of its parent, unless root owns the parent. This is simpler than reading
//! with that user's rights, which the thread would have to take and give back around each
//! call, and it tells which files are wrong.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};

/// Maximum number of symbolic links on the path of a source, as for the system itself.
const MAX_LINKS: usize = 40;

/// The group and all others may write, by the mode of a file.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Flags for a file to read: a pipe must not make it wait, and a terminal must not become ours.
const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Flags for a folder to list.
const LISTING: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Flags for an entry that is only looked at.
const LOOKING: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The target of the path of a source.
#[derive(Debug)]
pub(super) enum OpenedSource {
    /// A folder.
    Folder(Folder),
    /// A regular file.
    File(File, Seen),
    /// A device, a pipe or a socket, which was not opened.
    Special,
}

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Folder {
    file: File,
    path: PathBuf,
    seen: Seen,
    owners: Owners,
}

/// The owners whose files may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owners {
    /// Any owner: the system knows which files the user of this process may read.
    Any,
    /// Those of the owner of their folder, since this process may read everything.
    Same,
}

/// The metadata of a file, known without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) octets: u64,
    pub(super) modified_at: SystemTime,
    /// Its number in the file system, which a new name does not change.
    pub(super) inode: u64,
    uid: u32,
    mode: u32,
}

/// The kinds of directory entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// Anything else, with a description such as "a pipe".
    Special(&'static str),
}

/// Opens a path that the operator has named. Symbolic links are followed as the system does; when
/// root imports, only links that belong to root or to the owner of the source, since otherwise a
/// user could have mail of another user imported.
///
/// # Errors
/// If it is not there, or may not be read.
pub(super) fn open(path: &Path) -> io::Result<OpenedSource> {
    let owners = if rustix::process::geteuid().is_root() {
        Owners::Same
    } else {
        Owners::Any
    };
    let found = ResolvedPath::follow(path)?;
    if owners == Owners::Same {
        found.check()?;
    }
    let ResolvedPath { holder, name, .. } = &found;
    match found.seen.kind {
        Kind::Folder => {
            let (file, seen) = open_in(holder, name, LISTING)?;
            Ok(OpenedSource::Folder(Folder {
                file,
                path: path.to_owned(),
                seen: seen.same_as(&found.seen)?,
                owners,
            }))
        }
        Kind::File => {
            let (file, seen) = open_in(holder, name, READING)?;
            Ok(OpenedSource::File(file, seen.same_as(&found.seen)?))
        }
        Kind::Link | Kind::Special(_) => Ok(OpenedSource::Special),
    }
}

/// The target of a path.
#[derive(Debug)]
struct ResolvedPath {
    holder: File,
    /// Its name in `holder`; it is not a symbolic link.
    name: OsString,
    seen: Seen,
    holder_uid: u32,
    /// The owners of the links on the way.
    link_uids: Vec<u32>,
}

impl ResolvedPath {
    fn follow(path: &Path) -> io::Result<Self> {
        let mut waiting: VecDeque<OsString> = steps(path).collect();
        let mut at = start_of(path)?;
        let mut link_uids = Vec::new();
        loop {
            let name = waiting.pop_front().unwrap_or_else(|| OsString::from("."));
            let (file, seen) = open_in(&at, &name, LOOKING)?;
            if seen.kind == Kind::Link {
                link_uids.push(seen.uid);
                if link_uids.len() > MAX_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = readlinkat(&file, c"", Vec::new())?.into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                    waiting.push_front(step);
                }
                if target.is_absolute() {
                    at = start_of(&target)?;
                }
            } else if waiting.is_empty() {
                return Ok(Self {
                    holder_uid: at.metadata()?.uid(),
                    holder: at,
                    name,
                    seen,
                    link_uids,
                });
            } else {
                at = file;
            }
        }
    }

    /// Refuses a source that a user other than root or its owner may have put there.
    fn check(&self) -> io::Result<()> {
        let is_trusted = |uid: &u32| *uid == 0 || *uid == self.seen.uid;
        if let Some(uid) = self.link_uids.iter().find(|uid| !is_trusted(uid)) {
            return Err(refusal(format!(
                "a symbolic link of user {uid} leads to it, and it belongs to user {}",
                self.seen.uid
            )));
        }
        // It may be a hard link to the file of another user.
        if self.seen.kind == Kind::File && !is_trusted(&self.holder_uid) {
            return Err(refusal(foreign(self.seen.uid, self.holder_uid)));
        }
        Ok(())
    }
}

/// Returns the names that a path consists of.
fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

fn start_of(path: &Path) -> io::Result<File> {
    let start = if path.is_absolute() { c"/" } else { c"." };
    let flags = LOOKING | OFlags::DIRECTORY;
    Ok(File::from(openat(CWD, start, flags, Mode::empty())?))
}

/// Opens an entry of an open folder by its name.
fn open_in(folder: &File, name: &OsStr, flags: OFlags) -> io::Result<(File, Seen)> {
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    let seen = Seen::of(&file.metadata()?);
    Ok((file, seen))
}

impl Folder {
    /// Returns its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder in it, or somewhere below.
    ///
    /// # Errors
    /// If it is not there, if a link is on the way, or if the folder belongs to another user.
    pub(super) fn folder(&self, below: &Path) -> io::Result<Self> {
        let mut folder = Self {
            file: self.file.try_clone()?,
            path: self.path.clone(),
            ..*self
        };
        for name in steps(below) {
            let seen = folder.look(&name)?;
            if seen.kind != Kind::Folder {
                return Err(seen.kind.refused("folder"));
            }
            let (file, seen) = open_in(&folder.file, &name, LISTING)?;
            if folder.seen.uid != 0 {
                folder.check_owner(&seen)?;
            }
            folder.path.push(name);
            (folder.file, folder.seen) = (file, seen);
        }
        Ok(folder)
    }

    /// Returns the names of its entries, unordered, without `.` and `..`.
    ///
    /// # Errors
    /// If it can't be read to its end.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Returns the metadata of an entry. A symbolic link is not followed.
    ///
    /// # Errors
    /// If there is no such entry.
    pub(super) fn look(&self, name: impl AsRef<OsStr>) -> io::Result<Seen> {
        Ok(open_in(&self.file, name.as_ref(), LOOKING)?.1)
    }

    /// Returns true if a path below leads to a folder, also through links. The folder is not read.
    pub(super) fn leads_to_folder(&self, below: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        open_in(&self.file, below.as_os_str(), flags)
            .is_ok_and(|(_, seen)| seen.kind == Kind::Folder)
    }

    /// Refuses an entry that must not be read.
    ///
    /// # Errors
    /// If it is no regular file, or belongs to another user.
    pub(super) fn check(&self, seen: &Seen) -> io::Result<()> {
        if seen.kind != Kind::File {
            return Err(seen.kind.refused("regular file"));
        }
        let Seen { uid, mode, .. } = self.seen;
        if uid == 0 && mode & OTHERS_MAY_WRITE == 0 {
            return Ok(());
        }
        self.check_owner(seen)
    }

    /// Opens a file in it.
    ///
    /// # Errors
    /// If it is not there, is no regular file, or belongs to another user.
    pub(super) fn file(&self, name: impl AsRef<OsStr>) -> io::Result<(File, Seen)> {
        let name = name.as_ref();
        // Checked before it is opened, since opening a device may have side effects.
        self.check(&self.look(name)?)?;
        let (file, seen) = open_in(&self.file, name, READING)?;
        self.check(&seen)?;
        Ok((file, seen))
    }

    fn check_owner(&self, seen: &Seen) -> io::Result<()> {
        match self.owners {
            Owners::Same if seen.uid != self.seen.uid => {
                Err(refusal(foreign(seen.uid, self.seen.uid)))
            }
            Owners::Same | Owners::Any => Ok(()),
        }
    }
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        let kind = if kind.is_file() {
            Kind::File
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_symlink() {
            Kind::Link
        } else if kind.is_fifo() {
            Kind::Special("a pipe")
        } else if kind.is_socket() {
            Kind::Special("a socket")
        } else {
            Kind::Special("a device")
        };
        Self {
            kind,
            octets: metadata.len(),
            modified_at: metadata.modified().unwrap_or(UNIX_EPOCH),
            inode: metadata.ino(),
            uid: metadata.uid(),
            mode: metadata.mode(),
        }
    }

    /// Returns the opened file's metadata, if it is the file that was looked at before.
    fn same_as(self, before: &Self) -> io::Result<Self> {
        let is_same = (self.inode, self.kind, self.uid) == (before.inode, before.kind, before.uid);
        is_same
            .then_some(self)
            .ok_or_else(|| refusal("it was exchanged while it was opened"))
    }
}

impl Kind {
    fn refused(self, expected: &str) -> io::Error {
        match self {
            Self::Link => refusal("it is a symbolic link, which is not followed"),
            Self::Folder => refusal(format!("it is a folder, not a {expected}")),
            Self::File => refusal(format!("it is a file, not a {expected}")),
            Self::Special(what) => refusal(format!("it is {what}, not a {expected}")),
        }
    }
}

fn refusal(reason: impl Into<String>) -> io::Error {
    io::Error::other(reason.into())
}

fn foreign(uid: u32, holder: u32) -> String {
    format!(
        "it belongs to user {uid} and its folder to user {holder}, so root does not read it: \
         give both to one user (chown)"
    )
}

#[cfg(test)]
mod tests;
