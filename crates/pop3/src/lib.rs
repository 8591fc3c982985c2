//! The server's side of the Post Office Protocol, version 3, as values.
//!
//! A session has two phases. [`Authorization`] lasts until the client has logged in,
//! [`Transaction`] until QUIT. Each has a method `receive` that takes the state and one line and
//! returns a step that says what to do: send a reply, verify a login, read a message, commit
//! deletions, close. The caller does it and hands the outcome back to the step, which owns the state
//! meanwhile. So no second command can run during a login, no answer can be given twice, and after
//! QUIT there is no state left. Nothing in this crate does I/O, knows the time or sends a message.
//!
//! RFC 1939 is the protocol, RFC 2449 its extension mechanism, RFC 2595 STLS, RFC 5034 AUTH,
//! RFC 3206 the response codes.

mod authorization;
mod capability;
mod command;
mod policy;
mod reply;
mod sasl;
mod snapshot;
mod top;
mod transaction;

pub use authorization::{
    Access, Authorization, AuthorizationStep, Credentials, Login, LoginRefusal, MAX_LOGIN_FAILURES,
    VerifierLookup,
};
pub use capability::IMPLEMENTATION;
pub use command::{Command, SyntaxError, Verb};
pub use policy::{Limits, Policy};
pub use reply::{Reply, ResponseCode};
pub use sasl::{
    BadVerifier, Candidates, ChannelBinding, MAX_RESPONSE_OCTETS, Mechanism, Mechanisms, Verifier,
};
pub use snapshot::{InvalidUniqueId, Marks, MessageNumber, Snapshot, SnapshotError, UniqueId};
pub use top::Top;
pub use transaction::{
    Commit, Listing, Part, Retrieve, RetrieveRefusal, Transaction, TransactionStep,
};

#[cfg(test)]
mod testing;
