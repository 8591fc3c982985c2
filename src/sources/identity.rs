//! The identity of a message: equal when it is imported again.

use sha2::{Digest, Sha256};
use wire::Canonical;

/// Fields that mail stores add, change and remove while users read their mail.
const KEPT_BY_STORES: [&str; 14] = [
    "Content-Length",
    "Lines",
    "Status",
    "X-Evolution",
    "X-IMAP",
    "X-IMAPbase",
    "X-Keywords",
    "X-Mozilla-Keys",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Status",
    "X-UID",
    "X-UIDL",
    "X-VM-v5-Data",
];

/// The longest name that is looked for.
const MAX_NAME_OCTETS: usize = 32;

/// The beginning of a line that separates the messages of an mbox.
const FROM: &[u8] = b"From ";

/// The SHA-256 of a message without what mail stores change in it: their own fields, and the `>` in
/// front of a line that begins with "From ".
///
/// So a message is the same before and after a client has read it, and whether its server or the
/// server's file was the source. Of most messages it is the SHA-256 of what RETR sends.
#[derive(Debug, Default)]
pub struct Identity {
    canonical: Canonical,
    digest: Sha256,
    place: Place,
    /// The beginning of a line, of which it is not clear yet what it is.
    held: Vec<u8>,
}

/// The position of the next octet in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line of the header; is the field that may go on here left out?
    Header { is_left_out: bool },
    /// At the beginning of a line of the body, behind any `>`.
    Body,
    /// Inside a line.
    Line { in_header: bool, is_left_out: bool },
}

impl Default for Place {
    fn default() -> Self {
        Self::Header { is_left_out: false }
    }
}

