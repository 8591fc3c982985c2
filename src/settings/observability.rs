//! The settings of the log and of OpenTelemetry.

use super::section::section;
use super::types::{LogFormat, SecretUrl};

section! {
    /// What the server writes to stderr.
    pub struct LogSettings in "log" {
        /// A level, or a filter directive of `tracing`.
        reload level: String = "info".to_owned(),
            refuse |level| level.trim().is_empty() =>
                "the level is empty; choose off, error, warn, info, debug or trace, or give a \
                 filter such as info,restante=debug";
        /// The form of a line.
        restart format: LogFormat = LogFormat::Text;
    }
}

section! {
    /// What the server exports over OpenTelemetry.
    pub struct OtelSettings in "otel" {
        /// The URL of the collector, which may hold a password.
        restart endpoint: Option<SecretUrl> = None;
    }
}
