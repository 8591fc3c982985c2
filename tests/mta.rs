//! Debian's real Postfix and Exim, and swaks, in front of the real server.
//!
//! Each test runs a mail server of its own on loopback, in a folder of its own, with the very
//! lines that `docs/MTA.md` recommends: a recipe that stops working fails here.

mod exim;
mod guard;
mod keeping;
mod nasty;
mod postfix;
mod recipes;
mod refusing;
mod senders;
mod site;
mod smtp;
mod trying;

use std::io::Write;
use std::path::Path;

/// Whether a program is there; says so where it isn't.
fn is_there(program: &Path) -> bool {
    if !program.exists() {
        tell(&format!("skipped, no {} found", program.display()));
    }
    program.exists()
}

/// Whether a mail server is there that changes users, which only root can.
fn is_there_for_root(program: &Path) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        tell("skipped, they run as root only");
    }
    root && is_there(program)
}

/// Says something that is worth reading also when all is well.
fn tell(what: &str) {
    // Not eprint!, which the test harness swallows while tests pass.
    let text = format!("tests of mail servers: {what}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}
