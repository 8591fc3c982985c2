//! Messages in an mbox file.
//!
//! A first reading finds out where they are and what their store knows of them, a second one
//! fetches them.

mod header;
mod index;
mod last_fields;
mod lock;
mod message;
mod pages;
mod separator;
mod uids;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::uidl_format::{Facts, UidlFormat};
use super::{Item, OldId};
use crate::from_line::FromLine;
use index::{Index, IndexedMessage};
use lock::{Held, Lock};
use message::Reading;
use pages::Pages;

pub(super) use separator::octets_of_from_line;

/// Octets of a file that show whether it is an mbox.
pub(super) const BEGINNING_OCTETS: usize = separator::MAX_OCTETS + separator::BEHIND_OCTETS;

/// An mbox file whose messages are known.
#[derive(Debug)]
pub(super) struct Mbox<R> {
    pages: Pages<R>,
    path: PathBuf,
    piece_octets: usize,
    index: Index,
    format: UidlFormat,
    /// Number of messages before the next one.
    behind: usize,
    reading: Option<Reading>,
    /// Keeps other programs from changing the file.
    lock: Option<Lock>,
    /// Nothing more is read.
    has_ended: bool,
}

/// Returns the offset of the first From_ line in a file that begins so; none if the file is no
/// mbox.
///
/// Some programs leave a mark of the encoding or empty lines in front of it.
pub(super) fn first_from_line(beginning: &[u8]) -> Option<u64> {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
    let is_end = |octet: &&u8| matches!(**octet, b'\r' | b'\n');
    let empty = text.iter().take_while(is_end).count();
    let is_one = separator::begins_mbox(text.get(empty..)?);
    is_one.then_some((beginning.len() - text.len() + empty) as u64)
}

/// Locks an mbox and finds its messages; says who holds it if it can't be locked now.
///
/// # Errors
/// If it can't be read.
pub(super) fn open(
    file: File,
    path: &Path,
    first: u64,
    format: &UidlFormat,
    piece_octets: usize,
) -> io::Result<Result<Mbox<File>, String>> {
    let lock = match Lock::take(path, &file)? {
        Ok(lock) => lock,
        Err(Held(by)) => return Ok(Err(by)),
    };
    let octets = lock.octets();
    let mut mbox = Mbox::new(file, octets, path, first, format, piece_octets)?;
    mbox.lock = Some(lock);
    Ok(Ok(mbox))
}

impl<R: Read + Seek> Mbox<R> {
    /// Finds the messages of a file of so many octets.
    fn new(
        file: R,
        octets: u64,
        path: &Path,
        first: u64,
        format: &UidlFormat,
        piece_octets: usize,
    ) -> io::Result<Self> {
        let mut pages = Pages::new(file, octets, piece_octets);
        let index = index::read(&mut pages, first)?;
        Ok(Self {
            pages,
            path: path.to_owned(),
            piece_octets: piece_octets.max(1),
            index,
            format: format.clone(),
            behind: 0,
            reading: None,
            lock: None,
            has_ended: false,
        })
    }

    /// Returns whether a server that keeps UIDs has written it.
    pub(super) fn has_uids(&self) -> bool {
        self.index.base.is_some()
    }

    /// Returns the number of messages that Thunderbird has deleted and not removed from the file
    /// yet.
    pub(super) fn expunged(&self) -> usize {
        self.index.expunged
    }

    /// Returns the unique-ids of the messages, as far as they are known.
    pub(super) fn old_ids(&self) -> impl Iterator<Item = OldId> {
        self.index.messages.iter().map(|found| self.old_id(found))
    }

    fn old_id(&self, found: &IndexedMessage) -> OldId {
        match self.index.base {
            Some(base) if found.uid != 0 => OldId::Told(self.format.apply(&Facts {
                uid: found.uid,
                uidvalidity: base.uidvalidity,
                file: "",
                guid: None,
            })),
            Some(_) | None => OldId::Unknown,
        }
    }

