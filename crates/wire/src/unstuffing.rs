//! The inverse of stuffing for a message behind DATA.

/// Takes a message off the stream (RFC 5321, section 4.5.2).
///
/// CRLF, a dot and CRLF end it, and nothing else does. Servers that also take a bare LF or CR for
/// a line end let a sender hide a second message in a first one (SMTP smuggling). So a dot behind a
/// bare LF is a dot like any other: it ends nothing, and is not stuffed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstuffing(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a line.
    Start,
    /// Behind the dot that a line begins with.
    Dot,
    /// Behind that dot and a CR.
    DotCr,
    /// In a line.
    Text,
    /// Behind a CR in a line.
    Cr,
    /// Behind the end.
    Ended,
}

impl Default for Unstuffing {
    fn default() -> Self {
        // The CRLF of the DATA command counts, so a message may be empty.
        Self(State::Start)
    }
}

impl Unstuffing {
    /// Takes the octets that belong to the message and appends them to `out`, unstuffed; returns the
    /// number of octets that were taken: all, unless the message has ended.
    pub fn take(&mut self, octets: &[u8], out: &mut Vec<u8>) -> usize {
        let mut rest = octets;
        while self.0 != State::Ended {
            if self.0 == State::Text {
                let line = memchr::memchr(b'\r', rest).map_or(rest.len(), |at| at + 1);
                let (text, behind) = rest.split_at_checked(line).unwrap_or((rest, &[]));
                out.extend_from_slice(text);
                rest = behind;
                if text.ends_with(b"\r") {
                    self.0 = State::Cr;
                }
            }
            let Some((octet, behind)) = rest.split_first() else {
                break;
            };
            rest = behind;
            self.0 = self.step(*octet, out);
        }
        octets.len() - rest.len()
    }

    /// Returns true if the message has ended.
    pub fn has_ended(&self) -> bool {
        self.0 == State::Ended
    }

    fn step(&self, octet: u8, out: &mut Vec<u8>) -> State {
        let next = match (self.0, octet) {
            (State::Start, b'.') => return State::Dot,
            (State::Dot, b'\r') => return State::DotCr,
            (State::DotCr, b'\n') => return State::Ended,
            (State::DotCr, _) => {
                out.push(b'\r');
                after_cr(octet)
            }
            (State::Cr, _) => after_cr(octet),
            (State::Start | State::Text | State::Ended, b'\r') => State::Cr,
            (State::Start | State::Dot | State::Text | State::Ended, _) => State::Text,
        };
        out.push(octet);
        next
    }
}

fn after_cr(octet: u8) -> State {
    match octet {
        b'\n' => State::Start,
        b'\r' => State::Cr,
        _ => State::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is taken when the stream comes in these pieces, and what is left; none if it goes on.
    fn take(pieces: &[&[u8]]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut unstuffing = Unstuffing::default();
        let (mut message, mut left) = (Vec::new(), Vec::new());
        for piece in pieces {
            let taken = unstuffing.take(piece, &mut message);
            assert!(unstuffing.has_ended() || taken == piece.len());
            left.extend_from_slice(&piece[taken..]);
        }
        unstuffing.has_ended().then_some((message, left))
    }

    fn message(stream: &[u8]) -> Vec<u8> {
        let (message, left) = take(&[stream]).unwrap();
        assert_eq!(left, b"");
        message
    }

    #[test]
    fn crlf_dot_crlf_ends_a_message_and_what_follows_is_left() {
        let (message, left) = take(&[b"a\r\n.\r\nQUIT\r\n"]).unwrap();
        assert_eq!((&message[..], &left[..]), (&b"a\r\n"[..], &b"QUIT\r\n"[..]));
        assert_eq!(take(&[b".\r\n"]).unwrap().0, b"");
    }

    #[test]
    fn no_other_line_end_around_a_dot_ends_a_message() {
        for fake in [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\r",
            "\n.\r",
            "\r.\n",
            "\r\n.\0\r\n",
            "\r\n.\r\r\n",
            "\r\n. \r\n",
            "\0\r\n.\x0b\r\n",
        ] {
            let stream = format!("a{fake}MAIL FROM:<evil@example.org>\r\n");
            assert_eq!(take(&[stream.as_bytes()]), None, "{fake:?}");
        }
    }

    #[test]
    fn one_dot_at_the_beginning_of_a_line_was_put_in() {
        assert_eq!(
            message(b"..\r\n...a\r\n.b\r\nc.\r\n.\r\n"),
            b".\r\n..a\r\nb\r\nc.\r\n"
        );
        // A line begins behind CRLF alone.
        assert_eq!(message(b"a\n..b\r.c\r\n.\r\n"), b"a\n..b\r.c\r\n");
        assert_eq!(message(b".\rb\r\n.\r\r\n.\r\n"), b"\rb\r\n\r\r\n");
        assert_eq!(message(b"\r\r\n..\0\r\n.\r\n"), b"\r\r\n.\0\r\n");
    }

    /// As a client sends it.
    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut at_start = true;
        for (at, octet) in message.iter().enumerate() {
            if at_start && *octet == b'.' {
                stream.push(b'.');
            }
            stream.push(*octet);
            at_start = message[..=at].ends_with(b"\r\n");
        }
        stream.extend(b".\r\n");
        stream
    }

    proptest! {
        #[test]
        fn every_message_comes_back_however_the_network_cuts_it(
            lines in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..9),
                0..9),
            cut_at in proptest::collection::vec(1usize..9, 0..40),
        ) {
            let mut message: Vec<u8> = Vec::new();
            for line in &lines {
                message.extend(line);
                message.extend(b"\r\n");
            }
            let mut stream = stuffed(&message);
            stream.extend(b"NOOP");
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for at in cut_at {
                let (piece, behind) = rest.split_at(at.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            prop_assert_eq!(take(&pieces), Some((message, b"NOOP".to_vec())));
        }
    }
}
