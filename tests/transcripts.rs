//! Plays the conversations in `tests/transcripts`: a test for each file and each player.
//!
//! `pure::NAME` plays on the protocol by itself, `sqlite::NAME` over TCP on SQLite, `postgresql::NAME`
//! inside TLS on PostgreSQL. `cargo test --test transcripts NAME` runs those of one file. Files are found
//! when the tests begin, so a new one needs no compiler.
//!
//! A file is one behaviour, and its name says which. Its first line cites the clause; then come
//! what is given and what is said:
//!
//! ```text
//! # RFC 1939 section 5: what this shows.
//! given two_messages                   logged in, unless: given two_messages, not logged in
//! over the wire only                   not on the pure session
//! in clear only                        or: inside TLS only
//! setting Pop3__PlaintextAuth=never    instead of the default
//! no certificate
//! C: LIST 1                            a line of the client
//! C> "NO" "x"*3 "OP\r\n"               octets of the client
//! C: <tls>                             the client shakes hands
//! C: <scram NAME KEY>                  it proves a key by SCRAM; the last reply is still to come
//! S: +OK *                             a line of the server; a final * is any rest
//! S (3 times): -ERR *
//! S> "..\r\n"                          octets of the server
//! S: <closed>                          the server has closed the connection
//! 2.C: STAT                            a second connection, which begins here
//! deliver two                          one more message arrives
//! pause 20ms                           nothing happens for so long
//! storage fails                        until: storage works
//! storage loses the messages           their octets, but not their numbers
//! deleted 1 3                          what storage lost in the end; nothing unless said
//! ```
//!
//! `{address}`, `{ADDRESS}`, `{name}` (the address without its domain), `{alias}`, `{key}`, `{KEY}`,
//! `{key name}`, `{second key}` (of the same user), `{short key}`, `{SHORT KEY}`, `{another key}` (of
//! another user) and `{uid 1}` stand for what the player has, and `base64(\0{address})` for that in
//! base64. When a file ends, each connection is closed without QUIT, and the server must have nothing
//! more to say.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed, and a panic says where"
)]

mod players;
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod scram;
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod served;
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};

use crate::players::playing::play;
use crate::players::pure::Pure;
use crate::players::transcript::{Network, Transcript, name};
use crate::players::wire::Servers;
use crate::support::place;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sqlite = Arc::new(Mutex::new(Servers::new(|| Some(place::sqlite()))));
    let postgresql = Arc::new(Mutex::new(Servers::new(place::postgres)));
    // A server plays one transcript at a time, so the tests of its players take turns.
    let trials = files()
        .into_iter()
        .flat_map(|file| match Transcript::read(&file) {
            Ok(transcript) => trials(transcript, &sqlite, &postgresql),
            Err(why) => vec![Trial::test(name(&file), || Err(why.into()))],
        });
    let trials = trials.collect();
    // The servers end with the last test of each.
    drop((sqlite, postgresql));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All transcripts, by name.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "there are no transcripts");
    files
}

/// The tests of a transcript: one for each player that can play it.
fn trials(
    transcript: Transcript,
    sqlite: &Arc<Mutex<Servers>>,
    postgresql: &Arc<Mutex<Servers>>,
) -> Vec<Trial> {
    let transcript = Arc::new(transcript);
    let mut trials = Vec::new();
    if !transcript.over_the_wire_only {
        let name = format!("pure::{}", transcript.name);
        let transcript = Arc::clone(&transcript);
        trials.push(Trial::test(name, move || {
            Ok(play(&transcript, &mut Pure::new(&transcript))?)
        }));
    }
    if transcript.network != Some(Network::Tls) {
        trials.push(on_server("sqlite", &transcript, sqlite, Network::Clear));
    }
    if transcript.network != Some(Network::Clear) {
        trials.push(on_server(
            "postgresql",
            &transcript,
            postgresql,
            Network::Tls,
        ));
    }
    trials
}

fn on_server(
    player: &str,
    transcript: &Arc<Transcript>,
    servers: &Arc<Mutex<Servers>>,
    network: Network,
) -> Trial {
    let (transcript, servers) = (Arc::clone(transcript), Arc::clone(servers));
    Trial::test(format!("{player}::{}", transcript.name), move || {
        let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        match servers.player(&transcript, network) {
            Some(mut player) => Ok(play(&transcript, &mut player)?),
            // A line on stderr has said so.
            None => Ok(()),
        }
    })
}
