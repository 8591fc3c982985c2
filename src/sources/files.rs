//! Messages that are files of their own.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use std::vec;

use super::{Item, OldId, PIECE_OCTETS, folder, mbox};

/// A file or folder that was found.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// How many octets it had when it was found; none if it is left out.
    pub(super) octets: u64,
    pub(super) modified_at: SystemTime,
    /// Why it is no message to import, if so.
    pub(super) left_out: Option<String>,
    /// What UIDL called it where it comes from.
    pub(super) old_id: OldId,
}

impl Entry {
    /// A message, if it is a file that one can read about.
    pub(super) fn new(path: PathBuf) -> Self {
        let looked = fs::metadata(&path).and_then(|metadata| {
            metadata
                .modified()
                .map(|modified_at| (metadata, modified_at))
        });
        match looked {
            Ok((metadata, modified_at)) if metadata.is_file() => Self {
                path,
                octets: metadata.len(),
                modified_at,
                left_out: None,
                old_id: OldId::Unknown,
            },
            Ok(_) => Self::left_out(path, "it is no regular file"),
            Err(error) => Self::left_out(path, error.to_string()),
        }
    }

    /// Something that is not imported, and why.
    pub(super) fn left_out(path: PathBuf, reason: impl Into<String>) -> Self {
        Self {
            path,
            octets: 0,
            modified_at: UNIX_EPOCH,
            left_out: Some(reason.into()),
            old_id: OldId::Unknown,
        }
    }
}

/// Files on their way, one open at a time.
#[derive(Debug)]
pub(super) struct Files {
    waiting: vec::IntoIter<Entry>,
    current: Option<Current>,
    /// The octets of all files before the current one.
    octets_behind: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    /// As they were counted in the total.
    octets: u64,
    octets_read: u64,
}

impl Files {
    /// Files in the order in which they are to be read.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self {
            waiting: entries.into_iter(),
            current: None,
            octets_behind: 0,
        }
    }

    /// What UIDL called the messages that have not been read yet.
    pub(super) fn old_ids(&self) -> impl Iterator<Item = &OldId> {
        self.waiting.as_slice().iter().map(|entry| &entry.old_id)
    }

    /// How much has been read or skipped.
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
        let name = entry.path.display().to_string();
        let opened = match entry.left_out {
            Some(reason) => Err(reason),
            None => open(&entry),
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
        let mut piece = current.file.by_ref().take(PIECE_OCTETS as u64);
        let octets = piece.read_to_end(out)?;
        current.octets_read += octets as u64;
        Ok(octets > 0)
    }
}

fn open(entry: &Entry) -> Result<Current, String> {
    let mut file = File::open(&entry.path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.len() == 0 {
        return Err("the file is empty".to_owned());
    }
    if folder::is_eml(&entry.path) {
        skip_from_line(&mut file).map_err(|error| error.to_string())?;
    }
    Ok(Current {
        file,
        octets: entry.octets,
        octets_read: 0,
    })
}

/// Goes past the From_ line that some programs leave in front of a message that they save.
fn skip_from_line(file: &mut File) -> io::Result<()> {
    let mut beginning = Vec::new();
    let octets = mbox::BEGINNING_OCTETS as u64;
    file.by_ref().take(octets).read_to_end(&mut beginning)?;
    let from_line = mbox::octets_of_from_line(&beginning);
    file.seek(SeekFrom::Start(from_line as u64))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &mut Files) -> Vec<u8> {
        let mut message = Vec::new();
        while files.read(&mut message).unwrap() {}
        message
    }

    fn reason(item: Option<Item>) -> String {
        match item {
            Some(Item::Skipped { reason, .. }) => reason,
            Some(Item::Message { name, .. }) => panic!("{name} is a message"),
            None => panic!("nothing is left"),
        }
    }

    #[test]
    fn a_large_file_comes_in_pieces_and_the_progress_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.eml");
        let octets = [b'x'].repeat(2 * PIECE_OCTETS + 1);
        fs::write(&path, &octets).unwrap();
        let mut files = Files::new(vec![Entry::new(path.clone()), Entry::new(path)]);
        let mut message = Vec::new();
        assert!(!files.read(&mut message).unwrap());

        files.next_item().unwrap();
        assert!(files.read(&mut message).unwrap());
        assert_eq!(message.len(), PIECE_OCTETS);
        assert_eq!(files.octets_read(), PIECE_OCTETS as u64);

        files.next_item().unwrap();
        assert_eq!(files.octets_read(), octets.len() as u64);
        assert_eq!(read(&mut files), octets);
        assert!(files.next_item().is_none());
        assert_eq!(files.octets_read(), 2 * octets.len() as u64);
    }

    #[test]
    fn a_file_that_is_empty_or_gone_is_skipped_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let [gone, empty, last] = ["gone", "empty", "last"].map(|name| folder.path().join(name));
        fs::write(&gone, b"A: 1\n").unwrap();
        fs::write(&empty, b"").unwrap();
        fs::write(&last, b"A: \0\xff\r\n").unwrap();
        let entries = [&gone, &empty, &last].map(|path| Entry::new(path.clone()));
        fs::remove_file(&gone).unwrap();

        let mut files = Files::new(entries.to_vec());
        assert!(reason(files.next_item()).starts_with("No such file"));
        assert_eq!(files.octets_read(), 5);
        assert_eq!(reason(files.next_item()), "the file is empty");
        let message = Item::Message {
            name: last.display().to_string(),
            received_at: Some(fs::metadata(&last).unwrap().modified().unwrap()),
            old_id: OldId::Unknown,
            octets: None,
        };
        assert_eq!(files.next_item(), Some(message));
        assert_eq!(read(&mut files), b"A: \0\xff\r\n");
    }

    #[test]
    fn what_is_no_file_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry::new(folder.path().to_owned());
        assert_eq!(entry.left_out.unwrap(), "it is no regular file");
        let entry = Entry::new(folder.path().join("gone"));
        assert!(entry.left_out.unwrap().starts_with("No such file"));
    }
}
