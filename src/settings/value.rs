//! Values of settings, each read from text.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::networks::{Networks, NotANetwork};

/// A type that a setting may have.
pub(super) trait SettingValue: Sized {
    /// True if the file may give it as a list; the environment separates its parts by commas.
    const TAKES_LISTS: bool = false;

    /// Reads it. The error says what is wrong and what is possible.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Returns it as people are to read it, without secrets.
    fn to_json(&self) -> Json;
}

/// Deserialises any value from text.
pub(super) fn read<'de, D: Deserializer<'de>, T: SettingValue>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::from_text(&text).map_err(D::Error::custom)
}

/// Serialises any value for people to read.
pub(super) fn write<S: Serializer, T: SettingValue>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.to_json().serialize(serializer)
}

/// Nothing but spaces is `None`, so that `Section__Key=` in the environment undoes the file.
impl<T: SettingValue> SettingValue for Option<T> {
    const TAKES_LISTS: bool = T::TAKES_LISTS;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        T::from_text(text).map(Some)
    }

    fn to_json(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::to_json)
    }
}

impl SettingValue for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_json(&self) -> Json {
        self.as_str().into()
    }
}

impl SettingValue for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn to_json(&self) -> Json {
        self.to_string_lossy().into()
    }
}

/// Paths that are separated by commas.
impl SettingValue for Vec<PathBuf> {
    const TAKES_LISTS: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        let paths = text.split(',').map(str::trim);
        Ok(paths
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect())
    }

    fn to_json(&self) -> Json {
        self.iter().map(PathBuf::to_json).collect()
    }
}

impl SettingValue for u16 {
    fn from_text(text: &str) -> Result<Self, String> {
        number(text, Self::MAX)
    }

    fn to_json(&self) -> Json {
        (*self).into()
    }
}

impl SettingValue for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        number(text, Self::MAX)
    }

    fn to_json(&self) -> Json {
        (*self).into()
    }
}

/// A number of octets: `52428800`, `50MiB` or `50 MiB`.
impl SettingValue for u64 {
    fn from_text(text: &str) -> Result<Self, String> {
        octets_from(text).ok_or_else(|| {
            let units = "B, kB, MB, GB, KiB, MiB or GiB";
            format!("{text:?} is not a size; write a number of octets, or a number with {units}")
        })
    }

    fn to_json(&self) -> Json {
        (*self).into()
    }
}

impl SettingValue for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }

    fn to_json(&self) -> Json {
        (*self).into()
    }
}

impl SettingValue for IpAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        let possible = || format!("{text:?} is not an IP address such as 127.0.0.1 or ::1");
        text.trim().parse().map_err(|_| possible())
    }

    fn to_json(&self) -> Json {
        self.to_string().into()
    }
}

impl SettingValue for Networks {
    const TAKES_LISTS: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: NotANetwork| error.to_string())
    }

    fn to_json(&self) -> Json {
        self.to_string().into()
    }
}

fn number<T: FromStr + fmt::Display>(text: &str, most: T) -> Result<T, String> {
    let possible = || format!("{text:?} is not a whole number from 0 to {most}");
    text.trim().parse().map_err(|_| possible())
}

fn octets_from(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let octets: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SecretText;

    #[test]
    fn a_size_is_read_with_and_without_a_unit() {
        for (text, octets) in [
            ("52428800", 52_428_800),
            ("50MiB", 52_428_800),
            ("50 MiB", 52_428_800),
            (" 50mib ", 52_428_800),
            ("1 KiB", 1024),
            ("1GiB", 1 << 30),
            ("1kB", 1000),
            ("50MB", 50_000_000),
            ("2GB", 2_000_000_000),
            ("7 B", 7),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(octets_from(text), Some(octets), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_or_too_large_is_refused() {
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "50 MiB 3",
            "50MiBs",
            "18446744073709551616",
            "18446744073709551615KiB",
        ] {
            assert_eq!(octets_from(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_read_up_to_its_limit_and_not_one_past_it() {
        assert_eq!(u16::from_text("65535"), Ok(u16::MAX));
        assert_eq!(u32::from_text(" 4294967295 "), Ok(u32::MAX));
        assert!(u32::from_text("4294967296").is_err());
        for text in ["65536", "-1", "eleven", "1.5", "true", ""] {
            let reason = u16::from_text(text).unwrap_err();
            assert_eq!(
                reason,
                format!("{text:?} is not a whole number from 0 to 65535")
            );
        }
    }

    #[test]
    fn yes_and_no_have_several_words() {
        for text in ["true", "True", "yes", "on", "1"] {
            assert_eq!(bool::from_text(text), Ok(true), "{text}");
        }
        for text in ["false", "FALSE", "no", "off", "0"] {
            assert_eq!(bool::from_text(text), Ok(false), "{text}");
        }
        for text in ["", "2", "maybe"] {
            assert!(bool::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_separated_by_commas() {
        let paths = Vec::<PathBuf>::from_text(" /a b.pem, /c.pem ,").unwrap();
        assert_eq!(paths, [PathBuf::from("/a b.pem"), PathBuf::from("/c.pem")]);
        assert!(Vec::<PathBuf>::from_text("").unwrap().is_empty());
    }

    #[test]
    fn an_empty_text_is_no_value_where_there_may_be_none() {
        assert_eq!(Option::<IpAddr>::from_text(""), Ok(None));
        assert_eq!(Option::<SecretText>::from_text(" "), Ok(None));
        assert!(Option::<IpAddr>::from_text("here").is_err());
        let spaced = Some(SecretText::new(" x "));
        assert_eq!(Option::<SecretText>::from_text(" x "), Ok(spaced));
    }
}
