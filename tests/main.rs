//! Tests of Restante's behaviour from outside.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed, and a panic says where"
)]

mod accounts;
mod admin;
mod architecture;
mod cli;
mod clients;
mod crash;
mod disk;
mod documents;
mod isolation;
mod limits;
mod lmtp;
mod moving;
mod mta;
mod process;
mod protocol;
mod relate;
mod sasl;
mod schema;
mod scram;
mod served;
mod store_contract;
mod support;
mod tls;
