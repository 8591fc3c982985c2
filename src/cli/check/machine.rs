//! Does the system let us have as many connections as the settings promise?

use super::Finding;
use crate::open_files;
use crate::settings::Pop3;

pub(super) fn check(settings: &Pop3) -> Finding {
    let limit = open_files::highest_limit();
    let shown = limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    if settings.max_connections == 0 {
        let message = format!("open files: {shown}; nothing else limits the sessions");
        return Finding::ok("files", message);
    }
    let needed = open_files::needed(settings.max_connections);
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
            settings.max_connections
        ),
        format!(
            "set LimitNOFILE={needed} in the unit (ulimit -n {needed} in a shell), \
             or a lower Pop3__MaxConnections"
        ),
    )
}
