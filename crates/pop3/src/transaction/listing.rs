//! LIST and UIDL of a whole maildrop, written piece by piece.

use super::Transaction;
use crate::reply::Reply;
use crate::snapshot::MessageNumber;

/// The lines of a LIST or UIDL without argument.
///
/// A maildrop may hold 100,000 messages, so the reply is never in memory as a whole: write, send,
/// and write on until [`Listing::write`] says that it was the end.
#[derive(Debug)]
#[must_use = "the client waits for the listing"]
pub struct Listing {
    kind: ListingKind,
    transaction: Transaction,
    next: u64,
}

/// The approximate octets of a line: a number, and a unique-id or a size.
const LINE_OCTETS: usize = 24;

#[derive(Debug, Clone, Copy)]
pub(super) enum ListingKind {
    Octets,
    UniqueIds,
}

impl Listing {
    pub(super) fn new(kind: ListingKind, transaction: Transaction) -> Self {
        Self {
            kind,
            transaction,
            next: 0,
        }
    }

    /// Appends to `out` until it holds `limit` octets or a little more; returns true at the end.
    pub fn write(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        if self.next == 0 {
            let (messages, octets) = self.transaction.unmarked();
            let heading = Reply::ok(format_args!("{messages} messages ({octets} octets)"));
            out.extend_from_slice(heading.as_bytes());
            self.next = 1;
        }
        out.reserve(limit.min(self.transaction.snapshot().len() * LINE_OCTETS));
        let mut digits = itoa::Buffer::new();
        while out.len() < limit {
            let Some(number) = MessageNumber::new(self.next) else {
                break;
            };
            if number.index() >= self.transaction.snapshot().len() {
                break;
            }
            self.next += 1;
            if self.transaction.marks().contains(number) {
                continue;
            }
            out.extend_from_slice(digits.format(self.next - 1).as_bytes());
            out.push(b' ');
            let snapshot = self.transaction.snapshot();
            match self.kind {
                ListingKind::Octets => {
                    let octets = snapshot.octets_of(number).unwrap_or_default();
                    out.extend_from_slice(digits.format(octets).as_bytes());
                }
                ListingKind::UniqueIds => {
                    let unique_id = snapshot.unique_id_of(number).unwrap_or_default();
                    out.extend_from_slice(unique_id.as_bytes());
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        let end = self.next > self.transaction.snapshot().len() as u64;
        if end {
            out.extend_from_slice(b".\r\n");
        }
        end
    }

    /// Returns the session, which goes on.
    pub fn finish(self) -> Transaction {
        self.transaction
    }
}
