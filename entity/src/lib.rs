//! The tables of Restante's own schema as types.
//!
//! Times are milliseconds since 1970 in UTC, so that both databases keep and compare them alike.
//! `tests/schema.rs` keeps these types equal to the tables that the migration makes.

pub mod address;
pub mod api_key;
pub mod chunk;
pub mod clock_check;
pub mod content;
pub mod deleted_message;
pub mod deletion;
pub mod deletion_batch;
pub mod imported_message;
pub mod message;
pub mod pending_content;
pub mod relate;
pub mod remote_lease;
pub mod scram;
pub mod server;
pub mod trace_header;
pub mod user;
