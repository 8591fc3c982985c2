//! The settings, read once at the start: defaults, then the file, then the environment.
//!
//! After [`Config::load`] nobody looks at the file or at an environment variable again, but that
//! SIGHUP loads all of it once more.

mod connection_string;
mod duration;
mod environment;
mod file;
mod load;
mod names;
mod pop3;
mod sasl;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize, Serializer};

use value::{octets, optional_octets, read};

pub use load::{ConfigError, Loaded};
pub use pop3::Pop3;
pub use sasl::AuthMechanisms;
pub use value::{Domain, ExpireAfter, FileMode, LogFormat, PlaintextAuth, Secret};

/// The longest domain (RFC 5321, section 4.5.3.1.2).
const LONGEST_DOMAIN_OCTETS: usize = 255;

/// All settings.
///
/// Every value is deserialised from text, as an environment variable has it. What is serialised
/// is for people to read: it has no secrets in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The POP3 listeners and what a session may do.
    pub pop3: Pop3,
    /// Where the mail is.
    pub database: Database,
    /// The HTTP endpoint for whoever runs the server.
    pub admin: Admin,
    /// Delivery over LMTP.
    pub lmtp: Lmtp,
    /// What the server writes to stderr.
    pub log: Log,
    /// What the server exports over OpenTelemetry.
    pub otel: Otel,
}

/// Where the mail is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite://…` or `postgres://…`. It may hold a password: see [`Database::shown`].
    #[serde(serialize_with = "url_without_password")]
    pub url: String,
    /// How much must be free on the disk of SQLite's file for mail to be taken in, in octets; 0 is
    /// no limit, and none is by the size of the disk.
    #[serde(deserialize_with = "optional_octets")]
    pub min_free_space: Option<u64>,
    /// How many connections there may be to PostgreSQL, at least 2. Half of them read.
    #[serde(deserialize_with = "read")]
    pub max_connections: u32,
}

/// The HTTP endpoint for whoever runs the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on.
    #[serde(deserialize_with = "read")]
    pub bind_address: IpAddr,
    /// The port to listen on.
    #[serde(deserialize_with = "read")]
    pub port: u16,
    /// What a caller must present.
    #[serde(deserialize_with = "read")]
    pub token: Option<Secret>,
    /// The file that holds the token, instead of [`Admin::token`].
    #[serde(deserialize_with = "read")]
    pub token_path: Option<PathBuf>,
}

/// Delivery over LMTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lmtp {
    /// The address to listen on.
    #[serde(deserialize_with = "read")]
    pub bind_address: IpAddr,
    /// The port to listen on; 0 is off.
    #[serde(deserialize_with = "read")]
    pub port: u16,
    /// The Unix socket to listen on.
    #[serde(deserialize_with = "read")]
    pub socket_path: Option<PathBuf>,
    /// Who may connect to the Unix socket, as the mode of its file.
    #[serde(deserialize_with = "read")]
    pub socket_mode: FileMode,
    /// How many sessions there may be at once, at least 1.
    #[serde(deserialize_with = "read")]
    pub max_connections: u32,
    /// The largest message that is taken, in octets, at least 1.
    #[serde(deserialize_with = "octets")]
    pub max_message_size: u64,
    /// How long a client may be silent, more than 0.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
}

/// What the server writes to stderr.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or a filter directive of `tracing`.
    pub level: String,
    /// The form of a line.
    #[serde(deserialize_with = "read")]
    pub format: LogFormat,
}

/// What the server exports over OpenTelemetry.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otel {
    /// The URL of the collector. It may hold a password: see [`Otel::shown`].
    #[serde(
        deserialize_with = "read",
        serialize_with = "endpoint_without_password"
    )]
    pub endpoint: Option<String>,
}

