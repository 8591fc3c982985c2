//! The form of keys: how they are made, recognised, and found in the table.
//!
//! A key is `rst_` and 12 characters that find its row, `_`, and 43 characters of secret. It is known
//! by its form wherever it turns up: spaces around it are taken off, and the log does not show it.

use std::borrow::Cow;

use pop3::Secret;
use sha2::{Digest, Sha256};

use crate::identity::{new_name, new_secret};

/// What every key begins with.
const MARK: &str = "rst_";

/// How many characters find the row of a key.
const PREFIX_CHARACTERS: usize = 12;

/// How many characters of a key are secret: 256 bits in base64.
const SECRET_CHARACTERS: usize = 43;

/// A key that has just been made.
pub(super) struct MintedKey {
    /// The key itself.
    pub(super) key: String,
    /// The column that finds it.
    pub(super) prefix: String,
}

impl MintedKey {
    /// Makes a key of 256 random bits.
    pub(super) fn new() -> Self {
        let prefix: String = new_name().chars().take(PREFIX_CHARACTERS).collect();
        let key = format!("{MARK}{prefix}_{}", new_secret());
        Self { key, prefix }
    }
}

/// What a key with this column begins with, as people are shown it.
pub(super) fn beginning(prefix: &str) -> String {
    format!("{MARK}{prefix}")
}

/// The key that was meant: without the blanks around it, which people copy and programs add.
///
/// What has not the form of a key stays as it is, since blanks may be a part of it.
pub(super) fn key_meant(secret: &Secret) -> Cow<'_, Secret> {
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
    let trimmed = text.trim();
    if trimmed.len() < text.len() && is_key(trimmed) {
        return Cow::Owned(Secret::new(trimmed));
    }
    Cow::Borrowed(secret)
}

fn is_key(text: &str) -> bool {
    let secret = text
        .get(MARK.len() + PREFIX_CHARACTERS + 1..)
        .unwrap_or_default();
    let of_secret = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    text.starts_with(MARK)
        && has_prefix(text)
        && secret.len() == SECRET_CHARACTERS
        && secret.bytes().all(of_secret)
}

/// The characters that find the row of a key; empty, as no prefix is, if this is no key.
pub(super) fn prefix_of(secret: &Secret) -> &str {
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
    let prefix = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.get(..PREFIX_CHARACTERS));
    prefix
        .filter(|prefix| !prefix.contains('\0'))
        .unwrap_or_default()
}

/// The hash by which a key is compared.
pub(super) fn hash_of(secret: &Secret) -> Vec<u8> {
    Sha256::digest(secret.expose()).to_vec()
}

/// Whether there may be a key in this text, which is not for the log then.
///
/// A word that begins as keys do is taken for one, whole or not; in the middle of a word, as in
/// `first_last`, only what has a key's first two parts is.
pub(crate) fn may_hold_key(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices(MARK).any(|(at, _)| {
        let (before, found) = text.split_at(at);
        let is_word = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        is_word || has_prefix(found)
    })
}

/// Whether a text begins with the first two parts of a key, after which its secret comes.
fn has_prefix(text: &str) -> bool {
    let prefix = text.get(MARK.len()..MARK.len() + PREFIX_CHARACTERS);
    let rest = text
        .get(MARK.len() + PREFIX_CHARACTERS..)
        .unwrap_or_default();
    prefix.is_some_and(|it| it.bytes().all(|c| c.is_ascii_alphanumeric())) && rest.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> String {
        let secret = Secret::new(text);
        String::from_utf8(key_meant(&secret).expose().to_vec()).unwrap()
    }

    #[test]
    fn blanks_around_a_key_are_taken_off_and_no_others() {
        let key = MintedKey::new().key;
        for (before, after) in [
            ("", ""),
            (" ", ""),
            ("", "  "),
            ("\t", "\r\n"),
            ("\u{a0}", " "),
        ] {
            assert_eq!(meant(&format!("{before}{key}{after}")), key);
        }
        let cut = &key[..key.len() - 1];
        for other in [
            " a password ",
            &format!(" {cut}"),
            &format!("{key}A "),
            &format!("{key} {key} "),
            &format!(" {key}\0"),
            &format!(" {cut}é"),
            " rst_",
            " ",
            "",
        ] {
            assert_eq!(meant(other), other);
        }
        let octets = Secret::new([b" ".as_slice(), key.as_bytes(), b"\xff"].concat());
        assert_eq!(*key_meant(&octets), octets);
    }

    #[test]
    fn what_is_no_key_has_no_prefix() {
        for (secret, prefix) in [
            ("rst_abcdefghjkmn_secret", "abcdefghjkmn"),
            ("rst_short", ""),
            ("password", ""),
            ("rst_abc\0efghjkmn_x", ""),
            ("rst_äöüäöüäöüäöü", "äöüäöü"),
            ("", ""),
        ] {
            assert_eq!(prefix_of(&Secret::new(secret)), prefix, "{secret:?}");
        }
        assert_eq!(prefix_of(&Secret::new([0xff; 40])), "");
    }

    #[test]
    fn a_key_is_known_wherever_it_stands() {
        let key = MintedKey::new().key;
        for text in [
            key.clone(),
            format!("{key}@example.com"),
            format!("ada@example.com{key}"),
            format!("ada@example.com#{}", &key[..20]),
            key.to_uppercase(),
        ] {
            assert!(may_hold_key(&text), "{text}");
        }
        for text in [
            "ada@example.com",
            "first_last@example.com",
            "a#first_phone",
            "",
        ] {
            assert!(!may_hold_key(text), "{text}");
        }
    }
}
