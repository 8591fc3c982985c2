//! Finding messages in a folder that is no Maildir.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::files::Entry;
use super::opening::{Folder, Kind};

/// Maximum nesting of folders.
pub(super) const MAX_DEPTH: usize = 64;

/// Endings of the names of compressed files.
const PACKED: [&str; 6] = ["gz", "bz2", "xz", "lz4", "zst", "zstd"];

/// All .eml files in a folder and below, packed or not, sorted by path; every other file is left
/// out.
///
/// Hidden files and folders are ignored.
pub(super) fn messages_below(root: &Folder) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        match look_through(root, &below, &mut found, &mut waiting) {
            Err(error) if below == Path::new("") => return Err(error),
            Err(error) => found.push(Entry::left_out(below, error)),
            Ok(()) => {}
        }
    }
    found.sort_by(|one, other| one.below.cmp(&other.below));
    Ok(found)
}

fn look_through(
    root: &Folder,
    holder: &Path,
    found: &mut Vec<Entry>,
    waiting: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let folder = root.folder(holder)?;
    for name in folder.names()?.iter().filter(|name| !is_hidden(name)) {
        let below = holder.join(name);
        let seen = match folder.look(name) {
            Ok(seen) => seen,
            Err(error) => {
                found.push(Entry::left_out(below, error));
                continue;
            }
        };
        if seen.kind == Kind::Folder && below.components().count() > MAX_DEPTH {
            let reason = "it lies inside too many other folders; import it by its own path";
            found.push(Entry::left_out(below, reason));
        } else if seen.kind == Kind::Folder {
            waiting.push(below);
        } else if is_eml(&below) || (seen.kind == Kind::Link && root.leads_to_folder(&below)) {
            found.push(match folder.check(&seen) {
                Ok(()) => Entry::new(below, &seen),
                Err(error) => Entry::left_out(below, error),
            });
        } else {
            found.push(Entry::left_out(below, "its name does not end in .eml"));
        }
    }
    Ok(())
}

/// Returns whether a file is a message by its name.
pub(super) fn is_eml(path: &Path) -> bool {
    let ends_in = |path: &Path, ends: &[&str]| {
        let end = path.extension().unwrap_or_default();
        ends.iter().any(|it| end.eq_ignore_ascii_case(it))
    };
    ends_in(path, &["eml"])
        || (ends_in(path, &PACKED) && ends_in(&path.with_extension(""), &["eml"]))
}

pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{folder_of, opened, split};
    use super::*;
    use tempfile::TempDir;

    fn found(folder: &TempDir) -> (Vec<String>, Vec<(String, String)>) {
        split(messages_below(&opened(folder.path())).unwrap())
    }

    #[test]
    fn a_folder_is_searched_for_eml_files_in_the_order_of_their_paths() {
        let folder = folder_of(&[
            ("b.eml", 1),
            ("a/z.EML", 2),
            ("a/b/c.eml", 3),
            ("a/notes.txt", 4),
            ("a/packed.eml.gz", 4),
            ("a/notes.gz", 4),
            (".hidden.eml", 5),
            (".hidden/d.eml", 6),
            ("eml", 7),
        ]);
        let (messages, left_out) = found(&folder);
        assert_eq!(
            messages,
            ["a/b/c.eml", "a/packed.eml.gz", "a/z.EML", "b.eml"]
        );
        let names: Vec<_> = left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/notes.gz", "a/notes.txt", "eml"]);
        assert!(
            left_out
                .iter()
                .all(|(_, reason)| reason == "its name does not end in .eml")
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
        let (messages, left_out) = found(&folder);
        assert_eq!(messages, ["a/b.eml"]);
        let names: Vec<_> = left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/loop", "c.eml", "d.eml"]);
        assert!(
            left_out
                .iter()
                .all(|(_, reason)| reason.contains("a symbolic link"))
        );
    }

    #[test]
    fn folders_that_lie_inside_too_many_others_are_named() {
        let deep = "d/".repeat(MAX_DEPTH);
        let deeper = format!("{deep}d/x.eml");
        let folder = folder_of(&[(&format!("{deep}x.eml"), 1), (&deeper, 2)]);
        let (messages, left_out) = found(&folder);
        assert_eq!(messages, [format!("{deep}x.eml")]);
        assert_eq!(left_out[0].0, format!("{deep}d"));
    }
}
