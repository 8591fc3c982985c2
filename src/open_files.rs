//! How many files, and so connections, the system lets this process have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a server has open beside connections: the database, sockets, threads, and some to spare.
const OTHERS: u64 = 100;

/// Raises the limit as far as it goes without asking anybody, and warns if it is too low for so
/// many connections.
pub fn raise(connections: u32) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(error = %error, "the limit of open files can't be raised");
            current
        }
    };
    if let Some(limit) = limit.filter(|limit| !fits(connections, *limit)) {
        tracing::warn!(
            limit,
            "Pop3__MaxConnections={connections} can't be reached: the system allows fewer open \
             files; raise LimitNOFILE (systemd) or ulimit -n"
        );
    }
}

/// How many files this process could have open, at most.
pub fn highest_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// How many files so many connections need.
pub fn needed(connections: u32) -> u64 {
    u64::from(connections) + OTHERS
}

/// Without a limit of ours nothing is promised.
fn fits(connections: u32, limit: u64) -> bool {
    connections == 0 || needed(connections) <= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_if_what_else_is_open_does_too() {
        assert!(fits(900, 1000));
        assert!(!fits(901, 1000));
        assert!(fits(0, 1), "no limit, no promise");
    }
}
