//! The Local Mail Transfer Protocol as a value, on the server's side.
//!
//! [`Session::receive`] takes the state of a session and one line, and returns a [`Step`] that says
//! what to do: send a reply, look up a recipient, receive a message, close. The caller does it and
//! hands the outcome back to the step, which owns the session meanwhile. Nothing in this crate does I/O, knows the time or sends a message.
//!
//! RFC 2033 is the protocol, on top of RFC 5321; RFC 1870 SIZE, RFC 2034 the enhanced status codes,
//! RFC 2920 PIPELINING, RFC 3030 CHUNKING, RFC 6152 8BITMIME, RFC 6531 SMTPUTF8.

mod address;
mod command;
mod reply;
mod session;

pub use address::{Address, ReversePath, is_address_literal, unquote};
pub use reply::Reply;
pub use session::{
    Answer, Chunk, Envelope, Incoming, Lookup, MAX_LINE_OCTETS, MAX_RECIPIENT_OCTETS,
    MAX_RECIPIENTS, Rules, Session, Step,
};
