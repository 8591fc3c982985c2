//! An mbox file in the form that is called mboxrd.

use std::io::{self, Write};
use std::time::SystemTime;

use super::About;
use super::lines::UnixLines;

/// The beginning of a line that separates the messages of an mbox.
const FROM: &[u8] = b"From ";

/// Writes messages behind each other.
pub(super) struct Mbox<W> {
    file: W,
    message: Quoted,
}

impl<W: Write> Mbox<W> {
    pub(super) fn new(file: W) -> Self {
        Self {
            file,
            message: Quoted::default(),
        }
    }

    pub(super) fn begin(&mut self, about: &About) -> io::Result<()> {
        let is_plain = |sender: &&str| sender.bytes().all(|octet| octet.is_ascii_graphic());
        let sender = about.sender.as_deref().filter(is_plain);
        let sender = sender.filter(|sender| !sender.is_empty());
        let sender = sender.unwrap_or("MAILER-DAEMON");
        self.message = Quoted::default();
        writeln!(self.file, "From {sender} {}", date(about.received_at))
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 64);
        self.message.push(octets, &mut out);
        self.file.write_all(&out)
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        std::mem::take(&mut self.message).finish(&mut out);
        // The line that separates it from the next.
        out.push(b'\n');
        self.file.write_all(&out)
    }

    pub(super) fn into_inner(self) -> W {
        self.file
    }
}

/// Formats a time of receipt as `asctime` does, in UTC (RFC 4155).
fn date(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Puts a `>` in front of each line that would announce a message, or that has such a `>` already:
/// so every one of them is taken off again, and no other.
#[derive(Debug, Default)]
struct Quoted {
    lines: UnixLines,
    place: Place,
}

/// The position of the next octet in a line.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Behind any number of `>` and so many octets of "From ".
    Beginning(usize),
    /// Behind something else.
    Within,
}

impl Default for Place {
    fn default() -> Self {
        Self::Beginning(0)
    }
}

impl Quoted {
    fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut unix = Vec::with_capacity(octets.len());
        self.lines.push(octets, &mut unix);
        self.quote(&unix, out);
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        let mut unix = Vec::new();
        std::mem::take(&mut self.lines).finish(&mut unix);
        self.quote(&unix, out);
        if let Place::Beginning(seen) = self.place {
            out.extend_from_slice(FROM.get(..seen).unwrap_or_default());
        }
    }

    fn quote(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            if let Place::Beginning(seen) = self.place {
                if FROM.get(seen) == Some(octet) {
                    self.place = Place::Beginning(seen + 1);
                    if seen + 1 < FROM.len() {
                        // What has been seen is held back until it is clear what it is.
                        continue;
                    }
                    out.push(b'>');
                    out.extend_from_slice(FROM);
                    self.place = Place::Within;
                    continue;
                }
                out.extend_from_slice(FROM.get(..seen).unwrap_or_default());
                let still_at_the_beginning = seen == 0 && *octet == b'>';
                if !still_at_the_beginning {
                    self.place = Place::Within;
                }
            }
            out.push(*octet);
            if *octet == b'\n' {
                self.place = Place::Beginning(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn quoted(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut message, mut out) = (Quoted::default(), Vec::new());
        for piece in pieces {
            message.push(piece, &mut out);
        }
        message.finish(&mut out);
        out
    }

    #[test]
    fn lines_that_would_announce_a_message_are_quoted_once_more() {
        for (line, expected) in [
            ("From me\r\n", ">From me\n"),
            (">From me\r\n", ">>From me\n"),
            (">>>From me\r\n", ">>>>From me\n"),
            ("From\r\n", "From\n"),
            ("Fro\r\nFrom a\r\n", "Fro\n>From a\n"),
            (" From me\r\n", " From me\n"),
            (">\r\n", ">\n"),
            (">FFrom me\r\n", ">FFrom me\n"),
            ("from me\r\n", "from me\n"),
            ("a From me\r\n", "a From me\n"),
        ] {
            assert_eq!(quoted(&[line.as_bytes()]), expected.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn a_message_begins_with_who_sent_it_and_when() {
        let mut mbox = Mbox::new(Vec::new());
        let mut about = About {
            received_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            unique_id: "1".into(),
            sender: Some("ada@example.org".into()),
        };
        for sender in [
            about.sender.clone(),
            Some(String::new()),
            Some("a b@c".into()),
            None,
        ] {
            about.sender = sender;
            mbox.begin(&about).unwrap();
            mbox.end().unwrap();
        }
        let text = String::from_utf8(mbox.into_inner()).unwrap();
        let date = "Tue Nov 14 22:13:20 2023";
        let nobody = format!("From MAILER-DAEMON {date}\n\n");
        assert_eq!(
            text,
            format!("From ada@example.org {date}\n\n{nobody}{nobody}{nobody}")
        );
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            lines in proptest::collection::vec("(>{0,2}(F|Fr|From |From me|x)?\r\n)|\r|.{0,3}", 0..9),
            at in 0usize..60,
        ) {
            let message = lines.concat().into_bytes();
            let (one, other) = message.split_at(at.min(message.len()));
            prop_assert_eq!(quoted(&[one, other]), quoted(&[&message]));
        }
    }
}