impl Config {
    /// Reads the settings: the file wins over the defaults, the environment wins over the file.
    ///
    /// A variable counts if its name is `Section__Key` with a section of ours, in any case and
    /// with or without underscores between words. The first mistake that is found is the error.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        load::load(file, environment)
    }

    /// The first value that its type allows and the server cannot work with: its path and why.
    fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let (pop3, lmtp) = (&self.pop3, &self.lmtp);
        let name_is_a_word =
            !pop3.server_name.is_empty() && pop3.server_name.chars().all(|c| c.is_ascii_graphic());
        let url_is_known = ["sqlite:", "postgres://", "postgresql://"]
            .iter()
            .any(|scheme| self.database.url.starts_with(scheme));
        [
            (
                name_is_a_word,
                "pop3.server_name",
                "a server name is one word in ASCII, such as mail.example.org",
            ),
            (
                !pop3.server_name.contains(['<', '>']),
                "pop3.server_name",
                "clients take <...> in the greeting for the timestamp of APOP, which is not offered; \
                 write the name alone, such as mail.example.org",
            ),
            (
                !pop3.server_name.starts_with('['),
                "pop3.server_name",
                "clients take [...] at the start of the greeting for a response code (RFC 2449, \
                 section 8); write the name or the address without brackets",
            ),
            (
                ::pop3::Reply::greeting(&pop3.server_name).as_bytes().len()
                    <= ::pop3::Reply::MAX_LINE_OCTETS,
                "pop3.server_name",
                "the greeting would have more than 512 octets (RFC 2449, section 4); give a name of at \
                 most 488",
            ),
            (
                !lmtp.is_on() || pop3.server_name.len() <= LONGEST_DOMAIN_OCTETS,
                "pop3.server_name",
                "LMTP tells it as a domain, which has at most 255 octets (RFC 5321, section 4.5.3.1.2)",
            ),
            (
                pop3.max_connections_per_user > 0,
                "pop3.max_connections_per_user",
                "0 would let nobody log in; the least is 1",
            ),
            (
                !pop3.session_timeout.is_zero(),
                "pop3.session_timeout",
                "0 would end every session at once; RFC 1939 asks for 10m or more",
            ),
            (
                !pop3.login_timeout.is_zero(),
                "pop3.login_timeout",
                "0 would let nobody log in; give a time such as 180s",
            ),
            (
                !pop3.write_timeout.is_zero(),
                "pop3.write_timeout",
                "0 would let nobody read a message; give a time such as 10m",
            ),
            (
                pop3.max_connections_before_login > 0,
                "pop3.max_connections_before_login",
                "0 would let nobody log in; the least is 1",
            ),
            (
                pop3.max_bad_commands > 0,
                "pop3.max_bad_commands",
                "0 would end every session at once; the least is 1",
            ),
            (
                (255..=65_536).contains(&pop3.max_line_octets),
                "pop3.max_line_octets",
                "a command line has 255 octets (RFC 2449, section 4), or up to 65536",
            ),
            (
                pop3.auth_failure_delay <= Some(pop3.max_auth_failure_delay),
                "pop3.auth_failure_delay",
                "the first delay is longer than the longest, Pop3__MaxAuthFailureDelay",
            ),
            (
                url_is_known,
                "database.url",
                "a database URL begins with sqlite:, postgres:// or postgresql:// \
                 (a string of the form Host=...;Database=... belongs in the environment variable \
                 ConnectionStrings__DefaultConnection)",
            ),
            (
                (2..=1000).contains(&self.database.max_connections),
                "database.max_connections",
                "PostgreSQL needs a connection that reads and one that writes: the least is 2, \
                 and the most 1000",
            ),
            (
                lmtp.max_message_size > 0,
                "lmtp.max_message_size",
                "0 would refuse every message; give a size such as 50MiB",
            ),
            (
                lmtp.max_connections > 0,
                "lmtp.max_connections",
                "0 would let no MTA in; the least is 1",
            ),
            (
                !lmtp.session_timeout.is_zero(),
                "lmtp.session_timeout",
                "0 would end every session at once; give a time such as 5m",
            ),
            (
                !self.log.level.trim().is_empty(),
                "log.level",
                "the level is empty; choose off, error, warn, info, debug or trace, \
                 or give a filter such as info,restante=debug",
            ),
        ]
        .into_iter()
        .find_map(|(good, path, why)| (!good).then_some((path, why)))
    }
}

/// Reads a duration as the settings write it: `10m`, `90s`, `00:10:00`.
///
/// # Errors
/// If it is none; the text says what is possible.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    value::FromText::from_text(text)
}

/// Reads a number of octets as the settings write it: `52428800`, `50MiB`.
///
/// # Errors
/// If it is none; the text says what is possible.
pub fn parse_octets(text: &str) -> Result<u64, String> {
    value::octets_from_text(text)
}

impl Lmtp {
    /// Is there anything to listen on?
    fn is_on(&self) -> bool {
        self.port != 0 || self.socket_path.is_some()
    }
}

impl Database {
    /// The URL for people to read, with `***` for what may be a password.
    pub fn shown(&self) -> String {
        shown_database(&self.url)
    }
}

impl Otel {
    /// The URL for people to read, with `***` for what may be a password.
    pub fn shown(&self) -> Option<String> {
        self.endpoint.as_deref().map(without_password)
    }
}

