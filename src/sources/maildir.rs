//! Finding the messages of a Maildir.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{Entry, GONE};
use super::folder::is_hidden;
use super::opening::{Folder, Kind};
use super::uidlist::UidList;
use super::{Folders, OldId, maildir_folders, maildir_name};

/// Maximum number of listings of a Maildir whose files are renamed meanwhile.
const MAX_PASSES: usize = 50;

/// Number of consecutive listings without a new file after which all files are known. A file that
/// is renamed during a listing is missed by it, but hardly by all of them.
const QUIET_PASSES: usize = 5;

/// The contents of a Maildir.
#[derive(Debug)]
pub(super) struct MaildirListing {
    pub(super) entries: Vec<Entry>,
    /// The size of the folders other than the inbox, if they are not imported.
    pub(super) elsewhere: Elsewhere,
}

/// The size of the folders other than the inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// Number of messages.
    pub messages: usize,
    /// Number of folders that have messages.
    pub folders: usize,
}

/// Returns the path of the inbox, if the folder is a Maildir: mostly the folder itself, else a
/// folder in it, as with mbsync and some settings of Dovecot.
pub(super) fn inbox(root: &Folder) -> Option<PathBuf> {
    if is_maildir(root) {
        return Some(PathBuf::new());
    }
    let mut names = root.names().ok()?;
    names.sort();
    let is_inbox = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        let name = name.strip_prefix(b".").unwrap_or(name);
        name.eq_ignore_ascii_case(b"INBOX")
    };
    let mut candidates = names
        .iter()
        .filter(|name| is_inbox(name))
        .map(PathBuf::from);
    candidates.find(|name| root.folder(name).is_ok_and(|folder| is_maildir(&folder)))
}

/// Returns true if a folder has the layout of a Maildir. One that was never opened may lack a part.
pub(super) fn is_maildir(folder: &Folder) -> bool {
    ["cur", "new"].iter().any(|name| {
        let seen = folder.look(name);
        seen.is_ok_and(|seen| match seen.kind {
            Kind::Folder => true,
            // The link is not followed, but reported as the problem of this Maildir.
            Kind::Link => folder.leads_to_folder(Path::new(name)),
            Kind::File | Kind::Special(_) => false,
        })
    })
}

/// Returns the paths of the files in one folder of a Maildir, by their current names.
///
/// # Errors
/// If it can't be read.
pub(super) fn names(root: &Folder, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for part in parts_of(folder) {
        match root.folder(&part).and_then(|opened| opened.names()) {
            Ok(names) => {
                let names = names.iter().filter(|name| !is_hidden(name));
                found.extend(names.map(|name| part.join(name)));
            }
            // A Maildir that was never opened may lack one of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Returns the folders of a Maildir's folder that hold messages. Files in `tmp` were not delivered.
fn parts_of(folder: &Path) -> [PathBuf; 2] {
    ["new", "cur"].map(|part| folder.join(part))
}

/// Returns the messages of a Maildir: those of its inbox, in the order of its list if it has one,
/// then, if requested, those of the other folders by name.
pub(super) fn maildir(
    root: &Folder,
    inbox: &Path,
    list: Option<&UidList>,
    folders: Folders,
) -> io::Result<MaildirListing> {
    let mut entries = mailbox(root, inbox);
    if let Some(list) = list {
        entries = in_order_of(list, entries);
        let told = |line: &usize| {
            let name = format!("its list of unique-ids, line {line}");
            Entry::left_out(inbox.join(name), "it can't be understood")
        };
        entries.extend(list.bad_lines.iter().map(told));
    }
    let (others, unusable) = maildir_folders::search(root, inbox)?;
    let mut elsewhere = Elsewhere::default();
    match folders {
        Folders::Inbox => {
            for folder in &others {
                let messages = names(root, folder).map_or(0, |names| names.len());
                elsewhere.messages += messages;
                elsewhere.folders += usize::from(messages > 0);
            }
        }
        Folders::All => {
            entries.extend(unusable);
            for folder in &others {
                let mut found = mailbox(root, folder);
                leave_out_trashed(&mut found);
                for entry in &mut found {
                    entry.old_id = OldId::NeverServed;
                }
                entries.extend(found);
            }
        }
    }
    Ok(MaildirListing { entries, elsewhere })
}

/// Returns the messages of one folder of a Maildir, in the order of their delivery.
fn mailbox(root: &Folder, folder: &Path) -> Vec<Entry> {
    let mut listing = Listing::default();
    let mut quiet = 0;
    for _ in 0..MAX_PASSES {
        let (names, files) = (listing.looked_at.len(), listing.files.len());
        for part in parts_of(folder) {
            listing.look_through(root, &part);
        }
        quiet = if listing.files.len() == files {
            quiet + 1
        } else {
            0
        };
        // If no name is new, no file was renamed since the previous listing.
        if listing.looked_at.len() == names || quiet == QUIET_PASSES {
            break;
        }
    }
    let mut found = listing.found;
    let lost = listing.lost.into_values();
    found.extend(lost.map(|below| Entry::left_out(below, GONE)));
    found.sort_by(|one, other| {
        let by_time = one.modified_at.cmp(&other.modified_at);
        by_time.then_with(|| by_name(&one.below, &other.below))
    });
    found
}

/// The files of a folder that have been found so far.
///
/// Meanwhile a message may move from `new` to `cur` or get other flags, and then be seen twice or
/// not at all. So the folder is listed until there is nothing new. Files with the same inode and
/// the same name without flags are the same file.
#[derive(Debug, Default)]
struct Listing {
    found: Vec<Entry>,
    looked_at: HashSet<PathBuf>,
    files: HashSet<(u64, String)>,
    bases: HashSet<String>,
    /// Files that were gone when they were examined, by their names without flags.
    lost: HashMap<String, PathBuf>,
}

impl Listing {
    fn look_through(&mut self, root: &Folder, part: &Path) {
        let opened = root.folder(part);
        let names = opened.and_then(|opened| Ok((opened.names()?, opened)));
        let (names, opened) = match names {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                if self.looked_at.insert(part.to_owned()) {
                    self.found.push(Entry::left_out(part.to_owned(), error));
                }
                return;
            }
        };
        for name in names.iter().filter(|name| !is_hidden(name)) {
            let below = part.join(name);
            if self.looked_at.insert(below.clone()) {
                self.look_at(&opened, name, below);
            }
        }
    }

    fn look_at(&mut self, folder: &Folder, name: &OsStr, below: PathBuf) {
        let base = maildir_name::base(&name.to_string_lossy()).to_owned();
        let seen = match folder.look(name) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It was renamed or deleted.
                if !self.bases.contains(&base) {
                    self.lost.insert(base, below);
                }
                return;
            }
            Err(error) => return self.found.push(Entry::left_out(below, error)),
        };
        self.lost.remove(&base);
        self.bases.insert(base.clone());
        if self.files.insert((seen.inode, base)) {
            self.found.push(match folder.check(&seen) {
                Ok(()) => Entry::new(below, &seen),
                Err(error) => Entry::left_out(below, error),
            });
        }
    }
}

