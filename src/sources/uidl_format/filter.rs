//! Filters of values on their way into a unique-id.

use data_encoding::{BASE64, HEXLOWER};
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

/// A step on that way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    /// The number in hexadecimal, in lower case. What is no number counts as 0.
    Hex,
    /// The octets in hexadecimal.
    Hexlify,
    Lower,
    Upper,
    Reverse,
    /// Without blanks at its end.
    Trim,
    /// At least so many characters, with zeros before them.
    Zeros(usize),
    /// At least so many characters, with these before them.
    FillLeft(usize, String),
    /// At least so many characters, with these behind them.
    FillRight(usize, String),
    /// The last so many characters.
    Last(usize),
    /// From a place on that counts from the end if it is negative; so many characters, or all but
    /// so many if that is negative.
    Part(i64, Option<i64>),
    Md5,
    Sha256,
    Sha512,
    Base64,
}

/// A value on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// A digest, which is written in hexadecimal unless something else is said.
    Octets(Vec<u8>),
}

impl Value {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Octets(octets) => HEXLOWER.encode(&octets),
        }
    }

    fn octets(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Octets(octets) => octets,
        }
    }
}

impl Filter {
    pub(super) fn apply(&self, value: Value) -> Value {
        match self {
            Self::Md5 => Value::Octets(Md5::digest(value.octets()).to_vec()),
            Self::Sha256 => Value::Octets(Sha256::digest(value.octets()).to_vec()),
            Self::Sha512 => Value::Octets(Sha512::digest(value.octets()).to_vec()),
            Self::Hexlify => Value::Text(HEXLOWER.encode(value.octets())),
            Self::Base64 => Value::Text(BASE64.encode(value.octets())),
            Self::Part(from, length) => match value {
                Value::Text(text) => {
                    let count = text.chars().count();
                    let part = part(text.chars(), count, *from, *length);
                    Value::Text(part.collect())
                }
                Value::Octets(octets) => {
                    let count = octets.len();
                    let part = part(octets.into_iter(), count, *from, *length);
                    Value::Octets(part.collect())
                }
            },
            Self::Hex => {
                let number: u64 = value.into_text().parse().unwrap_or_default();
                Value::Text(format!("{number:x}"))
            }
            Self::Lower => Value::Text(value.into_text().to_ascii_lowercase()),
            Self::Upper => Value::Text(value.into_text().to_ascii_uppercase()),
            Self::Reverse => Value::Text(value.into_text().chars().rev().collect()),
            Self::Trim => Value::Text(value.into_text().trim_ascii_end().to_owned()),
            Self::Zeros(width) => Value::Text(format!("{:0>width$}", value.into_text())),
            Self::FillLeft(width, filler) => {
                let text = value.into_text();
                Value::Text(filling(&text, *width, filler) + &text)
            }
            Self::FillRight(width, filler) => {
                let text = value.into_text();
                let filling = filling(&text, *width, filler);
                Value::Text(text + &filling)
            }
            Self::Last(width) => {
                let text = value.into_text();
                let before = text.chars().count().saturating_sub(*width);
                Value::Text(text.chars().skip(before).collect())
            }
        }
    }
}

/// Some of so many items.
fn part<I: Iterator>(
    items: I,
    count: usize,
    from: i64,
    length: Option<i64>,
) -> impl Iterator<Item = I::Item> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let from = if from < 0 { count + from } else { from }.clamp(0, count);
    let to = match length {
        Some(length) if length < 0 => count + length,
        Some(length) => from.saturating_add(length),
        None => count,
    };
    let at = |place: i64| usize::try_from(place).unwrap_or_default();
    items.skip(at(from)).take(at(to - from))
}

fn filling(text: &str, width: usize, filler: &str) -> String {
    let missing = width.saturating_sub(text.len());
    filler.repeat(missing.div_ceil(filler.len().max(1)))
}
