//! Messages in an mbox file.
//!
//! Of the forms of mbox this reads mboxo and mboxrd, which differ in what they escape while
//! writing. A Content-Length field is not trusted: too many programs have left it wrong.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::SystemTime;

use memchr::memchr;

use super::window::Window;
use super::{Item, OldId, date};

/// What a line begins with that announces a message.
pub(super) const FROM: &[u8] = b"From ";

/// How much of a From_ line is looked at: more than its sender and its date need.
const MAX_FROM_LINE_OCTETS: usize = 512;

/// An mbox file on its way through a small window.
#[derive(Debug)]
pub(super) struct Mbox<R> {
    window: Window<R>,
    path: PathBuf,
    modified_at: SystemTime,
    piece_octets: usize,
    /// Where the window stands in a message; none between two of them.
    place: Option<Place>,
    messages: u64,
    /// An error has made the rest unreadable.
    given_up: bool,
}

/// Where in a message the window stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At the start of a line.
    LineStart,
    /// Behind the first `>` of a line, which is held back: it may be an escape.
    Quotes,
    /// Inside a line, where nothing has a meaning but its end.
    Line,
}

impl<R: Read> Mbox<R> {
    /// An mbox, read in pieces of about this many octets.
    pub(super) fn new(
        stream: R,
        path: PathBuf,
        modified_at: SystemTime,
        piece_octets: usize,
    ) -> Self {
        Self {
            window: Window::new(stream, piece_octets),
            path,
            modified_at,
            piece_octets: piece_octets.max(1),
            place: None,
            messages: 0,
            given_up: false,
        }
    }

    /// How far the file has been read.
    pub(super) fn octets_read(&self) -> u64 {
        self.window.position()
    }

    /// Goes on to the next From_ line.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        if self.given_up {
            return None;
        }
        self.advance().unwrap_or_else(|error| {
            self.given_up = true;
            self.place = None;
            let octet = self.window.position();
            Some(Item::Skipped {
                name: format!("mbox {}, from octet {octet} on", self.path.display()),
                reason: format!("the rest cannot be read: {error}"),
            })
        })
    }

    fn advance(&mut self) -> io::Result<Option<Item>> {
        let mut rest = Vec::new();
        while self.read(&mut rest)? {
            rest.clear();
        }
        let octet = self.window.position();
        if self.window.ahead()?.is_empty() {
            return Ok(None);
        }
        let from_line = self.take_from_line()?;
        self.place = Some(Place::LineStart);
        self.messages += 1;
        let path = self.path.display();
        let name = format!("mbox {path}, message {} (octet {octet})", self.messages);
        if end_of_message(self.window.ahead()?).is_some() {
            let reason = "the message is empty".to_owned();
            return Ok(Some(Item::Skipped { name, reason }));
        }
        let received_at = date::of_from_line(&from_line).unwrap_or(self.modified_at);
        Ok(Some(Item::Message {
            name,
            received_at: Some(received_at),
            old_id: OldId::Unknown,
            octets: None,
        }))
    }

    /// Consumes a From_ line and returns what may be of interest in it.
    fn take_from_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let ahead = self.window.ahead()?;
            let end = memchr(b'\n', ahead);
            let octets = end.map_or(ahead.len(), |at| at + 1);
            let room = MAX_FROM_LINE_OCTETS - line.len();
            line.extend(ahead.iter().take(octets.min(room)));
            self.window.consume(octets);
            if end.is_some() || octets == 0 {
                return Ok(line);
            }
        }
    }

    /// Appends the next piece of the message; false says that it has ended.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let before = out.len();
        while let Some(place) = self.place
            && out.len() - before < self.piece_octets
        {
            self.place = self.step(place, out)?;
        }
        Ok(out.len() > before)
    }

    /// Reads up to the next octet that may have a meaning, and says where that is.
    fn step(&mut self, place: Place, out: &mut Vec<u8>) -> io::Result<Option<Place>> {
        let ahead = self.window.ahead()?;
        let (octets, next) = match place {
            Place::LineStart => {
                if let Some(octets) = end_of_message(ahead) {
                    (octets, None)
                } else if ahead.starts_with(b">") {
                    (1, Some(Place::Quotes))
                } else {
                    (0, Some(Place::Line))
                }
            }
            Place::Quotes => {
                // There may be any number of them, and one is like another: the rest can go out
                // before it is clear whether the first is an escape.
                let quotes = ahead.iter().take_while(|octet| **octet == b'>').count();
                out.resize(out.len() + quotes, b'>');
                if quotes > 0 {
                    (quotes, Some(Place::Quotes))
                } else {
                    if !ahead.starts_with(FROM) {
                        out.push(b'>');
                    }
                    (0, Some(Place::Line))
                }
            }
            Place::Line => {
                let (line, next) = match memchr(b'\n', ahead) {
                    Some(end) => (ahead.get(..=end), Some(Place::LineStart)),
                    None if ahead.is_empty() => (None, None),
                    None => (Some(ahead), Some(Place::Line)),
                };
                let line = line.unwrap_or_default();
                out.extend_from_slice(line);
                (line.len(), next)
            }
        };
        self.window.consume(octets);
        Ok(next)
    }
}

