//! Checks the limit of open files and the user.

use super::super::service_user::{INSTEAD_OF_ROOT, is_root};
use super::Finding;
use crate::open_files::{highest_limit, needed};
use crate::settings::Config;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let root = is_root().then(|| {
        let message = "this is root, and the server needs no root";
        Finding::warning("user", message, INSTEAD_OF_ROOT)
    });
    std::iter::once(open_files(config)).chain(root).collect()
}

fn open_files(config: &Config) -> Finding {
    let limit = highest_limit();
    let shown = limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let Some(needed) = needed(config) else {
        let message = format!("open files: {shown}; nothing else limits the sessions");
        return Finding::ok("files", message);
    };
    if limit.is_none_or(|limit| limit >= needed) {
        return Finding::ok(
            "files",
            format!("open files: {shown}, and {needed} may be needed"),
        );
    }
    Finding::warning(
        "files",
        format!(
            "open files: {shown}, but Pop3__MaxConnections={} may need {needed}",
            config.pop3.max_connections
        ),
        format!(
            "set LimitNOFILE={needed} in the unit (ulimit -n {needed} in a shell), \
             or a lower Pop3__MaxConnections"
        ),
    )
}
