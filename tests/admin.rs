//! What whoever runs the server sees of it and does to it.

mod access;
mod accounts;
mod commands;
mod fuzz;
mod health;
mod log;
mod metrics;
mod monitoring;
mod page;
mod revoking;
mod sessions;

use std::net::SocketAddr;

use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::postgres::free_port;

/// A server with its admin endpoint.
struct Watched {
    daemon: Daemon,
    admin: Http,
}

impl Watched {
    /// Starts one on this database, with further settings.
    fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut all = vec![("Admin__Port", port.to_string())];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Self {
            daemon: Daemon::start_with(url, &all),
            admin: Http::new(SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }
}
