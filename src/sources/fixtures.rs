//! Helpers of the tests of sources.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::files::Entry;
use super::opening::{self, Folder, OpenedSource};

/// A folder with these files, each modified so many seconds after 1970.
pub(super) fn folder_of(files: &[(&str, u64)]) -> TempDir {
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

/// The messages, and what is left out with the reason.
pub(super) fn split(found: Vec<Entry>) -> (Vec<String>, Vec<(String, String)>) {
    let (mut messages, mut left_out) = (Vec::new(), Vec::new());
    for entry in found {
        let name = entry.below.to_str().unwrap().to_owned();
        match entry.left_out {
            None => messages.push(name),
            Some(reason) => left_out.push((name, reason)),
        }
    }
    (messages, left_out)
}

/// Opens a folder as a source.
pub(super) fn opened(path: &Path) -> Folder {
    match opening::open(path).unwrap() {
        OpenedSource::Folder(folder) => folder,
        OpenedSource::File(..) | OpenedSource::Special => panic!("{} is no folder", path.display()),
    }
}
