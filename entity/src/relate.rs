//! The tables of a Relate Mail database that Restante reads, and its own tables beside them.
//!
//! Relate's are in the schema `public`, with the columns that are read alone; Restante's are in the
//! schema `restante`. Ids are UUIDs, and times have a time zone.

pub mod api_key;
pub mod applied_migration;
pub mod attachment;
pub mod composed_mail;
pub mod email;
pub mod hidden_mail;
pub mod key_verifier;
pub mod recipient;
pub mod scram;
pub mod unique_id;
pub mod user;
pub mod user_address;
