//! The form of keys: how they are made, recognised, and found in the table.
//!
//! A key is `rst_` and 12 characters that find its row, `_`, and 43 characters of secret. A short one,
//! for devices whose field for a password is short, is `rst` and 24 letters and digits, all of them
//! secret: so its row is found by a part of its hash.
//!
//! A key is known by its form wherever it turns up: spaces around it are taken off, what people mistype
//! in a short one is put right, and the log does not show it.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use wire::Secret;

use crate::identity::{new_name, new_secret};

/// The prefix of every key.
const MARK: &str = "rst_";

/// The prefix of every short key.
const SHORT_MARK: &str = "rst";

/// How many characters of a short key are secret: 120 bits, five in each.
const SHORT_CHARACTERS: usize = 24;

/// The prefix of a short key's column. No other key's column is as long.
const SHORT_PREFIX: &str = "short:";

/// How many octets of the hash of a short key find its row.
const SHORT_PREFIX_OCTETS: usize = 12;

/// So many letters and digits behind the mark are taken for a short key that is cut or mistyped.
const SUSPICIOUS_CHARACTERS: usize = 18;

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

    /// Makes a key of 120 random bits in 27 letters and digits, for people to type.
    pub(super) fn short() -> Self {
        let key = format!("{SHORT_MARK}{}", new_name());
        let prefix = short_prefix(&key);
        Self { key, prefix }
    }
}

/// The column that finds a short key.
fn short_prefix(key: &str) -> String {
    let hash = Sha256::digest(key);
    let beginning = hash.get(..SHORT_PREFIX_OCTETS).unwrap_or_default();
    format!("{SHORT_PREFIX}{}", HEXLOWER.encode(beginning))
}

/// Returns the beginning of a key with this column, as people are shown it.
pub(super) fn beginning(prefix: &str) -> String {
    if prefix.starts_with(SHORT_PREFIX) {
        return SHORT_MARK.to_owned();
    }
    format!("{MARK}{prefix}")
}

/// The key that was meant: without the blanks around it, which people copy and programs add. A short
/// one may be typed in any case, with letters that look like its digits.
///
/// A secret without the form of a key stays as it is, since blanks may be a part of it.
pub(super) fn key_meant(secret: &Secret) -> Cow<'_, Secret> {
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
    let trimmed = text.trim();
    if let Some(key) = short_key(trimmed) {
        return Cow::Owned(Secret::new(key));
    }
    if trimmed.len() < text.len() && is_key(trimmed) {
        return Cow::Owned(Secret::new(trimmed));
    }
    Cow::Borrowed(secret)
}

/// The short key that a text is, as it was made.
fn short_key(text: &str) -> Option<String> {
    let mark = text.get(..SHORT_MARK.len())?;
    let rest = text.get(SHORT_MARK.len()..)?;
    if !mark.eq_ignore_ascii_case(SHORT_MARK) || rest.len() != SHORT_CHARACTERS {
        return None;
    }
    let as_made = |typed: char| match typed.to_ascii_lowercase() {
        'o' => Some('0'),
        'i' | 'l' => Some('1'),
        'u' => None,
        other => other.is_ascii_alphanumeric().then_some(other),
    };
    let rest: String = rest.chars().map(as_made).collect::<Option<_>>()?;
    Some(format!("{SHORT_MARK}{rest}"))
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
pub(super) fn prefix_of(secret: &Secret) -> String {
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
    if short_key(text).is_some_and(|key| key == text) {
        return short_prefix(text);
    }
    let prefix = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.get(..PREFIX_CHARACTERS));
    prefix
        .filter(|prefix| !prefix.contains('\0'))
        .unwrap_or_default()
        .to_owned()
}

/// The hash by which a key is compared.
pub(super) fn hash_of(secret: &Secret) -> Vec<u8> {
    Sha256::digest(secret.expose()).to_vec()
}

/// Returns true if there may be a key in this text, which is not for the log then.
///
/// A word that begins as keys do is taken for one, whole or not; in the middle of a word, as in
/// `first_last`, only what has a key's first two parts, or is a whole short one, is.
pub(crate) fn may_hold_key(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices(SHORT_MARK).any(|(at, _)| {
        let (before, found) = text.split_at(at);
        let rest = found.get(SHORT_MARK.len()..).unwrap_or_default();
        let is_word = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        let letters = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let whole = found.get(..SHORT_MARK.len() + SHORT_CHARACTERS);
        is_word && (rest.starts_with('_') || letters >= SUSPICIOUS_CHARACTERS)
            || found.starts_with(MARK) && has_prefix(found)
            || whole.is_some_and(|key| short_key(key).is_some_and(|made| made == key))
    })
}

/// Returns true if a text begins with the first two parts of a key, after which its secret comes.
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
    fn a_short_key_is_letters_and_digits_and_fits_a_short_field() {
        let keys: std::collections::HashSet<_> = (0..100).map(|_| MintedKey::short().key).collect();
        assert_eq!(keys.len(), 100);
        for key in keys {
            assert!(key.len() <= 30 && key.starts_with("rst"), "{key}");
            let plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
            assert!(key.chars().all(plain), "{key}");
            assert!(!key[3..].contains(['i', 'l', 'o', 'u']), "{key}");
        }
    }

    #[test]
    fn a_short_key_is_known_however_it_is_typed() {
        let key = "rst0123456789abcdefghjk1100";
        for typed in [
            key,
            " rst0123456789abcdefghjk1100\n",
            "RST0123456789ABCDEFGHJK1100",
            "Rsto123456789abcdefghjkIlOo",
        ] {
            assert_eq!(meant(typed), key, "{typed:?}");
        }
        for other in [
            " rst0123456789abcdefghjk110",
            " rst0123456789abcdefghjk11000",
            " rst0123456789abcdefghjku100",
            " rst_123456789abcdefghjk1100",
            " rst0123456789abcdefghjk110é",
            " rsx0123456789abcdefghjk1100",
            " rst 123456789abcdefghjk1100",
        ] {
            assert_eq!(meant(other), other);
        }
    }

    #[test]
    fn a_short_key_is_found_by_a_part_of_its_hash() {
        let MintedKey { key, prefix } = MintedKey::short();
        assert_eq!(prefix_of(&Secret::new(key.as_str())), prefix);
        assert_ne!(prefix_of(&Secret::new(MintedKey::short().key)), prefix);
        // Nothing of the key itself is in its column, and no other kind of key has such a column.
        assert!(!prefix.contains(&key[3..9]) && beginning(&prefix) == "rst");
        let posing = format!("rst_{prefix}_{}", new_secret());
        assert_ne!(prefix_of(&Secret::new(posing)), prefix);
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
        let short = MintedKey::short().key;
        for text in [
            short.clone(),
            short.to_uppercase(),
            format!("{short}@example.com"),
            format!("ada@example.com{short}"),
            format!("ada@example.com#{}", &short[..21]),
            format!("ada@example.com {}uil", &short[..24]),
        ] {
            assert!(may_hold_key(&text), "{text}");
        }
        for text in [
            "ada@example.com",
            "first_last@example.com",
            "a#first_phone",
            "rst@example.com",
            "rstevenson1985@example.com",
            "forstbetriebsgemeinschaft-musterhausen@example.com",
            "",
        ] {
            assert!(!may_hold_key(text), "{text}");
        }
    }
}
