//! Message-ID, In-Reply-To and References.
//!
//! Replies are threaded by the exact text of an id, so it stays as it is stored whenever a header can
//! hold it, also if RFC 5322 would not have it so (without an `@`, for one). Any other text becomes an
//! id that is made of its digest: the same text is the same id in all three fields, and replies still
//! find the mail that they answer.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::Mail;
use super::field::Field;

/// The longest id that is written as it is: a line has at most 998 octets.
const MAX_ID_OCTETS: usize = 980;

/// The field Message-ID. A mail without an id gets one that is made of its key.
pub(super) fn message_id(mail: &Mail) -> String {
    let id = if mail.message_id.is_empty() {
        format!("<{:032x}@id.invalid>", mail.id)
    } else {
        bracketed(&mail.message_id)
    };
    field("Message-ID", [id])
}

/// The field In-Reply-To, or nothing.
pub(super) fn in_reply_to(id: Option<&str>) -> String {
    let id = id.filter(|id| !id.is_empty());
    field("In-Reply-To", id.map(bracketed))
}

/// The field References, or nothing.
pub(super) fn references(text: Option<&str>) -> String {
    let ids = text.map(split).unwrap_or_default();
    field("References", ids.into_iter().map(bracketed))
}

fn field(name: &str, ids: impl IntoIterator<Item = String>) -> String {
    let mut ids = ids.into_iter().peekable();
    if ids.peek().is_none() {
        return String::new();
    }
    let mut field = Field::new(name);
    field.words(ids.collect());
    field.finish()
}

/// Returns the ids in a text, without brackets. What stands outside of brackets is ids too, divided by
/// blanks.
fn split(text: &str) -> Vec<&str> {
    let mut ids = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let bracketed = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (id, behind) = bracketed.unwrap_or_else(|| {
            let bare = rest.trim_start_matches('<');
            let ends = |c: char| c == '<' || c.is_ascii_whitespace();
            bare.split_at(bare.find(ends).unwrap_or(bare.len()))
        });
        let id = id.trim_ascii();
        if !id.is_empty() {
            ids.push(id);
        }
        rest = behind.trim_ascii_start();
    }
    ids
}

/// Returns an id in brackets, as it is or made of its digest.
fn bracketed(id: &str) -> String {
    if is_writable(id) {
        return format!("<{id}>");
    }
    let digest = Sha256::digest(id.as_bytes());
    let digest = digest.get(..16).unwrap_or_default();
    format!("<{}@id.invalid>", HEXLOWER.encode(digest))
}

/// Can a header hold it as it is? Blanks are part of an id only between quotes.
fn is_writable(id: &str) -> bool {
    let quoted = id.strip_prefix('"').and_then(|id| id.split_once("\"@"));
    let is_quotable = |octet: u8| octet == b' ' || octet.is_ascii_graphic() && octet != b'\\';
    let quoted = quoted.filter(|(local, _)| local.bytes().all(is_quotable));
    let unquoted = quoted.map_or(id, |(_, domain)| domain);
    !id.is_empty()
        && id.len() <= MAX_ID_OCTETS
        && !id.contains(['<', '>'])
        && unquoted.bytes().all(|octet| octet.is_ascii_graphic())
}