    /// Returns the size of the file in octets.
    pub(super) fn octets(&self) -> u64 {
        self.pages.end()
    }

    /// Returns the offset up to which the file has been read.
    pub(super) fn octets_read(&self) -> u64 {
        let next = || self.index.messages.get(self.behind).map(|found| found.from);
        let at = self.reading.as_ref().map(Reading::at).or_else(next);
        at.unwrap_or_else(|| self.pages.end())
    }

    /// Goes on to the next message.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        self.reading = None;
        if let Some(lock) = &mut self.lock {
            lock.touch();
        }
        if self.has_ended {
            return None;
        }
        let Some(found) = self.index.messages.get(self.behind).copied() else {
            return self.finish();
        };
        self.behind += 1;
        let octet = found.from;
        let line = match self.look_at_from_line(octet) {
            Ok(line) => line,
            Err(error) => return Some(self.give_up(octet, &error)),
        };
        let (path, number) = (self.path.display(), self.behind);
        let name = format!("mbox {path}, message {number} (octet {octet})");
        if found.start >= found.end {
            let reason = "the message is empty".to_owned();
            return Some(Item::Skipped { name, reason });
        }
        self.reading = Some(Reading::new(&found, self.has_uids()));
        Some(Item::Message {
            name,
            received_at: line.date,
            old_id: self.old_id(&found),
            octets: None,
        })
    }

    /// The From_ line here, which must still be where it was.
    fn look_at_from_line(&mut self, offset: u64) -> io::Result<FromLine> {
        let octets = self.pages.at(offset, separator::MAX_OCTETS)?;
        let line = octets.split(|octet| *octet == b'\n').next();
        let line = line.and_then(FromLine::of);
        line.ok_or_else(|| io::Error::other("it was changed meanwhile; run the import again"))
    }

    /// All has been read. Others may use the file again, and what they have done to it in spite of
    /// the locks is told.
    fn finish(&mut self) -> Option<Item> {
        self.has_ended = true;
        let change = self.lock.take()?.change()?;
        Some(Item::Skipped {
            name: format!("mbox {}", self.path.display()),
            reason: format!(
                "{change} while it was read; run the import again to bring in what is new"
            ),
        })
    }

    fn give_up(&mut self, octet: u64, error: &io::Error) -> Item {
        (self.has_ended, self.lock) = (true, None);
        Item::Skipped {
            name: format!("mbox {}, from octet {octet} on", self.path.display()),
            reason: format!("the rest cannot be read: {error}"),
        }
    }

    /// Appends the next piece of the message; false says that it has ended.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(reading) = &mut self.reading else {
            return Ok(false);
        };
        let before = out.len();
        reading.read(&mut self.pages, self.piece_octets, out)?;
        if out.len() > before {
            return Ok(true);
        }
        self.reading = None;
        if let Some(next) = self.index.messages.get(self.behind).copied() {
            // If the next is not where it was, this one was cut in the wrong place.
            self.look_at_from_line(next.from)?;
        }
        Ok(false)
    }
}

/// Reads any octets as an mbox, in small and in large pieces, which must not matter.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(octets: &[u8]) {
    let Some(first) = first_from_line(octets) else {
        return;
    };
    let read = |piece_octets| -> io::Result<Vec<(String, Vec<u8>)>> {
        let (file, path) = (io::Cursor::new(octets), Path::new("mbox"));
        let format = UidlFormat::default();
        let mut mbox = Mbox::new(
            file,
            octets.len() as u64,
            path,
            first,
            &format,
            piece_octets,
        )?;
        let mut messages = Vec::new();
        while let Some(item) = mbox.next_item() {
            let mut message = Vec::new();
            while mbox.read(&mut message)? {}
            messages.push((format!("{item:?}"), message));
        }
        Ok(messages)
    };
    let [small, large] =
        [1, 64 * 1024].map(|octets| read(octets).map_err(|error| error.to_string()));
    assert_eq!(small, large);
}

#[cfg(test)]
mod tests;
