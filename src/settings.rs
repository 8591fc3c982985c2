//! The settings: defaults, then the file, then the environment.
//!
//! A setting is one line in the table of its section (`settings/pop3.rs` and its like) and an entry
//! in `config/restante.toml`. The file and the environment are read at the start, by
//! [`Config::load`], and again at SIGHUP; while the server runs, [`LiveConfig`] has what is in force.

mod admin;
mod connection_string;
mod database;
mod duration;
mod environment;
mod file;
mod health_check;
mod json;
mod live;
mod lmtp;
mod load;
mod names;
mod observability;
mod pop3;
mod relate;
mod sasl;
mod section;
mod suite;
mod types;
mod value;
mod warnings;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use section::sections;
use value::SettingValue;

pub use admin::AdminSettings;
pub use database::DatabaseSettings;
pub use health_check::{HealthCheckSettings, HealthUrl};
pub use live::{Live, LiveConfig, Reloaded};
pub use lmtp::LmtpSettings;
pub use load::{ConfigError, Loaded};
pub use observability::{LogSettings, OtelSettings};
pub use pop3::Pop3Settings;
pub use relate::{DatabaseSchema, RelateDelete, RelateSettings};
pub use sasl::AuthMechanisms;
pub use section::{Change, Setting};
pub use types::{Domain, ExpireAfter, FileMode, LogFormat, PlaintextAuth, SecretText, SecretUrl};

/// The longest domain (RFC 5321, section 4.5.3.1.2).
const LONGEST_DOMAIN_OCTETS: usize = 255;

sections! {
    /// All settings.
    ///
    /// Every value is deserialised from text, as an environment variable has it. What is serialised
    /// is for people to read and holds no secrets.
    pub struct Config {
        /// The POP3 listeners, and what a session may do.
        pop3: Pop3Settings,
        /// Where the mail is.
        database: DatabaseSettings,
        /// How a database of Relate Mail is served.
        relate: RelateSettings,
        /// A further listener, which answers `/healthz` and nothing else.
        health_check: HealthCheckSettings,
        /// The HTTP endpoint for operators.
        admin: AdminSettings,
        /// Delivery over LMTP.
        lmtp: LmtpSettings,
        /// What the server writes to stderr.
        log: LogSettings,
        /// What the server exports over OpenTelemetry.
        otel: OtelSettings,
    }
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

    /// Returns the first value that the server can't work with: its path, and why not.
    fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let (pop3, lmtp) = (&self.pop3, &self.lmtp);
        if let Some(mistake) = self.mistake_of_a_section() {
            return Some(mistake);
        }
        if lmtp.is_on() && pop3.server_name.len() > LONGEST_DOMAIN_OCTETS {
            return Some((
                "pop3.server_name",
                "LMTP tells it as a domain, which has at most 255 octets (RFC 5321, section \
                 4.5.3.1.2)",
            ));
        }
        if pop3.auth_failure_delay > Some(pop3.max_auth_failure_delay) {
            return Some((
                "pop3.auth_failure_delay",
                "the first delay is longer than the longest, Pop3__MaxAuthFailureDelay",
            ));
        }
        None
    }
}

/// Reads a duration as the settings write it: `10m`, `90s`, `00:10:00`.
///
/// # Errors
/// If it is none; the text says what is possible.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    SettingValue::from_text(text)
}

/// Reads a number of octets as the settings write it: `52428800`, `50MiB`.
///
/// # Errors
/// If it is none; the text says what is possible.
pub fn parse_octets(text: &str) -> Result<u64, String> {
    SettingValue::from_text(text)
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
        for setting in Config::settings() {
            let (section, key) = setting.section_and_key();
            let (_, listed) = SHIPPED.split_once(&format!("\n[{section}]\n")).unwrap();
            let listed = listed.split("\n[").next().unwrap();
            let as_default = listed.contains(&format!("\n{key} = "));
            let as_example = listed.contains(&format!("\n#{key} = "));
            assert!(as_default != as_example, "[{section}] {key}");
        }
    }

    #[test]
    fn the_shipped_file_marks_the_settings_that_change_at_sighup() {
        for setting in Config::settings() {
            let (section, key) = setting.section_and_key();
            let (_, listed) = SHIPPED.split_once(&format!("\n[{section}]\n")).unwrap();
            let lines: Vec<_> = listed.lines().collect();
            let is_key = |line: &&str| {
                line.trim_start_matches('#')
                    .starts_with(&format!("{key} = "))
            };
            let at = lines.iter().position(is_key).unwrap();
            let is_marked = lines[at - 1].ends_with("[reload]");
            assert_eq!(
                is_marked,
                setting.change == Change::Reload,
                "{}",
                setting.path
            );
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
        config.pop3.certificate_password = Some(SecretText::new("hunter2"));
        config.admin.token = Some(SecretText::new("hunter2"));
        config.database.url = "postgres://relate:hunter2@db/relate".into();
        config.otel.endpoint = Some("http://relate:hunter2@collector:4318".into());
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
}
