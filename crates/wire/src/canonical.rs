//! The canonical form of mail, in which it is stored and sent.

/// Brings the line ends of a message into canonical form, in pieces of any size.
///
/// A bare LF becomes CRLF and the end gets one if it has none. Everything else stays, octet for
/// octet: NUL, 8-bit, bare CR.
#[derive(Debug, Default)]
pub struct Canonical {
    last: Option<u8>,
}

impl Canonical {
    /// Appends the canonical form of the next octets to `out`.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut before = self.last;
        let mut copied = 0;
        for at in memchr::memchr_iter(b'\n', octets) {
            if at > 0 {
                before = octets.get(at - 1).copied();
            }
            if before != Some(b'\r') {
                out.extend_from_slice(octets.get(copied..at).unwrap_or_default());
                out.push(b'\r');
                copied = at;
            }
        }
        out.extend_from_slice(octets.get(copied..).unwrap_or_default());
        self.last = octets.last().copied().or(self.last);
    }

    /// Appends the missing part of the last CRLF.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.last {
            None | Some(b'\n') => {}
            Some(b'\r') => out.push(b'\n'),
            Some(_) => out.extend_from_slice(b"\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(cuts: &[&[u8]]) -> Vec<u8> {
        let mut canonical = Canonical::default();
        let mut out = Vec::new();
        for cut in cuts {
            canonical.push(cut, &mut out);
        }
        canonical.finish(&mut out);
        out
    }

    #[test]
    fn only_bare_lf_and_a_missing_end_change() {
        assert_eq!(
            canonical(&[b"a\nb\r\nc\rd\0\xff\n"]),
            b"a\r\nb\r\nc\rd\0\xff\r\n"
        );
        assert_eq!(canonical(&[b"a"]), b"a\r\n");
        assert_eq!(canonical(&[b"a\r"]), b"a\r\n");
        assert_eq!(canonical(&[b"\n\n"]), b"\r\n\r\n");
        assert_eq!(canonical(&[b""]), b"");
    }

    #[test]
    fn a_line_end_at_the_seam_stays_one() {
        assert_eq!(
            canonical(&[b"a\r", b"", b"\nb", b"\nc"]),
            b"a\r\nb\r\nc\r\n"
        );
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_and_loses_nothing(
            message in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 1..200),
            at in 0usize..200,
        ) {
            let (head, tail) = message.split_at(at.min(message.len()));
            let once = canonical(&[head, tail]);
            prop_assert!(once.ends_with(b"\r\n"));
            prop_assert_eq!(&canonical(&[&once]), &once);
            let bare_lf = once.windows(2).filter(|w| w[1] == b'\n' && w[0] != b'\r').count();
            prop_assert_eq!(bare_lf, 0);
            // Without line ends, both say the same.
            let text = |octets: &[u8]| octets.iter().copied().filter(|o| *o != b'\n' && *o != b'\r').collect::<Vec<_>>();
            prop_assert_eq!(text(&once), text(&message));
            let ends = |octets: &[u8]| octets.iter().filter(|o| **o == b'\n').count();
            prop_assert_eq!(ends(&once), ends(&message) + usize::from(!message.ends_with(b"\n")));
        }
    }
}
