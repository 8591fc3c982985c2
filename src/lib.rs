//! Restante: a POP3 server that serves maildrops from a database.
//!
//! `docs/ARCHITECTURE.md` tells how the parts work together.

pub mod accounts;
pub mod admin;
pub mod cli;
pub mod demo_mail;
pub mod exports;
#[cfg(test)]
mod faults;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod identity;
pub mod lmtp;
pub mod log_throttle;
pub mod login_throttle;
pub mod mailbox;
pub mod maintenance;
pub mod metrics;
pub mod net;
pub mod networks;
pub mod open_files;
pub mod registry;
mod revocation;
pub mod server;
pub mod session;
pub mod settings;
pub mod sources;
pub mod store;
pub mod supervision;
pub mod telemetry;
pub mod tls;
