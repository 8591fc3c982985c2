//! The envelope of a message, and replies about its recipients.

use crate::address::{Address, ReversePath};
use crate::reply::Reply;

/// The most recipients of a message; a client sends it again for the others. RFC 5321, section
/// 4.5.3.1.8 asks for 100.
pub const MAX_RECIPIENTS: usize = 1000;

/// The most octets of all recipients of a message; a client sends it again for the others. It has
/// room for as many recipients of usual length, and limits the memory of a session.
pub const MAX_RECIPIENT_OCTETS: usize = MAX_RECIPIENTS * 256;

/// The most octets of an address that a reply repeats: a reply has at most 512 (RFC 5321, section
/// 4.5.3.1.5).
const MAX_SHOWN_OCTETS: usize = 320;

/// The sender and the recipients of a message.
#[derive(Debug)]
pub struct Envelope<R> {
    /// The name of the client in LHLO.
    pub client: String,
    /// The sender; `None` for `<>`.
    pub sender: Option<ReversePath>,
    /// The approximate size that the client has announced (SIZE), in octets.
    pub octets: Option<u64>,
    /// True if addresses and header may hold more than ASCII (SMTPUTF8).
    pub utf8: bool,
    /// The accepted recipients, in their order.
    pub recipients: Vec<(Address, R)>,
}

/// The result for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is stored durably.
    Stored,
    /// The maildrop is full.
    OverQuota,
    /// The user has been removed since RCPT.
    NoSuchUser,
    /// The message is larger than is allowed.
    TooLarge,
    /// The server's disk is full.
    NoSpace,
    /// Another transaction holds the maildrop.
    Locked,
    /// It could not be stored now.
    Unavailable,
}

impl<R> Envelope<R> {
    /// Returns true if the message may have this recipient too.
    pub(super) fn has_room_for(&self, recipient: &Address) -> bool {
        let octets = |(recipient, _): &(Address, R)| recipient.as_bytes().len();
        let before: usize = self.recipients.iter().map(octets).sum();
        self.recipients.len() < MAX_RECIPIENTS
            && before + recipient.as_bytes().len() <= MAX_RECIPIENT_OCTETS
    }
}

/// A reply about one recipient, which it names.
pub(super) fn about(
    recipient: &Address,
    utf8: bool,
    code: u16,
    status: &'static str,
    text: &str,
) -> Reply {
    let name = shown(recipient.as_bytes(), utf8);
    Reply::new(code, status, format!("<{name}> {text}"))
}

/// The form of an address in a reply: cut if it is very long, and in ASCII unless the client has said
/// SMTPUTF8 (RFC 6531, section 3.7.4).
fn shown(address: &[u8], utf8: bool) -> String {
    let mut shown = String::new();
    for c in String::from_utf8_lossy(address).chars() {
        if shown.len() >= MAX_SHOWN_OCTETS {
            shown.push_str("...");
            break;
        }
        shown.push(if utf8 || c.is_ascii() { c } else { '?' });
    }
    shown
}
