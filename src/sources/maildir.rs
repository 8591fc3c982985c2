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

/// Listings in succession without a new file after which all files are known. A file that gets
/// another name during one listing is missed by it, so it would have to do so in each of them.
const QUIET_PASSES: usize = 5;

/// The contents of a Maildir.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    /// The size of the other folders than the inbox, if they are not imported.
    pub(super) elsewhere: Elsewhere,
}

/// The size of the other folders than the inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Number of messages.
    pub messages: usize,
    /// In how many folders.
    pub folders: usize,
}

/// Returns the path of the inbox of a Maildir, if it is one: mostly the folder itself, else a
/// folder in it, as mbsync and some settings of Dovecot put it.
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

/// Returns whether a folder is laid out as a Maildir. One that was never opened may lack a part.
pub(super) fn is_maildir(folder: &Folder) -> bool {
    ["cur", "new"].iter().any(|name| {
        let seen = folder.look(name);
        seen.is_ok_and(|seen| match seen.kind {
            Kind::Folder => true,
            // It is not followed, but named as what is wrong with this Maildir.
            Kind::Link => folder.leads_to_folder(Path::new(name)),
            Kind::File | Kind::Special(_) => false,
        })
    })
}

/// The paths of the files in one folder of a Maildir, as they are named now.
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

/// The messages of a Maildir: of its inbox, in the order of its list if it has one, then, if they
/// are asked for, of the other folders by their names.
pub(super) fn maildir(
    root: &Folder,
    inbox: &Path,
    list: Option<&UidList>,
    folders: Folders,
) -> io::Result<Found> {
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
    Ok(Found { entries, elsewhere })
}

/// The messages of one folder of a Maildir, in the order of their delivery.
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
        // Where no name is new, none has changed since the listing before.
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

/// The files of a folder that were found so far.
///
/// While it is read, a message may go from `new` to `cur` or get other flags, and then be seen
/// twice or not at all. So it is read again until there is nothing new. What has the same number
/// in the file system and the same name but for its flags is the same file.
#[derive(Debug, Default)]
struct Listing {
    found: Vec<Entry>,
    looked_at: HashSet<PathBuf>,
    files: HashSet<(u64, String)>,
    bases: HashSet<String>,
    /// Files that were not there any more when they were looked at, by their names without flags.
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
                // It has another name by now, unless it was deleted.
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

/// Leaves out the messages of another folder that its user has marked as deleted. Those of the
/// inbox come: POP3 knows no flags, so Dovecot, Courier and qmail serve them until they are really
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

/// Brings messages into the order in which the old server had them; those that it did not know yet
/// come last. No message is older than one before it: their times are put right so that this stays
/// their order.
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
    // It is stable, so what is not listed stays in the order of its times.
    found.sort_by_key(|(place, _)| *place);
    let mut found: Vec<_> = found.into_iter().map(|(_, entry)| entry).collect();
    let is_listed = |entry: &Entry| entry.old_id.told().is_some() && entry.left_out.is_none();
    // The later one's time holds: a file that was touched is not to come behind newer mail.
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

/// A part of a file name, so that 9 comes before 10.
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
