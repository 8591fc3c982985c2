//! The values of settings, each read from text.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration;
use crate::accounts::normalize_domain;
use crate::networks::{Networks, NotANetwork};

/// A password or a token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// From where a client may send its key without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaintextAuth {
    /// From nowhere: only inside TLS.
    Never,
    /// From the machine that the server runs on.
    Loopback,
    /// From everywhere.
    Always,
    /// From these networks, which somebody has written down.
    Networks(Networks),
}

impl PlaintextAuth {
    /// May this client send its key without TLS?
    pub fn allows(&self, client: IpAddr) -> bool {
        match self {
            Self::Never => false,
            Self::Loopback => client.to_canonical().is_loopback(),
            Self::Always => true,
            Self::Networks(networks) => networks.contain(client),
        }
    }
}

/// A domain in the form in which addresses are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Domain(String);

impl Domain {
    /// The domain, such as `example.org`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who may use a file, as `chmod` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

/// When a message is deleted although no client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireAfter {
    /// It is kept until a client deletes it.
    Never,
    /// Once it is this old.
    After(Duration),
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object per line.
    Json,
}

/// What can be read from the text of a setting.
pub(super) trait FromText: Sized {
    /// Reads it, or says what is wrong and what is possible.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// Deserialises any value from text.
pub(super) fn read<'de, D: Deserializer<'de>, T: FromText>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::from_text(&text).map_err(D::Error::custom)
}

/// Deserialises a number of octets: `52428800`, `50MiB` or `50 MiB`.
pub(super) fn octets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    octets_from_text(&text).map_err(D::Error::custom)
}

/// The same, where nothing is a value, too.
pub(super) fn optional_octets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    octets_from_text(&text).map(Some).map_err(D::Error::custom)
}

/// Reads a number of octets; the error says what is possible.
pub(super) fn octets_from_text(text: &str) -> Result<u64, String> {
    octets_from(text).ok_or_else(|| {
        let units = "B, kB, MB, GB, KiB, MiB or GiB";
        format!("{text:?} is not a size; write a number of octets, or a number with {units}")
    })
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

impl Secret {
    /// Takes the text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Serialize for PlaintextAuth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_str("never"),
            Self::Loopback => serializer.serialize_str("loopback"),
            Self::Always => serializer.serialize_str("always"),
            Self::Networks(networks) => networks.serialize(serializer),
        }
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:04o}", self.0))
    }
}

impl Serialize for ExpireAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_str("never"),
            Self::After(age) => duration::serialize(age, serializer),
        }
    }
}

/// Nothing but spaces is `None`, so that `Section__Key=` in the environment undoes the file.
impl<T: FromText> FromText for Option<T> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        T::from_text(text).map(Some)
    }
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromText for Secret {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
}

impl FromText for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl FromText for u16 {
    fn from_text(text: &str) -> Result<Self, String> {
        number(text, Self::MAX)
    }
}

impl FromText for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        number(text, Self::MAX)
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }
}

impl FromText for IpAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        let possible = || format!("{text:?} is not an IP address such as 127.0.0.1 or ::1");
        text.trim().parse().map_err(|_| possible())
    }
}

impl FromText for Domain {
    fn from_text(text: &str) -> Result<Self, String> {
        let impossible = || format!("{text:?} is not a domain such as example.org");
        let domain = normalize_domain(text.trim()).ok_or_else(impossible)?;
        Ok(Self(domain))
    }
}

impl FromText for PlaintextAuth {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "never" => Ok(Self::Never),
            "loopback" => Ok(Self::Loopback),
            "always" => Ok(Self::Always),
            networks => networks
                .parse()
                .ok()
                .filter(|networks: &Networks| !networks.is_empty())
                .map(Self::Networks)
                .ok_or_else(|| {
                    format!(
                        "{text:?} is not one of never, loopback and always, \
                         and no list of networks such as 192.0.2.0/24, 2001:db8::/32"
                    )
                }),
        }
    }
}

impl FromText for Networks {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: NotANetwork| error.to_string())
    }
}

/// Paths that are separated by commas.
impl FromText for Vec<PathBuf> {
    fn from_text(text: &str) -> Result<Self, String> {
        let paths = text.split(',').map(str::trim);
        Ok(paths
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect())
    }
}

impl FromText for FileMode {
    fn from_text(text: &str) -> Result<Self, String> {
        // TOML's 0o660 arrives as 432, which would be another mode: so a mode begins with 0.
        let digits = text.trim().strip_prefix('0');
        let digits = digits.filter(|it| it.len() == 3 && it.bytes().all(|c| c.is_ascii_digit()));
        let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
        let mode = mode.filter(|mode| mode & 0o600 == 0o600);
        mode.map(Self).ok_or_else(|| {
            format!(
                "{text:?} is no mode of a file that its owner may use; write it as \"0660\", with \
                 four digits in quotes"
            )
        })
    }
}

impl FromText for LogFormat {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }
}

