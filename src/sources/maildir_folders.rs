//! Finding the folders of a Maildir.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::files::Entry;
use super::folder::{MAX_DEPTH, is_hidden};
use super::maildir::is_maildir;
use super::opening::{Folder, Kind};

/// The parts of a Maildir.
const PARTS: [&str; 3] = ["cur", "new", "tmp"];

/// The other folders of a Maildir than its inbox, sorted by their paths: those of Maildir++
/// (`.Sent`), and those of Dovecot's layout `fs` (`Sent`, `Lists/Rust`). And what can't be read of
/// them.
pub(super) fn search(root: &Folder, inbox: &Path) -> io::Result<(Vec<PathBuf>, Vec<Entry>)> {
    let mut search = Search {
        root,
        inbox,
        found: Vec::new(),
        unusable: Vec::new(),
        waiting: Vec::new(),
    };
    search.look_through(Path::new(""))?;
    while let Some(below) = search.waiting.pop() {
        if let Err(error) = search.look_through(&below) {
            search.unusable.push(Entry::left_out(below, error));
        }
    }
    let Search {
        mut found,
        mut unusable,
        ..
    } = search;
    found.sort();
    unusable.sort_by(|one, other| one.below.cmp(&other.below));
    Ok((found, unusable))
}

struct Search<'a> {
    root: &'a Folder,
    inbox: &'a Path,
    found: Vec<PathBuf>,
    unusable: Vec<Entry>,
    /// Folders that have not been looked through.
    waiting: Vec<PathBuf>,
}

impl Search<'_> {
    fn look_through(&mut self, holder: &Path) -> io::Result<()> {
        let folder = self.root.folder(holder)?;
        let is_mailbox = is_maildir(&folder);
        let is_part = |name: &OsStr| is_mailbox && PARTS.iter().any(|part| *part == name);
        for name in folder.names()?.iter().filter(|name| !is_part(name)) {
            let below = holder.join(name);
            match folder.look(name).map(|seen| seen.kind) {
                Ok(Kind::Folder) => self.look_at(&folder, name, below),
                // A Maildir shows shared folders of other users so.
                Ok(Kind::Link) if self.leads_to_maildir(&below) => {
                    let reason = "it is a symbolic link, which is not followed";
                    self.unusable.push(Entry::left_out(below, reason));
                }
                Ok(Kind::File | Kind::Link | Kind::Special(_)) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn look_at(&mut self, holder: &Folder, name: &OsStr, below: PathBuf) {
        let folder = match holder.folder(Path::new(name)) {
            Ok(folder) => folder,
            Err(error) => return self.unusable.push(Entry::left_out(below, error)),
        };
        let is_top = below.components().count() == 1;
        let is_mailbox = if is_hidden(name) {
            is_top && is_maildir(&folder)
        } else {
            // It may be anything, so it is one only if it has all parts.
            PARTS.iter().all(|part| is_folder(&folder, part))
        };
        if is_mailbox && below != self.inbox {
            self.found.push(below.clone());
        }
        if !is_hidden(name) && below.components().count() < MAX_DEPTH {
            self.waiting.push(below);
        }
    }

    fn leads_to_maildir(&self, below: &Path) -> bool {
        let parts = ["cur", "new"].iter();
        parts
            .map(|part| below.join(part))
            .any(|part| self.root.leads_to_folder(&part))
    }
}

fn is_folder(holder: &Folder, name: &str) -> bool {
    holder
        .look(name)
        .is_ok_and(|seen| seen.kind == Kind::Folder)
}
