//! Byte-stuffing of multi-line replies (RFC 1939, section 3).

use memchr::memmem;

/// Stuffs the octets of one message, in pieces of any size.
///
/// Every line that begins with a dot gets a second one, and the end is a line with a dot alone.
/// The octets are borrowed, never copied.
#[derive(Debug)]
pub struct Stuffing {
    /// The last two octets; a message starts as if a line had just ended.
    last: [u8; 2],
}

impl Default for Stuffing {
    fn default() -> Self {
        Self { last: *b"\r\n" }
    }
}

impl Stuffing {
    /// Returns the pieces to send for the next octets of the message, in order.
    pub fn pieces<'a>(&mut self, octets: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let first_is_at_line_start = self.last[1] == b'\n';
        match octets {
            [.., before, last] => self.last = [*before, *last],
            [last] => self.last = [self.last[1], *last],
            [] => {}
        }
        let dot: Option<&[u8]> =
            (first_is_at_line_start && octets.starts_with(b".")).then_some(b".");
        let mut rest = Some(octets);
        let lines_with_dot = std::iter::from_fn(move || {
            let octets = rest.take()?;
            let Some(at) = memmem::find(octets, b"\n.") else {
                return Some([octets, &[]]);
            };
            let (before, after) = octets.split_at(at + 1);
            rest = Some(after);
            Some([before, b"."])
        });
        dot.into_iter().chain(lines_with_dot.flatten())
    }

    /// Returns the end of the reply: the final dot, after a line end if the message lacked one.
    pub fn finish(self) -> &'static [u8] {
        if self.last == *b"\r\n" {
            b".\r\n"
        } else {
            b"\r\n.\r\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::cut;
    use proptest::prelude::*;

    fn stuff(cuts: &[&[u8]]) -> Vec<u8> {
        let mut stuffing = Stuffing::default();
        let mut out = Vec::new();
        for cut in cuts {
            out.extend(stuffing.pieces(cut).flatten());
        }
        out.extend(stuffing.finish());
        out
    }

    #[test]
    fn the_first_octet_of_a_message_is_stuffed_too() {
        assert_eq!(stuff(&[b".a\r\n"]), b"..a\r\n.\r\n");
    }

    #[test]
    fn a_dot_at_the_seam_of_two_chunks_is_stuffed_once() {
        assert_eq!(
            stuff(&[b"a\r\n", b".\r\n", b"..\r\n"]),
            b"a\r\n..\r\n...\r\n.\r\n"
        );
        assert_eq!(stuff(&[b"a\r", b"\n", b"", b"."]), b"a\r\n..\r\n.\r\n");
    }

    #[test]
    fn a_dot_inside_a_line_stays() {
        assert_eq!(stuff(&[b"a.b\r.c\r\n"]), b"a.b\r.c\r\n.\r\n");
    }

    #[test]
    fn an_empty_message_is_a_final_dot() {
        assert_eq!(stuff(&[b""]), b".\r\n");
    }

    /// As RFC 1939 says it: line by line.
    fn reference(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend(line);
        }
        if !message.is_empty() && !message.ends_with(b"\r\n") {
            out.extend(b"\r\n");
        }
        out.extend(b".\r\n");
        out
    }

    proptest! {
        #[test]
        fn stuffing_is_what_the_rfc_says_however_the_message_is_cut(
            message in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'x')], 0..200),
            at in proptest::collection::vec(0usize..60, 0..6),
        ) {
            let cuts = cut(&message, &at);
            prop_assert_eq!(stuff(&cuts), reference(&message));
        }
    }
}
