//! Finding the messages in a folder.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::OldId;
use super::files::Entry;
use super::uidlist::UidList;

/// Whether a folder is laid out as a Maildir.
pub(super) fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() || path.join("new").is_dir()
}

/// The messages of a Maildir: of its inbox, in the order of its list if it has one, then of its
/// Maildir++ subfolders by their names.
pub(super) fn maildir(path: &Path, list: Option<&UidList>) -> io::Result<Vec<Entry>> {
    let mut found = mailbox(path);
    if let Some(list) = list {
        found = in_order_of(list, found);
        let told = |line: &usize| {
            Entry::left_out(
                path.join(format!("its list of unique-ids, line {line}")),
                "it can't be understood",
            )
        };
        found.extend(list.bad_lines.iter().map(told));
    }
    let mut folders = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    folders.sort_by_key(DirEntry::file_name);
    for folder in folders {
        let path = folder.path();
        if !is_maildir(&path) {
            continue;
        }
        if !is_hidden(&folder.file_name()) {
            let reason = "its name does not begin with a dot, so it is no folder of this Maildir; \
                          import it by its own path";
            found.push(Entry::left_out(path, reason));
        } else if folder.file_type()?.is_symlink() {
            // So a Maildir shows folders that somebody else shares.
            let reason = "it is a symbolic link to a folder, which is not followed";
            found.push(Entry::left_out(path, reason));
        } else {
            let never_served = |entry| Entry {
                old_id: OldId::NeverServed,
                ..entry
            };
            found.extend(mailbox(&path).into_iter().map(never_served));
        }
    }
    Ok(found)
}

/// The messages of one folder of a Maildir, in the order of their delivery.
///
/// What is in `tmp` has not been delivered, so nothing looks there.
fn mailbox(path: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for folder in [path.join("new"), path.join("cur")] {
        match fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(files) => found.extend(
                files
                    .iter()
                    .filter(|file| !is_hidden(&file.file_name()))
                    .map(delivered),
            ),
            // A Maildir that nobody has opened yet may lack one of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.push(Entry::left_out(folder, error.to_string())),
        }
    }
    found.sort_by(|one, other| {
        let by_time = one.modified_at.cmp(&other.modified_at);
        by_time.then_with(|| by_name(&one.path, &other.path))
    });
    found
}