/// If a message ends at this start of a line, the octets of the empty line that separates it.
///
/// An empty line is asked for before the next From_ line because not every writer escapes every
/// "From " in a body: one in the middle of a paragraph stays a line of its message. Only one empty
/// line is the separator; what comes before it was written by the sender.
fn end_of_message(ahead: &[u8]) -> Option<usize> {
    let empty_line = [b"\r\n".as_slice(), b"\n", b""]
        .into_iter()
        .find(|end| ahead.starts_with(end))?;
    let rest = ahead.strip_prefix(empty_line)?;
    let is_separator = !empty_line.is_empty() && rest.starts_with(FROM);
    (is_separator || rest.is_empty()).then_some(empty_line.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// The size of the window in tests that do not vary it.
    const SMALL: usize = 16;

    fn mbox<R: Read>(stream: R, piece_octets: usize) -> Mbox<R> {
        Mbox::new(stream, PathBuf::from("inbox"), UNIX_EPOCH, piece_octets)
    }

    /// All messages; an empty one stands for what was skipped.
    fn messages<R: Read>(mut mbox: Mbox<R>) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(item) = mbox.next_item() {
            let mut message = Vec::new();
            if matches!(item, Item::Message { .. }) {
                while mbox.read(&mut message).unwrap() {}
            }
            messages.push(message);
        }
        messages
    }

    fn texts(file: &str) -> Vec<String> {
        let messages = messages(mbox(file.as_bytes(), SMALL)).into_iter();
        messages.map(|m| String::from_utf8(m).unwrap()).collect()
    }

    #[test]
    fn one_empty_line_before_from_or_the_end_is_no_part_of_a_message() {
        assert_eq!(
            texts("From a\nA: 1\n\nhi\n\nFrom b\nA: 2\n\nho\n\n"),
            ["A: 1\n\nhi\n", "A: 2\n\nho\n"]
        );
        assert_eq!(
            texts("From a\r\nA: 1\r\n\r\nhi\r\n\r\nFrom b\r\nA: 2\r\n\r\nho\r\n\r\n"),
            ["A: 1\r\n\r\nhi\r\n", "A: 2\r\n\r\nho\r\n"]
        );
        assert_eq!(
            texts("From a\nA: 1\n\n\n\nFrom b\nA: 2\n\n\n\n"),
            ["A: 1\n\n\n", "A: 2\n\n\n"]
        );
    }

    #[test]
    fn from_inside_a_paragraph_stays_in_its_message() {
        assert_eq!(
            texts("From a\nA: 1\n\nhi\nFrom now on\n"),
            ["A: 1\n\nhi\nFrom now on\n"]
        );
        assert_eq!(
            texts("From a\nFrom b\n\nFromage\n"),
            ["From b\n\nFromage\n"]
        );
    }

    #[test]
    fn an_escaped_from_loses_one_quote_wherever_it_is() {
        assert_eq!(
            texts("From a\n>From x\n\n>>From y\n>>>>From z\n"),
            ["From x\n\n>From y\n>>>From z\n"]
        );
        let others = ">\n>>Fromage\n> From x\n a>From x\n>from x\n>From\n>Fro";
        assert_eq!(texts(&format!("From a\n{others}")), [others]);
    }

    #[test]
    fn the_octets_of_a_message_stay_as_they_are() {
        let message = b"A: \0\xff\r\r\n\nB\n\r\n\n\r";
        let file = [b"From a\n".as_slice(), message].concat();
        assert_eq!(messages(mbox(file.as_slice(), SMALL)), [message]);
    }

    #[test]
    fn a_message_without_octets_is_skipped() {
        assert_eq!(
            texts("From a\n\nFrom b\nA: 2\n\nFrom c\n"),
            ["", "A: 2\n", ""]
        );
        assert_eq!(texts("From a"), [""]);
    }

    #[test]
    fn a_truncated_last_message_is_kept() {
        assert_eq!(texts("From a\nA: 1\n\nFro"), ["A: 1\n\nFro"]);
        assert_eq!(texts("From a\nA: 1\n\nFrom"), ["A: 1\n\nFrom"]);
        assert_eq!(texts("From a\nA: 1\n>>"), ["A: 1\n>>"]);
    }

    #[test]
    fn the_from_line_tells_when_a_message_came() {
        let sender = "x".repeat(2 * MAX_FROM_LINE_OCTETS);
        let file = format!(
            "From a Thu Jan  1 00:01:00 1970\nA: 1\n\nFrom a\nA: 2\n\n\
             From {sender} Thu Jan  1 00:01:00 1970\nA: 3\n"
        );
        let mut mbox = mbox(file.as_bytes(), SMALL);
        let item = |name: &str, seconds| Item::Message {
            name: name.to_owned(),
            received_at: Some(UNIX_EPOCH + Duration::from_secs(seconds)),
            old_id: OldId::Unknown,
            octets: None,
        };
        let [first, second, third] = [
            item("mbox inbox, message 1 (octet 0)", 60),
            item("mbox inbox, message 2 (octet 38)", 0),
            item("mbox inbox, message 3 (octet 51)", 0),
        ];
        assert_eq!(mbox.next_item(), Some(first));
        assert_eq!(mbox.next_item(), Some(second));
        assert_eq!(mbox.next_item(), Some(third));
        assert_eq!(mbox.next_item(), None);
        assert_eq!(mbox.octets_read(), file.len() as u64);
    }

    #[test]
    fn a_message_arrives_in_pieces_and_its_rest_can_be_skipped() {
        let line = "x".repeat(10_000);
        let file = format!("From a\n{line}\n\nFrom b\nA: 2\n");
        let mut mbox = mbox(file.as_bytes(), 100);
        mbox.next_item().unwrap();
        let mut piece = Vec::new();
        assert!(mbox.read(&mut piece).unwrap());
        assert!((100..200).contains(&piece.len()));
        mbox.next_item().unwrap();
        piece.clear();
        while mbox.read(&mut piece).unwrap() {}
        assert_eq!(piece, b"A: 2\n");
        assert!(!mbox.read(&mut piece).unwrap());
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_skipped_once() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let mut mbox = mbox(b"From a\nA: 1\n\nhalf a".chain(Broken), SMALL);
        assert!(matches!(mbox.next_item(), Some(Item::Message { .. })));
        let mut message = Vec::new();
        while mbox.read(&mut message).unwrap_or(false) {}
        assert!(mbox.read(&mut message).is_err());
        let skipped = Item::Skipped {
            name: "mbox inbox, from octet 13 on".to_owned(),
            reason: "the rest cannot be read: bad sector".to_owned(),
        };
        assert_eq!(mbox.next_item(), Some(skipped));
        assert_eq!(mbox.next_item(), None);
        assert!(!mbox.read(&mut message).unwrap());
    }

    /// As a writer of mboxrd does it.
    fn write_mboxrd(messages: &[Vec<u8>], line_end: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        for message in messages {
            file.extend(b"From ada@example.org Sat Jan  3 01:05:34 1996");
            file.extend(line_end);
            for line in message.split_inclusive(|octet| *octet == b'\n') {
                let quotes = line.iter().take_while(|octet| **octet == b'>').count();
                if line[quotes..].starts_with(FROM) {
                    file.push(b'>');
                }
                file.extend(line);
            }
            file.extend(line_end);
        }
        file
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let parts: [&[u8]; 9] = [
            b"From ", b"\nFrom ", b"\n>", b">", b"\n", b"\r\n", b"\r", b"Fro", b"text",
        ];
        let part = prop_oneof![
            3 => proptest::sample::select(parts.to_vec()).prop_map(<[u8]>::to_vec),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(part, 0..40).prop_map(|parts| {
            let mut message = parts.concat();
            // An mbox cannot tell whether the last line had an end.
            if !message.ends_with(b"\n") {
                message.push(b'\n');
            }
            message
        })
    }

    proptest! {
        #[test]
        fn what_was_written_as_mboxrd_is_read_back_however_small_the_window_is(
            written in proptest::collection::vec(message(), 1..5),
            crlf in any::<bool>(),
            piece_octets in 0usize..80,
        ) {
            let file = write_mboxrd(&written, if crlf { b"\r\n" } else { b"\n" });
            prop_assert_eq!(messages(mbox(file.as_slice(), piece_octets)), written);
        }

        #[test]
        fn any_file_reads_the_same_however_small_the_window_is(
            mut file in message(),
            end in 0usize..200,
            piece_octets in 0usize..80,
        ) {
            file.truncate(end);
            let whole = messages(mbox(file.as_slice(), 1 << 16));
            prop_assert_eq!(messages(mbox(file.as_slice(), piece_octets)), whole);
        }
    }
}