impl Identity {
    /// Takes the next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        let mut canonical = Vec::with_capacity(octets.len() + octets.len() / 32);
        self.canonical.push(octets, &mut canonical);
        self.take(&canonical);
    }

    /// The message is complete.
    pub fn finish(mut self) -> [u8; 32] {
        let mut rest = Vec::new();
        std::mem::take(&mut self.canonical).finish(&mut rest);
        self.take(&rest);
        self.digest.update(&self.held);
        self.digest.finalize().into()
    }

    fn take(&mut self, mut octets: &[u8]) {
        while let Some((first, behind)) = octets.split_first() {
            let Place::Line {
                in_header,
                is_left_out,
            } = self.place
            else {
                self.held.push(*first);
                self.decide();
                octets = behind;
                continue;
            };
            let end = memchr::memchr(b'\n', octets).map(|at| at + 1);
            let (line, behind) = octets
                .split_at_checked(end.unwrap_or(octets.len()))
                .unwrap_or((octets, &[]));
            if !is_left_out {
                self.digest.update(line);
            }
            if end.is_some() {
                self.place = if in_header {
                    Place::Header { is_left_out }
                } else {
                    Place::Body
                };
            }
            octets = behind;
        }
    }

    /// Looks at the beginning of a line that is held, and goes on into the line if it is clear now
    /// what it is.
    fn decide(&mut self) {
        let in_header = matches!(self.place, Place::Header { .. });
        let was_left_out = self.place == Place::Header { is_left_out: true };
        let quotes = self.held.iter().take_while(|octet| **octet == b'>').count();
        let unquoted = self.held.get(quotes..).unwrap_or_default();
        if quotes > 0 && FROM.starts_with(unquoted) {
            if unquoted == FROM {
                self.held.drain(..quotes);
                self.enter_line(in_header, false);
            } else if unquoted.is_empty() && quotes > MAX_NAME_OCTETS {
                // One is like another, and a line may be made of nothing else.
                self.held.pop();
            }
            return;
        }
        if !in_header {
            self.enter_line(false, false);
            return;
        }
        match self.held.as_slice() {
            b"\r" => {}
            // The header ends here.
            [b'\r', b'\n', ..] => self.enter_line(false, false),
            [b' ' | b'\t', ..] => self.enter_line(true, was_left_out),
            [name @ .., b':'] => {
                let name = name.trim_ascii_end();
                let is_left_out = KEPT_BY_STORES
                    .iter()
                    .any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
                self.enter_line(true, is_left_out);
            }
            [.., b'\n'] => self.enter_line(true, false),
            held if held.len() > MAX_NAME_OCTETS => self.enter_line(true, false),
            _ => {}
        }
    }

    fn enter_line(&mut self, in_header: bool, is_left_out: bool) {
        let held = std::mem::take(&mut self.held);
        self.place = Place::Line {
            in_header,
            is_left_out,
        };
        // What is held may be a whole line.
        self.take(&held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(pieces: &[&[u8]]) -> [u8; 32] {
        let mut identity = Identity::default();
        pieces.iter().for_each(|piece| identity.push(piece));
        identity.finish()
    }

    fn digest(octets: &[u8]) -> [u8; 32] {
        let (mut canonical, mut out) = (Canonical::default(), Vec::new());
        canonical.push(octets, &mut out);
        canonical.finish(&mut out);
        Sha256::digest(out).into()
    }

    #[test]
    fn what_stores_change_in_a_message_is_no_part_of_it() {
        let plain = b"Subject: x\nTo: y\n\nhi\nFrom now on\n";
        let expected = digest(plain);
        for changed in [
            plain.as_slice(),
            b"Subject: x\r\nTo: y\r\n\r\nhi\r\nFrom now on\r\n",
            b"Subject: x\nStatus: RO\nTo: y\nx-status: A\nX-UID: 7   \n\nhi\nFrom now on\n",
            b"X-IMAPbase: 1 2\n Junk\n\tNonJunk\nSubject: x\nTo: y\n\nhi\n>From now on\n",
            b"Subject: x\nTo: y\nContent-Length: 15\nLines: 2\n\nhi\n>>>From now on\n",
            b"X-Mozilla-Status: 0001\nX-Mozilla-Keys:      \nSubject: x\nTo: y\n\nhi\nFrom now on\n",
            b"X-UIDL: a\nSubject: x\nTo: y\nStatus : O\n\nhi\nFrom now on",
        ] {
            let text = String::from_utf8_lossy(changed);
            assert_eq!(identity(&[changed]), expected, "{text}");
        }
        for other in [
            "Subject: x\nTo: y\n\nStatus: RO\nhi\nFrom now on\n",
            "Subject: x\nTo: y\nStatuses: O\n\nhi\nFrom now on\n",
            "Subject: x\nTo: y\n\nhi\n> From now on\n",
            "Subject: x\nTo: y\n\nhi\n>from now on\n",
            "Subject: x\nTo: y\n folded\n\nhi\nFrom now on\n",
        ] {
            assert_eq!(
                identity(&[other.as_bytes()]),
                digest(other.as_bytes()),
                "{other}"
            );
        }
    }

    proptest! {
        #[test]
        fn of_a_message_without_such_things_it_is_the_digest_of_all_octets(
            lines in proptest::collection::vec("(>{0,3}(F|Fro|From)?|[A-Za-z-]{0,40}:?| x|\r|.{0,5})\n?", 0..12),
        ) {
            let message = lines.concat();
            let of_a_store = |line: &str| line.split_once(':').is_some_and(|(name, _)| {
                KEPT_BY_STORES.iter().any(|known| known.eq_ignore_ascii_case(name.trim()))
            });
            prop_assume!(!message.lines().any(|line| line.contains("From ") || of_a_store(line)));
            prop_assert_eq!(identity(&[message.as_bytes()]), digest(message.as_bytes()));
        }

        #[test]
        fn the_pieces_do_not_matter(
            lines in proptest::collection::vec("(>{0,40}(F|From |From me|Status: |X-UID:1| x)?\r?\n)|\r|.{0,3}", 0..9),
            at in 0usize..80,
        ) {
            let message = lines.concat().into_bytes();
            let (one, other) = message.split_at(at.min(message.len()));
            prop_assert_eq!(identity(&[one, other]), identity(&[&message]));
        }
    }
}
