//! Random access to a file that may be of any size.

use std::io::{self, Read, Seek, SeekFrom};

use memchr::memchr;

/// A file of which a part is in memory. What it grows by after it was opened is not seen.
#[derive(Debug)]
pub(super) struct Pages<R> {
    file: R,
    end: u64,
    /// Octets that are read at once.
    size: usize,
    /// Offset of the part in memory.
    start: u64,
    octets: Vec<u8>,
}

impl<R: Read + Seek> Pages<R> {
    /// Looks at a file of so many octets.
    pub(super) fn new(file: R, end: u64, size: usize) -> Self {
        Self {
            file,
            end,
            size: size.max(1),
            start: 0,
            octets: Vec::new(),
        }
    }

    /// Returns the size in octets that the file had when it was opened.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The octets from here on: so many at least, unless the file ends before.
    pub(super) fn at(&mut self, offset: u64, octets: usize) -> io::Result<&[u8]> {
        let wanted = octets.min(usize::try_from(self.end.saturating_sub(offset)).unwrap_or(octets));
        if self.held(offset).is_none_or(|held| held.len() < wanted) {
            self.load(offset, wanted)?;
        }
        Ok(self.held(offset).unwrap_or_default())
    }

    /// Returns the part of the file that is in memory from here on.
    fn held(&self, offset: u64) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.octets.get(from..)
    }

    fn load(&mut self, offset: u64, wanted: usize) -> io::Result<()> {
        self.octets.clear();
        self.start = offset;
        let left = self.end.saturating_sub(offset);
        self.file.seek(SeekFrom::Start(offset))?;
        let most = left.min(wanted.max(self.size) as u64);
        self.file
            .by_ref()
            .take(most)
            .read_to_end(&mut self.octets)?;
        if self.octets.len() < wanted {
            // A program has made the file shorter.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Returns the end of the line that goes on here: behind its LF, or at the end of the file.
    pub(super) fn line_end(&mut self, mut offset: u64) -> io::Result<u64> {
        loop {
            let octets = self.at(offset, 1)?;
            if let Some(at) = memchr(b'\n', octets) {
                return Ok(offset + at as u64 + 1);
            }
            if octets.is_empty() {
                return Ok(offset);
            }
            offset += octets.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    proptest! {
        #[test]
        fn every_part_is_there_wherever_one_looks(
            size in 0usize..20,
            looks in proptest::collection::vec((0u64..120, 0usize..30), 1..40),
        ) {
            let octets: Vec<u8> = (0..100).collect();
            let mut pages = Pages::new(Cursor::new(octets.as_slice()), 90, size);
            for (offset, wanted) in looks {
                let from = usize::try_from(offset).unwrap().min(90);
                let seen = pages.at(offset, wanted).unwrap();
                prop_assert!(seen.len() >= wanted.min(90 - from));
                prop_assert_eq!(seen, &octets[from..from + seen.len()]);
            }
        }
    }

    #[test]
    fn a_line_ends_behind_its_lf_or_with_the_file() {
        let mut pages = Pages::new(Cursor::new(b"one\n\ntwo".as_slice()), 8, 2);
        let ends = [0, 1, 4, 5, 8].map(|at| pages.line_end(at).unwrap());
        assert_eq!(ends, [4, 4, 5, 8, 8]);
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let mut pages = Pages::new(Cursor::new(b"short".as_slice()), 8, 100);
        assert!(pages.at(0, 8).is_err());
        assert!(pages.at(0, 5).is_ok());
    }
}
