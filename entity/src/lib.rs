//! The tables of Restante's own schema as types.
//!
//! Times are milliseconds since 1970 in UTC, because both databases then keep and compare them
//! alike.

pub mod address;
pub mod api_key;
pub mod chunk;
pub mod clock;
pub mod content;
pub mod deletion;
pub mod deletion_batch;
pub mod departure;
pub mod head;
pub mod import;
pub mod message;
pub mod remote_lease;
pub mod server;
pub mod unfinished;
pub mod user;
