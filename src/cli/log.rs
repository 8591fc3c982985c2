//! Where log lines go, and in which form.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::settings::{Log, LogFormat};

/// What libraries tell that nobody asked for.
const QUIET: &str = "sqlx=warn,sea_orm_migration=warn";

/// Starts to log to stderr.
///
/// # Errors
/// If the level is no filter.
pub(super) fn start(settings: &Log) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.level)?)
        .with_writer(std::io::stderr)
        .with_target(false);
    match settings.format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// What is logged at this level.
///
/// # Errors
/// If the level is no filter.
pub(super) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // A word that is no level would pass for the name of a module, and silence everything.
    let is_level = level.parse::<LevelFilter>().is_ok();
    anyhow::ensure!(
        is_level || level.contains('='),
        "Log__Level {level:?} is not possible: use off, error, warn, info, debug or trace"
    );
    let filter = EnvFilter::try_new(format!("{QUIET},{level}"));
    filter.with_context(|| {
        format!("Log__Level {level:?} is not possible: use error, warn, info, debug or trace")
    })
}
