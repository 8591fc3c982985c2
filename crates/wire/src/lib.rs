//! What POP3 and LMTP share on the wire.
//!
//! Lines as they come from the network, byte-stuffing and its inverse, canonical line ends, and
//! secrets. Nothing in this crate does I/O, knows the time or knows a command.

mod canonical;
mod line;
#[cfg(test)]
mod pieces;
mod secret;
mod stuffing;
mod unstuffing;

pub use canonical::Canonical;
pub use line::{Line, LineBuffer};
pub use secret::Secret;
pub use stuffing::Stuffing;
pub use unstuffing::Unstuffing;
