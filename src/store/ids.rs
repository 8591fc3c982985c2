//! Ids that a store gives out.
//!
//! Other layers compare them, show them and hand them back. A store makes them of its own keys:
//! numbers of rows, or UUIDs.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Defines an id of 128 bits.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// Makes an id of a number, or of the octets of a UUID in network order.
            pub const fn new(id: u128) -> Self {
                Self(id)
            }

            /// Returns the number.
            pub const fn get(self) -> u128 {
                self.0
            }

            /// Makes the id of a row of our own schema.
            pub const fn from_row(key: i64) -> Self {
                Self(key.unsigned_abs() as u128)
            }

            /// Returns the key of the row in our own schema; -1, which no row has, if there is none.
            pub fn row(self) -> i64 {
                i64::try_from(self.0).unwrap_or(-1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self).ok_or(InvalidId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match i64::try_from(self.0) {
                    Ok(number) => serializer.serialize_i64(number),
                    Err(_) => serializer.collect_str(self),
                }
            }
        }
    )*};
}

ids! {
    /// A user.
    UserId;
    /// A key of a user.
    KeyId;
}

/// Not an id: it has another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is a number or a UUID")]
pub struct InvalidId;

/// The lengths of the groups of a UUID, in hexadecimal digits (RFC 9562, section 4).
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// Shows a number as one, and what is larger as a UUID.
fn show(id: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Ok(number) = i64::try_from(id) {
        return write!(f, "{number}");
    }
    let digits = format!("{id:032x}");
    let mut rest = digits.as_str();
    for (at, length) in GROUPS.into_iter().enumerate() {
        let (group, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        write!(f, "{}{group}", if at == 0 { "" } else { "-" })?;
        rest = after;
    }
    Ok(())
}

fn parse(text: &str) -> Option<u128> {
    if let Ok(number) = text.parse::<i64>() {
        return u128::try_from(number).ok();
    }
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    let is_hex = |group: &&str| group.bytes().all(|octet| octet.is_ascii_hexdigit());
    if !lengths.eq(GROUPS) || !groups.iter().all(is_hex) {
        return None;
    }
    u128::from_str_radix(&groups.concat(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_and_read_as_a_number_or_a_uuid() {
        for text in ["0", "64", "01890a5d-ac96-774b-bcce-b302099a8057"] {
            let id: KeyId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        assert_eq!("64".parse(), Ok(KeyId::from_row(64)));
        assert_eq!(UserId::new(u128::MAX).row(), -1);
        for text in [
            "",
            "-1",
            "0x1",
            "64 ",
            "01890a5dac96774bbcceb302099a8057",
            "1-2-3-4-5",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(InvalidId), "{text}");
        }
    }
}
