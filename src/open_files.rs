//! The limit of open files, and so of connections.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Config;

/// The files that a server has open beside connections of POP3 and LMTP: the database, sockets, threads, the
/// admin endpoint, and a reserve.
const OTHERS: u64 = 100;

/// The files that POP3 and LMTP leave to the database and the admin endpoint.
const LEFT_TO_OTHERS: u64 = OTHERS / 2;

/// Divisor of a low limit: POP3 leaves at most a quarter of it to others, and keeps the rest.
const POP3_RESERVE_DIVISOR: u64 = 4;

/// Divisor of a low limit: LMTP leaves at most an eighth of it to others.
const LMTP_RESERVE_DIVISOR: u64 = 8;

/// Interval at which a waiting connection checks for room.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Files that a listener leaves to others.
///
/// A new file gets the lowest free number. So a connection whose number is below the limit by more
/// than the reserve leaves that many numbers free above it.
#[derive(Debug, Clone, Copy)]
pub struct Reserve {
    files: u64,
    /// The reserve is at most the limit divided by this.
    divisor: u64,
}

impl Reserve {
    /// Returns the files that POP3 leaves to LMTP, the admin endpoint and the database.
    pub fn of_pop3(config: &Config) -> Self {
        Self {
            files: LEFT_TO_OTHERS + u64::from(config.lmtp.sessions()),
            divisor: POP3_RESERVE_DIVISOR,
        }
    }

    /// Returns the files that LMTP leaves to the admin endpoint and the database.
    pub fn of_lmtp() -> Self {
        Self {
            files: LEFT_TO_OTHERS,
            divisor: LMTP_RESERVE_DIVISOR,
        }
    }

    /// Returns true if this connection leaves the reserve untouched.
    pub fn is_left_by(self, connection: &impl AsFd) -> bool {
        let number = connection.as_fd().as_raw_fd().unsigned_abs();
        let limit = getrlimit(Resource::Nofile).current;
        limit.is_none_or(|limit| u64::from(number) < self.first(limit))
    }

    /// Holds a connection until there is room for it outside the reserve. Calls `complain` before
    /// each wait.
    pub async fn wait_for_room(self, held: OwnedFd, complain: impl Fn()) -> OwnedFd {
        loop {
            complain();
            tokio::time::sleep(RETRY_INTERVAL).await;
            // The copy has the lowest free number. It takes the place of the connection, which
            // would otherwise keep its number in the reserve.
            if let Ok(copy) = held.try_clone()
                && self.is_left_by(&copy)
            {
                return copy;
            }
        }
    }

    /// Returns the first file number of the reserve.
    fn first(self, limit: u64) -> u64 {
        limit - self.files.min(limit / self.divisor)
    }
}

/// The reason in the log when a connection waits.
pub const NO_ROOM: &str = "the files that may still be opened are kept for others; raise \
    LimitNOFILE (systemd) or ulimit -n, or lower Pop3__MaxConnections";

/// Raises the soft limit to the hard limit, and warns if that is too low for the
/// connections that the settings allow.
pub fn raise(config: &Config) {
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
    if let Some(limit) = limit.filter(|limit| needed(config).is_some_and(|it| it > *limit)) {
        tracing::warn!(
            limit,
            "Pop3__MaxConnections={} can't be reached: the system allows fewer open \
             files; raise LimitNOFILE (systemd) or ulimit -n",
            config.pop3.max_connections
        );
    }
}

/// Returns the hard limit of open files.
pub fn highest_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Returns how many files the settings may need; `None` if the number of connections has no
/// limit.
pub fn needed(config: &Config) -> Option<u64> {
    let pop3 = config.pop3.max_connections;
    (pop3 > 0).then(|| u64::from(pop3) + u64::from(config.lmtp.sessions()) + OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_need_a_file_each_and_the_server_some_beside_them() {
        let mut config = Config::default();
        config.pop3.max_connections = 900;
        assert_eq!(needed(&config), Some(1000));
        config.lmtp.port = 24;
        config.lmtp.max_connections = 50;
        assert_eq!(needed(&config), Some(1050));
        config.pop3.max_connections = 0;
        assert_eq!(needed(&config), None, "no limit, no promise");
    }

    #[test]
    fn what_the_settings_promise_leaves_the_reserve_untouched() {
        let mut config = Config::default();
        config.lmtp.port = 24;
        let reserve = Reserve::of_pop3(&config);
        let limit = needed(&config).unwrap();
        assert!(reserve.first(limit) > config.pop3.max_connections.into());
        assert_eq!(Reserve::of_lmtp().first(limit), limit - LEFT_TO_OTHERS);
        let of_a_low_limit = [reserve, Reserve::of_lmtp()].map(|it| it.first(200));
        assert_eq!(of_a_low_limit, [150, 175]);
    }

    #[tokio::test]
    async fn a_connection_that_waits_for_room_gets_the_number_that_became_free() {
        let open = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let held = open();
        let reserve = Reserve {
            files: 0,
            divisor: 1,
        };
        assert!(reserve.is_left_by(&held));
        let moved = reserve.wait_for_room(held, || {}).await;
        assert!(reserve.is_left_by(&moved));
    }
}
