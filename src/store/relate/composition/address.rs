//! Addresses in a header.
//!
//! An address is written as it is stored when it is one by RFC 5322, and none that parsers are known to
//! misread. Its domain becomes A-labels, by the bare algorithm of RFC 3492: the mappings in front of it
//! hang on the version of Unicode, and these octets must not. Any other address can't be replied to; it
//! is shown as RFC 6858 (section 2.1) shows those that a client can't use: in the display name, with an
//! address in `.invalid`. Without an address, the name is that of an empty group (RFC 6854).

use idna::punycode;

use super::field::{Field, encoded_words, is_atext, phrase};
use super::{NamedRecipient, RecipientKind};

/// The longest address that is written as it is: a line has at most 998 octets.
const MAX_ADDRESS_OCTETS: usize = 900;

/// What stands for an address that no header can hold.
const UNUSABLE: &str = "<invalid@internationalized-address.invalid>";

/// Returns the fields To and Cc, never Bcc. The order of the recipients given makes no difference.
///
/// They are stored when a mail is first seen, since the rows of others may go later.
pub(crate) fn recipient_lines(recipients: &[NamedRecipient]) -> String {
    let mut recipients: Vec<&NamedRecipient> = recipients.iter().collect();
    recipients.sort_by_key(|recipient| recipient.id);
    let field = |name: &str, kind: RecipientKind| {
        let named = recipients.iter().filter(|it| it.kind == kind);
        let mailboxes =
            named.map(|it| mailbox(it.name.as_deref(), &it.address, "undisclosed-recipients"));
        let mut words: Vec<String> = Vec::new();
        for mailbox in mailboxes {
            if let Some(last) = words.last_mut() {
                last.push(',');
            }
            words.extend(mailbox);
        }
        if words.is_empty() {
            return String::new();
        }
        let mut field = Field::new(name);
        field.words(words);
        field.finish()
    };
    field("To", RecipientKind::To) + &field("Cc", RecipientKind::Cc)
}

/// Returns the words of a mailbox, or of an empty group if there is no address; `nobody` names that
/// group if there is no name either.
pub(super) fn mailbox(name: Option<&str>, address: &str, nobody: &str) -> Vec<String> {
    let name = name.unwrap_or_default();
    if address.is_empty() {
        let mut words = phrase(if name.is_empty() { nobody } else { name });
        words.push(":;".to_owned());
        return words;
    }
    let Some(spec) = addr_spec(address) else {
        let mut words = match name {
            "" => encoded_words(address),
            name => encoded_words(&format!("{name} <{address}>")),
        };
        words.push(UNUSABLE.to_owned());
        return words;
    };
    let mut words = match name {
        "" => Vec::new(),
        name => phrase(name),
    };
    words.push(format!("<{spec}>"));
    words
}

/// Returns an address as it can stand between angle brackets, if it can.
fn addr_spec(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let spec = format!("{}@{}", local_part(local)?, domain_part(domain)?);
    // Some parsers decode an encoded word here, and find another address in it.
    (spec.len() <= MAX_ADDRESS_OCTETS && !spec.contains("=?")).then_some(spec)
}

/// Returns a local part, in quotes if it has blanks or dots where no atom has them.
fn local_part(local: &str) -> Option<String> {
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atext);
    if local.split('.').all(is_atom) {
        return Some(local.to_owned());
    }
    let quoted = local.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let text = quoted.unwrap_or(local);
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|octet| octet == b'.' || is_atext(octet));
    text.split(' ').all(is_word).then(|| format!("\"{text}\""))
}

/// Returns a domain, with A-labels, or an address literal.
fn domain_part(domain: &str) -> Option<String> {
    let literal = domain.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Some(literal) = literal {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".:-".contains(&octet);
        let is_literal = !literal.is_empty() && literal.bytes().all(is_plain);
        return is_literal.then(|| domain.to_owned());
    }
    let labels: Option<Vec<String>> = domain.split('.').map(a_label).collect();
    Some(labels?.join("."))
}

fn a_label(label: &str) -> Option<String> {
    // Other dots than that of ASCII (RFC 3490, section 3.1) would hide labels.
    let is_in_none = |c: char| match c {
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => true,
        c if c.is_ascii() => !c.is_ascii_alphanumeric() && c != '-' && c != '_',
        c => c.is_control(),
    };
    if label.is_empty() || label.contains(is_in_none) {
        return None;
    }
    let label = if label.is_ascii() {
        label.to_owned()
    } else {
        format!("xn--{}", punycode::encode_str(label)?)
    };
    (label.len() <= 63).then_some(label)
}
