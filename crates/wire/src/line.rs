//! Cuts a stream into lines.

/// One line of the client, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the limit.
    Text(&'a [u8]),
    /// A longer line, which has been skipped to its end.
    TooLong,
}

/// Received octets that have not been taken out yet.
///
/// The longest line is an argument of each call, since it depends on the state of the session. An
/// empty buffer holds no memory; if all lines are taken out before more is read, it never holds more
/// than one read and one line.
#[derive(Debug, Default)]
pub struct LineBuffer {
    octets: Vec<u8>,
    start: usize,
    searched: usize,
    skipping: bool,
}

impl LineBuffer {
    /// Adds octets that were read from the network.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Returns true if all received octets were taken out.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Returns true if there is a whole line. If not, octets that can't become one are discarded.
    pub fn has_line(&mut self, max_octets: usize) -> bool {
        let whole = self.find_end().is_some();
        if !whole {
            self.keep_partial_line(max_octets);
        }
        whole
    }

    /// Takes the next whole line out; `None` if more must be read.
    ///
    /// A line ends with LF, and a CR before it belongs to the line end: people who type into
    /// `nc` send bare LF, and no POP3 command has a use for one.
    pub fn next_line(&mut self, max_octets: usize) -> Option<Line<'_>> {
        let Some(length) = self.find_end() else {
            self.keep_partial_line(max_octets);
            return None;
        };
        let line = self.start..self.start + length;
        self.start += length;
        self.searched = 0;
        if std::mem::take(&mut self.skipping) || length > max_octets {
            return Some(Line::TooLong);
        }
        let line = self.octets.get(line).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Some(Line::Text(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Returns true if the next line ends with LF alone. POP3 accepts that, other protocols do not.
    pub fn next_ends_with_lf_alone(&mut self) -> bool {
        let Some(length) = self.find_end() else {
            return false;
        };
        let line = self.octets().get(..length).unwrap_or_default();
        !line.ends_with(b"\r\n")
    }

    /// Returns the received octets that were not taken out yet, for data that is not in lines.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(self.start..).unwrap_or_default()
    }

    /// Takes out this number of octets.
    pub fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.octets.len());
        self.searched = 0;
        if self.start == self.octets.len() {
            self.octets.clear();
            self.start = 0;
        }
    }

    /// Returns the length of the next line with its line end.
    fn find_end(&self) -> Option<usize> {
        let unread = self.octets.get(self.start..).unwrap_or_default();
        let unsearched = unread.get(self.searched..).unwrap_or_default();
        let at = memchr::memchr(b'\n', unsearched)?;
        Some(self.searched + at + 1)
    }

    fn keep_partial_line(&mut self, max_octets: usize) {
        self.octets.drain(..self.start);
        self.start = 0;
        if self.octets.len() >= max_octets {
            self.octets.clear();
            self.skipping = true;
        }
        self.searched = self.octets.len();
        self.octets.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::cut;
    use proptest::prelude::*;

    /// The limit of RFC 2449, section 4.
    const MAX_LINE_OCTETS: usize = 255;

    fn lines(cuts: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for cut in cuts {
            buffer.push(cut);
            while let Some(line) = buffer.next_line(MAX_LINE_OCTETS) {
                lines.push(match line {
                    Line::Text(text) => Some(text.to_vec()),
                    Line::TooLong => None,
                });
            }
            assert!(buffer.octets.len() < MAX_LINE_OCTETS);
        }
        lines
    }

    #[test]
    fn a_line_of_255_octets_with_its_crlf_is_the_longest() {
        let longest = [&[b'x'; 253][..], b"\r\n"].concat();
        assert_eq!(lines(&[&longest]), [Some(vec![b'x'; 253])]);
        let longer = [&[b'x'; 254][..], b"\r\n"].concat();
        assert_eq!(lines(&[&longer]), [None]);
    }

    #[test]
    fn after_a_line_without_end_the_next_line_is_understood() {
        let endless = [b'x'; 10_000];
        assert_eq!(
            lines(&[&endless, &endless, b"\nNOOP\r\n"]),
            [None, Some(b"NOOP".to_vec())]
        );
    }

    #[test]
    fn octets_can_be_taken_out_between_lines() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"BDAT 6\r\na\nb\r\ncNOOP\r\nrest");
        assert_eq!(buffer.next_line(99), Some(Line::Text(b"BDAT 6")));
        assert!(buffer.octets().starts_with(b"a\nb\r\nc"));
        buffer.consume(6);
        assert_eq!(buffer.next_line(99), Some(Line::Text(b"NOOP")));
        assert_eq!(buffer.octets(), b"rest");
        assert!(!buffer.next_ends_with_lf_alone());
        buffer.push(b"\r\n\nRSET\r\n");
        for (line, lf_alone) in [(&b"rest"[..], false), (b"", true), (b"RSET", false)] {
            assert_eq!(buffer.next_ends_with_lf_alone(), lf_alone);
            assert_eq!(buffer.next_line(99), Some(Line::Text(line)));
        }
        buffer.push(b"more");
        buffer.consume(99);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"NOOP\r\n");
        while buffer.next_line(MAX_LINE_OCTETS).is_some() {}
        assert!(buffer.is_empty());
        assert_eq!(buffer.octets.capacity(), 0);
    }

    proptest! {
        #[test]
        fn the_way_the_network_cuts_the_stream_does_not_matter(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000),
            cut_at in proptest::collection::vec(1usize..400, 0..20),
        ) {
            let cuts = cut(&stream, &cut_at);
            prop_assert_eq!(lines(&cuts), lines(&[stream.as_slice()]));
        }
    }
}
