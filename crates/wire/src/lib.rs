//! The common parts of POP3 and LMTP on the wire.
//!
//! Lines of a stream, byte-stuffing and its inverse, canonical line ends, and
//! secrets. Nothing in this crate does I/O, knows the time or knows a command.

mod canonical;
mod lenient_unstuffing;
mod line;
#[cfg(test)]
mod pieces;
mod secret;
mod stuffing;
mod unstuffing;

pub use canonical::Canonical;
pub use lenient_unstuffing::LenientUnstuffing;
pub use line::{Line, LineBuffer};
pub use secret::Secret;
pub use stuffing::Stuffing;
pub use unstuffing::Unstuffing;
