//! SIGHUP: the file of settings is read again, and what can change while the server runs does.

use std::path::Path;

use super::log::Level;
use crate::server::Server;
use crate::settings::Config;

/// Reads the settings again and puts in force what it can. Open sessions go on as they began.
///
/// A file with a mistake changes nothing. The environment of a running process stays as it was,
/// and what it says still wins over the file.
pub(super) fn reload(file: Option<&Path>, server: &mut Server, level: &Level) {
    if let Err(error) = take_up(file, server, level) {
        tracing::error!(%error, "the settings stay as they were");
    }
}

fn take_up(file: Option<&Path>, server: &mut Server, level: &Level) -> anyhow::Result<()> {
    let wanted = Config::load(file, std::env::vars_os())?.config;
    let filter = super::log::filter(&wanted.log.level)?;
    let reloaded = server.reload(&wanted)?;
    level.change(filter)?;
    for setting in reloaded.changed {
        tracing::info!(setting, "a setting has changed");
    }
    for setting in reloaded.need_restart {
        tracing::warn!(
            setting,
            "a setting has changed in the file: restart to apply it"
        );
    }
    Ok(())
}