impl ExpireAfter {
    /// The least that there is. CAPA tells whole days, and 0 would mean that nothing is kept
    /// (RFC 2449, section 6.7).
    const LEAST: Duration = Duration::from_secs(24 * 60 * 60);

    /// How long a message is kept; none is for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(duration),
        }
    }
}

impl FromText for ExpireAfter {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("never") {
            return Ok(Self::Never);
        }
        let age = Duration::from_text(text).map_err(|reason| format!("{reason}, or never"))?;
        if age < Self::LEAST {
            return Err(
                "messages are kept for 1d at least; write never to keep them for ever".into(),
            );
        }
        Ok(Self::After(age))
    }
}

fn number<T: FromStr + fmt::Display>(text: &str, most: T) -> Result<T, String> {
    let possible = || format!("{text:?} is not a whole number from 0 to {most}");
    text.trim().parse().map_err(|_| possible())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_wrong_choice_is_told_what_is_possible() {
        let reason = PlaintextAuth::from_text("sometimes").unwrap_err();
        assert_eq!(
            reason,
            "\"sometimes\" is not one of never, loopback and always, \
             and no list of networks such as 192.0.2.0/24, 2001:db8::/32"
        );
        let reason = LogFormat::from_text("xml").unwrap_err();
        assert_eq!(reason, "\"xml\" is neither text nor json");
    }

    #[test]
    fn a_key_may_go_in_clear_from_where_it_is_said() {
        for (text, allowed, refused) in [
            ("loopback", "127.0.0.9", "192.0.2.1"),
            ("Loopback", "::ffff:127.0.0.1", "::ffff:192.0.2.1"),
            ("192.0.2.0/24 ::1", "192.0.2.7", "127.0.0.1"),
        ] {
            let policy = PlaintextAuth::from_text(text).unwrap();
            assert!(policy.allows(allowed.parse().unwrap()), "{text}");
            assert!(!policy.allows(refused.parse().unwrap()), "{text}");
        }
        assert!(PlaintextAuth::Always.allows("192.0.2.1".parse().unwrap()));
        assert!(!PlaintextAuth::Never.allows("127.0.0.1".parse().unwrap()));
        assert!(PlaintextAuth::from_text("").is_err());
    }

    #[test]
    fn paths_are_separated_by_commas() {
        let paths = Vec::<PathBuf>::from_text(" /a b.pem, /c.pem ,").unwrap();
        assert_eq!(paths, [PathBuf::from("/a b.pem"), PathBuf::from("/c.pem")]);
        assert!(Vec::<PathBuf>::from_text("").unwrap().is_empty());
    }

    #[test]
    fn a_mode_has_four_digits_and_lets_its_owner_in() {
        assert_eq!(FileMode::from_text("0660"), Ok(FileMode(0o660)));
        assert_eq!(FileMode::from_text("0600"), Ok(FileMode(0o600)));
        for refused in [
            "432", "660", "0", "0000", "0060", "0o660", "0680", "01660", "rw",
        ] {
            assert!(FileMode::from_text(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn messages_expire_never_or_after_a_day_or_more() {
        assert_eq!(ExpireAfter::from_text("Never"), Ok(ExpireAfter::Never));
        let day = Duration::from_secs(86_400);
        assert_eq!(ExpireAfter::from_text("1d"), Ok(ExpireAfter::After(day)));
        let part = Duration::from_secs(36 * 3600);
        assert_eq!(ExpireAfter::from_text("36h"), Ok(ExpireAfter::After(part)));
        for refused in ["0", "86399s", "23:59:59", "soon", "-1d"] {
            assert!(ExpireAfter::from_text(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_domain_is_kept_in_its_one_form_and_what_is_none_is_refused() {
        for (text, form) in [
            ("example.org", "example.org"),
            (" Example.ORG. ", "example.org"),
            ("xn--bcher-kva.example", "b\u{fc}cher.example"),
            ("b\u{fc}cher.example", "b\u{fc}cher.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Domain::from_text(text).unwrap().as_str(), form);
        }
        for bad in [
            "@example.org",
            "ada@example.org",
            "example..org",
            "-x.example",
            "exam ple.org",
            "https://example.org",
            "[192.0.2.1]",
            ".",
            "xn--zz.example",
        ] {
            let error = Domain::from_text(bad).unwrap_err();
            assert!(
                error.ends_with("is not a domain such as example.org"),
                "{bad}"
            );
        }
        assert_eq!(Option::<Domain>::from_text(" ").unwrap(), None);
    }

    #[test]
    fn an_empty_text_is_no_value_where_there_may_be_none() {
        assert_eq!(Option::<IpAddr>::from_text(""), Ok(None));
        assert_eq!(Option::<Secret>::from_text(" "), Ok(None));
        assert!(Option::<IpAddr>::from_text("here").is_err());
        let spaced = Some(Secret::new(" x "));
        assert_eq!(Option::<Secret>::from_text(" x "), Ok(spaced));
    }
}
