//! The end of TOP (RFC 1939, section 7).

/// Lets through the header of a message, the blank line and so many lines of the body.
///
/// A message without a blank line is all header. Lines end with LF, since stored messages have no
/// LF without its CR.
#[derive(Debug)]
pub struct Top {
    lines_left: u32,
    in_header: bool,
    octets_of_line: usize,
    done: bool,
}

impl Top {
    /// For `TOP msg lines`.
    pub fn new(lines: u32) -> Self {
        Self {
            lines_left: lines,
            in_header: true,
            octets_of_line: 0,
            done: false,
        }
    }

    /// The part of the message's next octets that TOP sends.
    pub fn take<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let mut taken = 0;
        while !self.done {
            let rest = octets.get(taken..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', rest) else {
                self.octets_of_line += rest.len();
                return octets;
            };
            taken += at + 1;
            self.end_of_line(self.octets_of_line + at + 1);
        }
        octets.get(..taken).unwrap_or_default()
    }

    /// Returns true if all that TOP sends has been taken.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn end_of_line(&mut self, octets: usize) {
        self.octets_of_line = 0;
        if self.in_header {
            self.in_header = octets > b"\r\n".len();
        } else {
            self.lines_left -= 1;
        }
        self.done = !self.in_header && self.lines_left == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn top(pieces: &[&[u8]], lines: u32) -> Vec<u8> {
        let mut top = Top::new(lines);
        let mut out = Vec::new();
        for piece in pieces {
            if top.is_done() {
                assert!(top.take(piece).is_empty());
            }
            out.extend(top.take(piece));
        }
        out
    }

    const MESSAGE: &[u8] = b"A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n";

    #[test]
    fn no_lines_means_header_and_blank_line() {
        assert_eq!(top(&[MESSAGE], 0), b"A: 1\r\nB: 2\r\n\r\n");
    }

    #[test]
    fn header_lines_do_not_count_and_blank_body_lines_do() {
        assert_eq!(top(&[MESSAGE], 2), b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n");
    }

    #[test]
    fn beyond_the_end_is_the_whole_message() {
        assert_eq!(top(&[MESSAGE], 4), MESSAGE);
        assert_eq!(top(&[MESSAGE], u32::MAX), MESSAGE);
    }

    #[test]
    fn a_message_without_blank_line_is_all_header() {
        assert_eq!(top(&[b"A: 1\r\nB: 2\r\n"], 0), b"A: 1\r\nB: 2\r\n");
    }

    fn reference(message: &[u8], lines: usize) -> Vec<u8> {
        let mut all = message.split_inclusive(|octet| *octet == b'\n');
        let mut out = Vec::new();
        for line in all.by_ref() {
            out.extend(line);
            if line == b"\r\n" {
                break;
            }
        }
        out.extend(all.take(lines).flatten());
        out
    }

    proptest! {
        #[test]
        fn top_is_what_the_rfc_says_however_the_message_is_cut(
            lines in proptest::collection::vec(prop_oneof![Just("\r\n"), Just("x: y\r\n"), Just(".\r\n"), Just("\rz\r\n")], 0..30),
            wanted in 0u32..12,
            size in 1usize..40,
        ) {
            let message = lines.concat().into_bytes();
            let pieces: Vec<&[u8]> = message.chunks(size).collect();
            prop_assert_eq!(top(&pieces, wanted), reference(&message, wanted as usize));
        }
    }
}