/// Leaves out messages of another folder that are marked as deleted. Those of the inbox are
/// imported: POP3 knows no flags, so Dovecot, Courier and qmail serve them until they are really
/// removed.
fn leave_out_trashed(entries: &mut [Entry]) {
    for entry in entries {
        let name = entry.name();
        let is_trashed = maildir_name::split(&name).1.contains('T');
        if is_trashed && entry.left_out.is_none() {
            let reason = "it is marked as deleted, and was not in the inbox";
            *entry = Entry::left_out(std::mem::take(&mut entry.below), reason);
        }
    }
}

/// Sorts messages in the order of the old server; those that it did not know yet come last. Their
/// times are adjusted so that no message is older than one before it, which keeps this order.
fn in_order_of(list: &UidList, found: Vec<Entry>) -> Vec<Entry> {
    let listed = |mut entry: Entry| {
        let listed = list.of(&entry.name());
        let place = listed.map_or(usize::MAX, |listed| listed.place);
        entry.old_id = listed.map_or(OldId::Unknown, |listed| {
            OldId::Told(listed.unique_id.clone())
        });
        (place, entry)
    };
    let mut found: Vec<_> = found.into_iter().map(listed).collect();
    // The sort is stable, so unlisted messages stay in the order of their times.
    found.sort_by_key(|(place, _)| *place);
    let mut found: Vec<_> = found.into_iter().map(|(_, entry)| entry).collect();
    let is_listed = |entry: &Entry| entry.old_id.told().is_some() && entry.left_out.is_none();
    // A message is at most as new as the next one: a file that was touched keeps its place.
    let (mut earliest, mut latest) = (None, None);
    for entry in found.iter_mut().rev().filter(|entry| is_listed(entry)) {
        let time = earliest.map_or(entry.modified_at, |at| entry.modified_at.min(at));
        entry.modified_at = time;
        earliest = Some(time);
        latest = latest.or(earliest);
    }
    for entry in found.iter_mut().filter(|entry| !is_listed(entry)) {
        entry.modified_at = latest.map_or(entry.modified_at, |at| entry.modified_at.max(at));
    }
    found
}

/// A part of a file name. Numbers are compared by value, so that 9 comes before 10.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u128),
    Other(char),
}

/// Compares the names of two messages, which begin with the time of their delivery.
fn by_name(one: &Path, other: &Path) -> Ordering {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let by_parts = parts(&name(one)).cmp(parts(&name(other)));
    by_parts.then_with(|| one.cmp(other))
}

fn parts(name: &str) -> impl Iterator<Item = Part> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = digits.max(rest.chars().next()?.len_utf8());
        let (part, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(if digits == 0 {
            Part::Other(part.chars().next()?)
        } else {
            Part::Number(part.parse().unwrap_or(u128::MAX))
        })
    })
}

#[cfg(test)]
mod tests;
