//! Restante: a POP3 server that serves maildrops from a database.
//!
//! This is the map of the crate. Modules that the program alone needs are private to it; those that
//! are `pub` are for the tests and benches of this repository. `docs/ARCHITECTURE.md` tells how the
//! parts work together.

// The commands, and the server that `serve` runs.

// The command line: one file for each command. Only here is anything printed.
pub mod cli;
// Sample mail, for `restante demo` and the tests.
pub mod demo_mail;
// Assembles the actors of a server, starts them and stops them.
pub mod server;
// The settings, one line for each, and what a running server reads of them.
pub mod settings;

// Connections.

// LMTP: mail that comes in from an MTA.
mod lmtp;
// Sockets, accepting, transport and the session actor of both protocols.
pub mod net;
// Live sessions, and the limits on their number.
pub mod registry;
// Ends the sessions of revoked keys and disabled users.
mod revocation;
// POP3 sessions: one type for each phase, with login, retrieval and update.
mod session;
// Certificates and handshakes.
pub mod tls;

// Mail and users.

// Users, their addresses and their keys.
pub mod accounts;
// Writes mail out: mbox, Maildir, .eml files.
mod exports;
// From_ lines, of an mbox and of a message that an MTA pipes.
mod from_line;
// The delays after failed logins.
mod login_throttle;
// The mailbox actor: the only door to the store in a running server.
mod mailbox;
// Starts garbage collection at intervals.
mod maintenance;
// Reads mail that is imported: mbox, Maildir, .eml files, other POP3 servers.
mod sources;
// Storage: the traits, and their form over our own schema.
pub mod store;

// What operators see.

// The admin endpoint over HTTP, and its page.
mod admin;
// Limits log lines about frequent events.
mod log_throttle;
// Counters, and their formats.
pub mod metrics;
// Exports traces and metrics over OpenTelemetry.
mod telemetry;

// Tools.

#[cfg(test)]
mod faults;
// What the fuzz targets call.
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
// Random names and keys.
pub mod identity;
// Lists of networks.
mod networks;
// The limit of open files.
pub mod open_files;
// Restarts long-lived actors that end.
mod supervision;
