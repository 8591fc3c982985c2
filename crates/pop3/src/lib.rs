//! The Post Office Protocol, version 3, as a value.
//!
//! A [`Session`] is the state of one conversation. [`Session::receive`] takes it and one line, and
//! returns a [`Step`] that says what to do: send a reply, look up who logs in, fetch a message,
//! commit deletions, close. Whoever calls does it and hands the outcome back to the step, which
//! owns the session meanwhile. Nothing in this crate does I/O, knows the time or sends a message.
//!
//! RFC 1939 is the protocol, RFC 2449 its extension mechanism, RFC 2595 STLS, RFC 5034 AUTH,
//! RFC 3206 the response codes.

mod capability;
mod command;
mod listing;
mod reply;
mod sasl;
mod session;
mod snapshot;
mod top;

pub use capability::IMPLEMENTATION;
pub use command::{Command, SyntaxError, Verb};
pub use listing::Listing;
pub use reply::{Reply, ResponseCode};
pub use sasl::{
    BadVerifier, Candidates, ChannelBinding, MAX_RESPONSE_OCTETS, Mechanism, Mechanisms, Verifier,
};
pub use session::{
    Access, Authorization, Challenge, Commit, Credentials, Limits, Login, LoginRefusal,
    MAX_LOGIN_FAILURES, Part, Policy, Retrieve, RetrieveRefusal, Session, Step, Transaction,
    VerifierLookup,
};
pub use snapshot::{InvalidUniqueId, Marks, MessageNumber, Snapshot, SnapshotError, UniqueId};
pub use top::Top;
