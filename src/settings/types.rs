//! Types of single settings.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use serde_json::Value as Json;

use super::value::SettingValue;
use crate::accounts::normalize_domain;
use crate::networks::Networks;

/// A password or a token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// A URL that may hold a password, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

/// From where a client may send its key without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaintextAuth {
    /// From nowhere: only inside TLS.
    Never,
    /// From the machine that the server runs on.
    Loopback,
    /// From everywhere.
    Always,
    /// From these networks.
    Networks(Networks),
}

/// A domain in the form in which addresses are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

/// The permissions of a file, as `chmod` writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

/// The age at which a message is deleted although no client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireAfter {
    /// It is kept until a client deletes it.
    Never,
    /// Once it is this old.
    After(Duration),
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object per line.
    Json,
}

impl SecretText {
    /// Takes the text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to compare it or to decrypt with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl SettingValue for SecretText {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }

    fn to_json(&self) -> Json {
        "***".into()
    }
}

impl SecretUrl {
    /// Returns the URL for people to read, with `***` for what may be a password.
    pub fn redacted(&self) -> String {
        let url = match self.0.split_once("password=") {
            Some((before, _)) => format!("{before}password=***"),
            None => self.0.clone(),
        };
        if url.starts_with("sqlite:") {
            return url;
        }
        without_password(&url).unwrap_or(url)
    }
}

/// Replaces the password before the host by `***`, if there is one.
fn without_password(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    // A password that was not percent-encoded may hold any of `:/?#@`, so what is hidden reaches to
    // the last @ of all.
    let (user, host) = rest.rsplit_once('@')?;
    let (name, _) = user.split_once(':')?;
    Some(format!("{scheme}://{name}:***@{host}"))
}

/// The whole URL, to connect to it.
impl Deref for SecretUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for SecretUrl {
    fn from(url: T) -> Self {
        Self(url.into())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl SettingValue for SecretUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }

    fn to_json(&self) -> Json {
        self.redacted().into()
    }
}

impl PlaintextAuth {
    /// Returns whether this client may send its key without TLS.
    pub fn allows(&self, client: IpAddr) -> bool {
        match self {
            Self::Never => false,
            Self::Loopback => client.to_canonical().is_loopback(),
            Self::Always => true,
            Self::Networks(networks) => networks.contain(client),
        }
    }
}

impl SettingValue for PlaintextAuth {
    const TAKES_LISTS: bool = true;

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

    fn to_json(&self) -> Json {
        match self {
            Self::Never => "never".into(),
            Self::Loopback => "loopback".into(),
            Self::Always => "always".into(),
            Self::Networks(networks) => networks.to_json(),
        }
    }
}

impl Domain {
    /// Returns the domain, such as `example.org`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SettingValue for Domain {
    fn from_text(text: &str) -> Result<Self, String> {
        let impossible = || format!("{text:?} is not a domain such as example.org");
        let domain = normalize_domain(text.trim()).ok_or_else(impossible)?;
        Ok(Self(domain))
    }

    fn to_json(&self) -> Json {
        self.as_str().into()
    }
}

impl SettingValue for FileMode {
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

    fn to_json(&self) -> Json {
        format!("{:04o}", self.0).into()
    }
}

impl SettingValue for LogFormat {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Text => "text".into(),
            Self::Json => "json".into(),
        }
    }
}

impl ExpireAfter {
    /// The shortest time. CAPA tells whole days, and 0 would mean that nothing is kept (RFC 2449,
    /// section 6.7).
    const SHORTEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns how long a message is kept, if it expires.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(duration),
        }
    }
}

impl SettingValue for ExpireAfter {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("never") {
            return Ok(Self::Never);
        }
        let age = Duration::from_text(text).map_err(|reason| format!("{reason}, or never"))?;
        if age < Self::SHORTEST {
            return Err("the shortest time is 1d; write never to keep messages".into());
        }
        Ok(Self::After(age))
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Never => "never".into(),
            Self::After(age) => age.to_json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("sqlite://data/me@home.db", "sqlite://data/me@home.db"),
            ("postgres://db/relate", "postgres://db/relate"),
            ("postgres://u@db/relate", "postgres://u@db/relate"),
            ("postgres://u:x@db/relate", "postgres://u:***@db/relate"),
            (
                "postgres://u:x:/?#@x@db/relate",
                "postgres://u:***@db/relate",
            ),
            (
                "postgres://u@db?password=x@x",
                "postgres://u@db?password=***",
            ),
            (
                "postgres://u:x@db?password=x",
                "postgres://u:***@db?password=***",
            ),
        ] {
            assert_eq!(SecretUrl::from(url).redacted(), shown);
        }
    }
}
