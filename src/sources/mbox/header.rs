//! The fields that mail stores keep in the headers of an mbox.

use crate::from_line::field;

/// The longest name of a field that is looked for, and what stands behind it, in octets.
pub(super) const FIELD_OCTETS: usize = 256;

/// Maximum number of Content-Length fields of a message that are tried: its sender may have written
/// one too.
const MAX_LENGTHS: usize = 4;

/// The field that frames a message.
pub(super) const CONTENT_LENGTH: &str = "Content-Length";

/// Fields that Dovecot and UW-IMAP keep in a header and do not serve.
const SERVER_FIELDS: [&str; 7] = [
    CONTENT_LENGTH,
    "Status",
    "X-IMAP",
    "X-IMAPbase",
    "X-Keywords",
    "X-Status",
    "X-UID",
];

/// Fields that Thunderbird keeps in a header.
const MOZILLA_FIELDS: [&str; 3] = ["X-Mozilla-Status", "X-Mozilla-Status2", "X-Mozilla-Keys"];

/// The bit of X-Mozilla-Status that says that a message is deleted, and goes when its folder is
/// compacted.
const EXPUNGED: u32 = 0x0008;

/// The subject of the message in which Dovecot and UW-IMAP keep what they know of an empty mailbox.
const INTERNAL_SUBJECT: &[u8] = b"DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA";

/// The values of X-IMAPbase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) uidvalidity: u32,
    /// The last UID that was given to a message.
    pub(super) last_uid: u32,
}

/// The fields of a header that are for its mail store.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) lengths: Vec<Option<u64>>,
    pub(super) uid: Option<u32>,
    pub(super) base: Option<Base>,
    has_internal_subject: bool,
    mozilla_status: Option<u32>,
}

impl Facts {
    /// Takes a line of the header in; only its beginning is looked at.
    pub(super) fn take(&mut self, line: &[u8]) {
        let Some((name, value)) = field(line) else {
            return;
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let text = std::str::from_utf8(value).unwrap_or_default().trim();
        if is(CONTENT_LENGTH) {
            if self.lengths.len() < MAX_LENGTHS {
                self.lengths.push(number(text));
            }
        } else if is("X-UID") {
            self.uid = self.uid.or_else(|| number(text));
        } else if is("X-IMAPbase") || is("X-IMAP") {
            if self.base.is_none() {
                self.base = base(text);
                // A UID before it is a stranger's: Dovecot and UW-IMAP write it behind.
                self.uid = None;
            }
        } else if is("Subject") {
            self.has_internal_subject |= value.trim_ascii() == INTERNAL_SUBJECT;
        } else if is("X-Mozilla-Status") {
            let status = || u32::from_str_radix(text, 16).ok();
            self.mozilla_status = self.mozilla_status.or_else(status);
        }
    }

    /// Returns whether it is the message in which a server keeps the state of the mailbox.
    pub(super) fn is_internal(&self) -> bool {
        self.has_internal_subject && self.base.is_some()
    }

    /// Returns whether Thunderbird has deleted it.
    pub(super) fn is_expunged(&self) -> bool {
        self.mozilla_status
            .is_some_and(|status| status & EXPUNGED != 0)
    }
}

/// `UIDVALIDITY LAST-UID`, and keywords behind it.
fn base(text: &str) -> Option<Base> {
    let mut words = text.split_ascii_whitespace();
    let uidvalidity = number(words.next()?).filter(|uidvalidity| *uidvalidity != 0)?;
    let last_uid = number(words.next()?)?;
    Some(Base {
        uidvalidity,
        last_uid,
    })
}

/// A number without a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Returns whether this line of a header belongs to the server.
pub(super) fn is_servers(line: &[u8]) -> bool {
    is_one_of(&SERVER_FIELDS, line)
}

/// Returns whether this line of a header belongs to Thunderbird.
pub(super) fn is_mozillas(line: &[u8]) -> bool {
    is_one_of(&MOZILLA_FIELDS, line)
}

/// Returns whether programs write this line of a header beside Content-Length.
pub(super) fn is_beside_length(line: &[u8]) -> bool {
    is_servers(line) || is_one_of(&["Lines"], line)
}

/// Returns whether this line of a header says how long the body is.
pub(super) fn is_length(line: &[u8]) -> bool {
    is_one_of(&[CONTENT_LENGTH], line)
}

fn is_one_of(names: &[&str], line: &[u8]) -> bool {
    let is = |name: &[u8]| {
        names
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    field(line).is_some_and(|(name, _)| is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(lines: &str) -> Facts {
        let mut facts = Facts::default();
        lines.lines().for_each(|line| facts.take(line.as_bytes()));
        facts
    }

    #[test]
    fn what_a_server_has_written_is_understood() {
        let found = facts(
            "Subject: x\nx-imapbase: 1138820404 0000000002 Junk\nX-UID: 1  \nContent-length : 46",
        );
        let base = Base {
            uidvalidity: 1_138_820_404,
            last_uid: 2,
        };
        assert_eq!(found.base, Some(base));
        assert_eq!((found.uid, found.lengths), (Some(1), vec![Some(46)]));
        // A stranger has written the first of them.
        let found = facts("X-UID: 7\nX-IMAPbase: 5 9\nX-UID: 8\nX-IMAPbase: 6 9\nX-UID: 9");
        assert_eq!((found.uid, found.base.unwrap().uidvalidity), (Some(8), 5));
        for broken in ["0 1", "1", "", "a b", "-1 2", "99999999999 1"] {
            assert_eq!(
                facts(&format!("X-IMAPbase: {broken}")).base,
                None,
                "{broken}"
            );
        }
        assert_eq!(facts("X-UID: -1").uid, None);
        assert_eq!(facts("Content-Length: +1").lengths, [None]);
    }

    #[test]
    fn the_message_of_the_server_and_those_that_thunderbird_deleted_are_known() {
        let subject = "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n";
        assert!(facts(&format!("{subject}X-IMAP: 1138820404 0000000002")).is_internal());
        assert!(!facts(subject).is_internal());
        assert!(!facts("Subject: x\nX-IMAP: 5 2").is_internal());
        assert!(facts("X-Mozilla-Status: 0009").is_expunged());
        assert!(facts("X-Mozilla-Status: 8\nX-Mozilla-Status: 0001").is_expunged());
        assert!(!facts("X-Mozilla-Status: 0001\nX-Mozilla-Status2: 00000008").is_expunged());
    }

    #[test]
    fn the_fields_of_a_store_are_told_from_others() {
        assert!(is_servers(b"x-uid: 1") && is_servers(b"STATUS: RO\r\n"));
        assert!(!is_servers(b"X-UIDL: 1") && !is_servers(b"Status RO") && !is_servers(b" Status:"));
        assert!(is_mozillas(b"X-Mozilla-Keys:     \n") && !is_mozillas(b"X-Mozilla-Draft: 1"));
        assert!(is_length(b"Content-Length: 5") && !is_length(b"Content-Type: x"));
    }
}