/// Brings messages into the order in which the old server had them; those that it did not know yet
/// come last. No message is older than one before it: their times are put right so that this stays
/// their order.
fn in_order_of(list: &UidList, found: Vec<Entry>) -> Vec<Entry> {
    let listed = |entry: Entry| {
        let name = entry.path.file_name().unwrap_or_default();
        let listed = list.of(&name.to_string_lossy());
        let place = listed.map_or(usize::MAX, |listed| listed.place);
        let old_id = listed.map_or(OldId::Unknown, |listed| {
            OldId::Told(listed.unique_id.clone())
        });
        (place, Entry { old_id, ..entry })
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

/// A message of a Maildir, unless its flags say that it was thrown away.
fn delivered(file: &DirEntry) -> Entry {
    let entry = found(file);
    let name = file.file_name();
    let name = name.to_string_lossy();
    let flags = name.rsplit_once(":2,").map_or("", |(_, flags)| flags);
    if entry.left_out.is_none() && flags.contains('T') {
        Entry {
            octets: 0,
            left_out: Some("it is marked as trashed".to_owned()),
            ..entry
        }
    } else {
        entry
    }
}

/// All .eml files in a folder and below, sorted by path; every other file is left out.
///
/// Hidden files and folders are ignored.
pub(super) fn messages_below(path: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    collect_below(path, &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn collect_below(folder: &Path, found: &mut Vec<Entry>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if is_hidden(&entry.file_name()) {
            continue;
        }
        if !path.is_dir() {
            found.push(if is_eml(&path) {
                self::found(&entry)
            } else {
                Entry::left_out(path, "its name does not end in .eml")
            });
        } else if entry.file_type()?.is_symlink() {
            // It may lead back to where it is.
            let reason = "it is a symbolic link to a folder, which is not followed";
            found.push(Entry::left_out(path, reason));
        } else if let Err(error) = collect_below(&path, found) {
            found.push(Entry::left_out(path, error.to_string()));
        }
    }
    Ok(())
}

/// A message in a folder. Who owns the folder may not read whatever whoever imports it may read, so
/// no link is followed.
fn found(file: &DirEntry) -> Entry {
    if file.file_type().is_ok_and(|kind| kind.is_symlink()) {
        return Entry::left_out(file.path(), "it is a symbolic link, which is not followed");
    }
    Entry::new(file.path())
}

/// Whether the name of a file says that it is a message.
pub(super) fn is_eml(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("eml"))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::path::PathBuf;
    use std::time::{Duration, UNIX_EPOCH};
    use tempfile::TempDir;

    /// A folder with these files, each modified so many seconds after 1970.
    fn folder_of(files: &[(&str, u64)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, seconds) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"A: 1\n").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let modified_at = UNIX_EPOCH + Duration::from_secs(*seconds);
            file.set_modified(modified_at).unwrap();
        }
        folder
    }

    /// What was found, relative to the folder: the messages, and what is left out with the reason.
    fn split(folder: &TempDir, found: Vec<Entry>) -> (Vec<String>, Vec<(String, String)>) {
        let (mut messages, mut left_out) = (Vec::new(), Vec::new());
        for entry in found {
            let path = entry.path.strip_prefix(folder.path()).unwrap();
            let name = path.to_str().unwrap().to_owned();
            match entry.left_out {
                None => messages.push(name),
                Some(reason) => left_out.push((name, reason)),
            }
        }
        (messages, left_out)
    }

    #[test]
    fn a_maildir_is_read_by_time_then_by_number_folder_after_folder() {
        let folder = folder_of(&[
            ("cur/9.M1.host:2,S", 5),
            ("new/10.M9.host", 5),
            ("new/10.M10.host", 5),
            ("cur/1.host:2,", 9),
            ("cur/99.host:2,FRS", 1),
            (".Sent/cur/1.host:2,S", 0),
            (".Archive.2019/new/2.host", 3),
            (".Archive/cur/3.host:2,", 4),
            (".Archive/cur/.hidden", 4),
            ("tmp/4.host", 0),
            (".Sent/tmp/5.host", 0),
            ("dovecot-uidlist", 0),
            (".NoMaildir/6.host", 0),
        ]);
        assert!(is_maildir(folder.path()));
        let (messages, left_out) = split(&folder, maildir(folder.path(), None).unwrap());
        assert_eq!(
            messages,
            [
                "cur/99.host:2,FRS",
                "cur/9.M1.host:2,S",
                "new/10.M9.host",
                "new/10.M10.host",
                "cur/1.host:2,",
                ".Archive/cur/3.host:2,",
                ".Archive.2019/new/2.host",
                ".Sent/cur/1.host:2,S",
            ]
        );
        assert_eq!(left_out, []);
    }

    #[test]
    fn trashed_messages_are_left_out() {
        let folder = folder_of(&[
            ("cur/1.T:2,S", 1),
            ("cur/2.host:2,ST", 2),
            ("cur/3.host:2,St", 3),
        ]);
        let found = maildir(folder.path(), None).unwrap();
        assert_eq!(found.iter().map(|entry| entry.octets).sum::<u64>(), 10);
        let (messages, left_out) = split(&folder, found);
        assert_eq!(messages, ["cur/1.T:2,S", "cur/3.host:2,St"]);
        let trashed = ("cur/2.host:2,ST", "it is marked as trashed");
        assert_eq!(left_out, [(trashed.0.to_owned(), trashed.1.to_owned())]);
    }

    #[test]
    fn a_folder_in_a_maildir_that_is_not_imported_is_named() {
        let folder = folder_of(&[("cur/1.host", 1), ("Archive/cur/2.host", 2)]);
        let archive = folder.path().join("Archive");
        std::os::unix::fs::symlink(archive, folder.path().join(".Shared")).unwrap();
        let (messages, left_out) = split(&folder, maildir(folder.path(), None).unwrap());
        assert_eq!(messages, ["cur/1.host"]);
        let names: Vec<_> = left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [".Shared", "Archive"]);
    }

    #[test]
    fn a_folder_is_searched_for_eml_files_in_the_order_of_their_paths() {
        let folder = folder_of(&[
            ("b.eml", 1),
            ("a/z.EML", 2),
            ("a/b/c.eml", 3),
            ("a/notes.txt", 4),
            (".hidden.eml", 5),
            (".hidden/d.eml", 6),
            ("eml", 7),
        ]);
        let (messages, left_out) = split(&folder, messages_below(folder.path()).unwrap());
        assert_eq!(messages, ["a/b/c.eml", "a/z.EML", "b.eml"]);
        let reason = "its name does not end in .eml".to_owned();
        assert_eq!(
            left_out,
            [
                ("a/notes.txt".to_owned(), reason.clone()),
                ("eml".to_owned(), reason)
            ]
        );
    }

    #[test]
    fn no_link_is_followed_wherever_it_leads() {
        let folder = folder_of(&[("a/b.eml", 1)]);
        let link = |to: &Path, name| {
            std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        };
        link(folder.path(), "a/loop");
        link(&folder.path().join("a/b.eml"), "c.eml");
        link(&folder.path().join("gone"), "d.eml");
        let (messages, left_out) = split(&folder, messages_below(folder.path()).unwrap());
        assert_eq!(messages, ["a/b.eml"]);
        let names: Vec<_> = left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/loop", "c.eml", "d.eml"]);
        let maildir = folder_of(&[("cur/1.host", 1)]);
        std::os::unix::fs::symlink("/etc/passwd", maildir.path().join("cur/2.host")).unwrap();
        let (messages, left_out) = split(&maildir, super::maildir(maildir.path(), None).unwrap());
        assert_eq!((messages.len(), left_out.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn names_have_one_order_whatever_they_are(mut names in proptest::collection::vec("[019a-c.é]{0,50}", 3)) {
            names.sort_by(|one, other| by_name(&PathBuf::from(one), &PathBuf::from(other)));
            let [first, second, third] = [0, 1, 2].map(|at| PathBuf::from(&names[at]));
            prop_assert!(by_name(&first, &third) != Ordering::Greater);
            prop_assert_eq!(by_name(&first, &second), by_name(&second, &first).reverse());
            prop_assert_eq!(by_name(&first, &second) == Ordering::Equal, first == second);
        }
    }
}
