//! The admin endpoint, as operators use it.

mod access;
mod accounts;
mod commands;
mod fuzz;
mod health;
mod health_listener;
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

/// What is asked for unless a test says something else.
const TOKEN: &str = "open sesame";

/// A server with its admin endpoint.
struct Watched {
    daemon: Daemon,
    /// It shows the token, unless the test has set one of its own.
    admin: Http,
}

impl Watched {
    /// Starts one on this database, with further settings.
    fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut all = vec![("Admin__Port", port.to_string())];
        let is_set = settings
            .iter()
            .any(|(name, _)| name.starts_with("Admin__Token"));
        let mut admin = Http::new(SocketAddr::from(([127, 0, 0, 1], port)));
        if !is_set {
            all.push(("Admin__Token", TOKEN.to_owned()));
            admin = admin.with("Authorization", &format!("Bearer {TOKEN}"));
        }
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
            admin,
        }
    }
}
