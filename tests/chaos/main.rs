//! `just chaos`: servers and commands are killed, frozen and cut off while mail comes and goes, and
//! what was promised is looked for in the database. Not in CI: it takes as long as it is told.
//!
//!     cargo test --bench chaos -- SECONDS [SEED]
//!
//! Each kind of database has a thread of its own. Its seed decides which rounds there are and what is
//! done in them, but not when a process gets to run: so a seed repeats the plan of a campaign, and its
//! outcome mostly.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a campaign that can't go on has failed, and prints what it does"
)]

mod campaign;
mod dice;
mod ledger;
mod load;
mod rounds;
mod wire;

#[allow(dead_code, reason = "the tests use what this does not")]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use campaign::Campaign;
use dice::Dice;
use support::place;

/// How long it takes unless told.
const SECONDS: u64 = 300;

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let seconds = numbers.first().copied().unwrap_or(SECONDS);
    let seed = numbers.get(1).copied().unwrap_or_else(Dice::any_seed);
    println!("{seconds} seconds of chaos, seed {seed}");
    let until = Instant::now() + Duration::from_secs(seconds);
    let campaigns = place::everywhere().into_iter().map(|place| {
        let name = format!("{:?}", place.kind);
        let thread = std::thread::Builder::new().name(name.clone());
        let campaign = thread.spawn(move || Campaign::new(place, Dice::new(seed)).run(until));
        (name, campaign.unwrap())
    });
    let mut broken = 0;
    for (name, campaign) in campaigns.collect::<Vec<_>>() {
        match campaign.join() {
            Ok(told) => println!("{name}: {told}"),
            Err(_) => {
                println!("{name}: an invariant is broken, see above (seed {seed})");
                broken += 1;
            }
        }
    }
    ExitCode::from(u8::from(broken > 0))
}
