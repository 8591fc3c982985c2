//! The inverse of stuffing for messages of other POP3 servers, which may be old.

use memchr::memchr;

/// Takes a message off the stream (RFC 1939, section 3).
///
/// CRLF, a dot and CRLF end it. Some old servers end their lines with LF alone: that is so if the
/// reply before the message ends so, or the first line of the message. Of all others, a bare LF is
/// an octet like any other, and no dot behind it ends anything.
#[derive(Debug, Default)]
pub struct LenientUnstuffing {
    line_ends: LineEnds,
    place: Place,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum LineEnds {
    #[default]
    Unknown,
    Crlf,
    /// LF, with or without a CR before it.
    Lf,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line.
    #[default]
    Start,
    /// Behind the dot that a line begins with.
    Dot,
    /// Behind that dot and a CR.
    DotCr,
    /// In a line, and perhaps behind a CR.
    Text { after_cr: bool },
    /// Behind the end.
    Ended,
}

impl LenientUnstuffing {
    /// Begins behind a reply, which ended with LF alone if `bare_lf` is true.
    pub fn behind(bare_lf: bool) -> Self {
        let line_ends = if bare_lf {
            LineEnds::Lf
        } else {
            LineEnds::Unknown
        };
        Self {
            line_ends,
            place: Place::Start,
        }
    }

    /// Returns true if the message has ended.
    pub fn has_ended(&self) -> bool {
        self.place == Place::Ended
    }

    /// Takes the octets that belong to the message and appends them to `out`, unstuffed; returns the
    /// number of octets that were taken.
    pub fn take(&mut self, octets: &[u8], out: &mut Vec<u8>) -> usize {
        let mut rest = octets;
        while let Some((first, behind)) = rest.split_first() {
            rest = match (self.place, *first) {
                (Place::Ended, _) => break,
                (Place::Start, b'.') => {
                    self.place = Place::Dot;
                    behind
                }
                (Place::Dot, b'\r') => {
                    self.place = Place::DotCr;
                    behind
                }
                (Place::Dot, b'\n') if self.line_ends != LineEnds::Crlf => {
                    self.place = Place::Ended;
                    behind
                }
                (Place::DotCr, b'\n') => {
                    self.place = Place::Ended;
                    behind
                }
                (Place::DotCr, _) => {
                    out.push(b'\r');
                    self.text(rest, true, out)
                }
                (Place::Text { after_cr }, _) => self.text(rest, after_cr, out),
                (Place::Start | Place::Dot, _) => self.text(rest, false, out),
            };
        }
        octets.len() - rest.len()
    }

    /// Takes a line to its end, or as much of it as there is; returns the rest.
    fn text<'a>(&mut self, octets: &'a [u8], after_cr: bool, out: &mut Vec<u8>) -> &'a [u8] {
        let end = memchr(b'\n', octets).map(|at| at + 1);
        let (line, rest) = octets
            .split_at_checked(end.unwrap_or(octets.len()))
            .unwrap_or((octets, &[]));
        out.extend_from_slice(line);
        self.place = match line {
            [before @ .., b'\n'] => {
                let is_crlf = before.last().map_or(after_cr, |octet| *octet == b'\r');
                self.behind_lf(is_crlf)
            }
            _ => Place::Text {
                after_cr: line.ends_with(b"\r"),
            },
        };
        rest
    }

    fn behind_lf(&mut self, is_crlf: bool) -> Place {
        if self.line_ends == LineEnds::Unknown {
            self.line_ends = if is_crlf {
                LineEnds::Crlf
            } else {
                LineEnds::Lf
            };
        }
        if is_crlf || self.line_ends == LineEnds::Lf {
            Place::Start
        } else {
            Place::Text { after_cr: false }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The message, and the number of octets that are left; none if it has not ended.
    fn taken(bare_lf: bool, pieces: &[&[u8]]) -> Option<(Vec<u8>, usize)> {
        let (mut unstuffing, mut out) = (LenientUnstuffing::behind(bare_lf), Vec::new());
        let mut left = 0;
        for piece in pieces {
            left += piece.len() - unstuffing.take(piece, &mut out);
        }
        unstuffing.has_ended().then_some((out, left))
    }

    #[test]
    fn the_end_is_found_whatever_the_line_ends_are() {
        let is = |text: &[u8]| Some((text.to_vec(), 0));
        for (bare_lf, sent, message) in [
            (
                false,
                b"a\r\n..b\r\n.\r\n".as_slice(),
                b"a\r\n.b\r\n".as_slice(),
            ),
            (true, b"a\n..b\n.\n", b"a\n.b\n"),
            (false, b"a\n..b\n.\n", b"a\n.b\n"),
            (false, b"a\n..b\n.\r\n", b"a\n.b\n"),
            (true, b"a\r\n..b\r\n.\n", b"a\r\n.b\r\n"),
            (false, b".\r\n", b""),
            (true, b".\n", b""),
            (false, b"a\r\n..\r\n.\rb\r\n.\r\n", b"a\r\n.\r\n\rb\r\n"),
        ] {
            assert_eq!(taken(bare_lf, &[sent]), is(message), "{sent:?}");
        }
        assert_eq!(taken(false, &[b".\r\n+OK\r\n"]), Some((vec![], 5)));
    }

    #[test]
    fn a_bare_lf_of_a_server_with_crlf_ends_nothing() {
        for sent in ["a\r\nb\n.\n", "a\r\nb\n.\r\n", "a\r\n.\n", "a\r\n.\n.\r\n"] {
            assert_eq!(taken(false, &[sent.as_bytes()]), None, "{sent:?}");
        }
        let (message, _) = taken(false, &[b"a\r\nb\n.\nc\r\n.\r\n"]).unwrap();
        assert_eq!(message, b"a\r\nb\n.\nc\r\n");
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back_however_it_is_cut(
            lines in proptest::collection::vec("\\.{0,2}[a\r]{0,2}", 0..9),
            lf in any::<bool>(),
            at in 0usize..60,
        ) {
            let end = if lf { "\n" } else { "\r\n" };
            let message: String = lines.iter().map(|line| format!("{line}{end}")).collect();
            let stuffed = |line: &String| match line.strip_prefix('.') {
                Some(rest) => format!("..{rest}{end}"),
                None => format!("{line}{end}"),
            };
            let sent: String = lines.iter().map(stuffed).collect();
            let sent = format!("{sent}.{end}");
            let (one, other) = sent.as_bytes().split_at(at.min(sent.len()));
            prop_assert_eq!(taken(lf, &[one, other]), Some((message.into_bytes(), 0)));
        }
    }
}