/// The URL of a database with `***` for what may be a password.
fn shown_database(url: &str) -> String {
    let url = match url.split_once("password=") {
        Some((before, _)) => format!("{before}password=***"),
        None => url.to_owned(),
    };
    if url.starts_with("sqlite:") {
        return url;
    }
    without_password(&url)
}

/// A URL with `***` for the password before its host.
fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        // A password that was not percent-encoded may hold any of `:/?#@`, so what is hidden
        // reaches to the last @ of all.
        let (user, host) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***@{host}"))
    };
    hidden().unwrap_or_else(|| url.to_owned())
}

impl Admin {
    /// What a caller must present, read from its file if it is in one.
    ///
    /// # Errors
    /// If the token is given twice, the file can't be read, or there is nothing in it.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_path else {
            return Ok(self.token.as_ref().map(|token| token.expose().to_owned()));
        };
        anyhow::ensure!(
            self.token.is_none(),
            "both Admin__Token and Admin__TokenPath are set; keep one of them"
        );
        let text = std::fs::read_to_string(path);
        let text =
            text.with_context(|| format!("cannot read {} (Admin__TokenPath)", path.display()))?;
        let token = text.trim().to_owned();
        anyhow::ensure!(!token.is_empty(), "there is no token in {}", path.display());
        Ok(Some(token))
    }
}

impl Lmtp {
    /// How many sessions there may be; none if LMTP is off.
    pub fn sessions(&self) -> u32 {
        let is_on = self.port != 0 || self.socket_path.is_some();
        u32::from(is_on) * self.max_connections
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("url", &self.shown())
            .field("min_free_space", &self.min_free_space)
            .field("max_connections", &self.max_connections)
            .finish()
    }
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otel")
            .field("endpoint", &self.shown())
            .finish()
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "sqlite://data/restante.db".to_owned(),
            min_free_space: None,
            max_connections: 8,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            bind_address: Ipv4Addr::LOCALHOST.into(),
            port: 8110,
            token: None,
            token_path: None,
        }
    }
}

impl Default for Lmtp {
    fn default() -> Self {
        Self {
            bind_address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            socket_path: None,
            socket_mode: FileMode(0o660),
            max_connections: 100,
            max_message_size: 50 * 1024 * 1024,
            session_timeout: Duration::from_secs(5 * 60),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

fn url_without_password<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_database(url))
}

fn endpoint_without_password<S: Serializer>(
    endpoint: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    endpoint
        .as_deref()
        .map(without_password)
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../config/restante.toml");

    #[test]
    fn the_defaults_are_no_mistake() {
        assert_eq!(Config::default().mistake(), None);
    }

    #[test]
    fn the_shipped_file_says_what_the_defaults_say() {
        let loaded = load::load_text(SHIPPED).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_shipped_file_lists_every_setting_under_its_section() {
        let names = serde_json::to_value(Config::default()).unwrap();
        for (section, keys) in names.as_object().unwrap() {
            let (_, listed) = SHIPPED.split_once(&format!("\n[{section}]\n")).unwrap();
            let listed = listed.split("\n[").next().unwrap();
            for key in keys.as_object().unwrap().keys() {
                let as_default = listed.contains(&format!("\n{key} = "));
                let as_example = listed.contains(&format!("\n#{key} = "));
                assert!(as_default != as_example, "[{section}] {key}");
            }
        }
    }

    #[test]
    fn every_example_in_the_shipped_file_is_a_good_value() {
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') => format!("{example}\n"),
            Some(_) | None => format!("{line}\n"),
        };
        let text: String = SHIPPED.lines().map(uncommented).collect();
        let config = load::load_text(&text).unwrap().config;
        assert!(!config.pop3.certificate_path.is_empty());
        assert!(config.otel.endpoint.is_some());
    }

    #[test]
    fn a_secret_is_neither_in_debug_nor_in_json() {
        let mut config = Config::default();
        config.pop3.certificate_password = Some(Secret::new("hunter2"));
        config.admin.token = Some(Secret::new("hunter2"));
        config.database.url = "postgres://relate:hunter2@db/relate".to_owned();
        config.otel.endpoint = Some("http://relate:hunter2@collector:4318".to_owned());
        let json = serde_json::to_string(&config).unwrap();
        for shown in [format!("{config:?}"), json] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("postgres://relate:***@db/relate"), "{shown}");
            assert!(
                shown.contains("http://relate:***@collector:4318"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_database_url_is_shown_without_its_password() {
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
            assert_eq!(shown_database(url), shown);
        }
    }
}
