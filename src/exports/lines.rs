//! Line ends as files on a disk have them.

/// Writes LF for CRLF, such that an import brings back every octet.
///
/// A CR in front of a CRLF keeps that CRLF as it is: as CR and LF, it would come back as one CRLF.
#[derive(Debug, Default)]
pub(super) struct UnixLines {
    /// A CR that may belong to a line end.
    held: bool,
    /// True if the octet before that one is a CR, too.
    after_cr: bool,
}

impl UnixLines {
    /// Appends what these octets become to `out`.
    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            if *octet == b'\n' {
                if self.held && self.after_cr {
                    out.push(b'\r');
                }
                out.push(b'\n');
                (self.held, self.after_cr) = (false, false);
                continue;
            }
            if self.held {
                out.push(b'\r');
            }
            self.after_cr = self.held;
            self.held = *octet == b'\r';
            if !self.held {
                out.push(*octet);
                self.after_cr = false;
            }
        }
    }

    /// Appends what was held back.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self.held {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut lines, mut out) = (UnixLines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut out);
        }
        lines.finish(&mut out);
        out
    }

    /// As a delivery or an import brings it in.
    fn canonical(octets: &[u8]) -> Vec<u8> {
        let (mut canonical, mut out) = (wire::Canonical::default(), Vec::new());
        canonical.push(octets, &mut out);
        canonical.finish(&mut out);
        out
    }

    #[test]
    fn crlf_becomes_lf_and_other_carriage_returns_stay() {
        assert_eq!(written(&[b"a\r\n\r\nb\r\n"]), b"a\n\nb\n");
        assert_eq!(written(&[b"a\rb\r", b"\n"]), b"a\rb\n");
        assert_eq!(written(&[b"a\r", b"\r\n\r\r\r\n"]), b"a\r\r\n\r\r\r\n");
    }

    proptest! {
        #[test]
        fn every_message_comes_back(
            octets in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..40),
            at in 0usize..40,
        ) {
            let message = canonical(&octets);
            let (one, other) = message.split_at(at.min(message.len()));
            prop_assert_eq!(canonical(&written(&[one, other])), message);
        }
    }
}
