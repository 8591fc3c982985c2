//! The commands, as operators type them: effects, output and exit status.

mod accounts;
mod delivery;
mod export;
mod import;
mod restore;
mod serve;
mod settings;

use std::path::PathBuf;
use std::process::Stdio;

use pop3::MessageNumber;
use restante::accounts::Accounts;

use crate::support::cli::{self, Cli, Outcome};
use crate::support::mail::octets;
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::run;

#[test]
fn migrate_says_what_it_did() {
    on_each_blocking(|place| {
        let first = cli::run(&place.url, "migrate").ok();
        assert!(
            first.ends_with(" schema changes applied, the schema is up to date\n"),
            "{first}"
        );
        assert!(!first.starts_with("0 "), "{first}");
        let again = "0 schema changes applied, the schema is up to date\n";
        assert_eq!(cli::run(&place.url, "migrate").ok(), again);
    });
}

#[test]
fn the_program_tells_its_version_and_its_commands() {
    let version = cli::run("sqlite://unused", "--version").ok();
    assert_eq!(version, format!("restante {}\n", env!("CARGO_PKG_VERSION")));
    let help = cli::run("sqlite://unused", "--help").ok();
    for command in [
        "serve", "demo", "user", "key", "deliver", "import", "export", "restore", "migrate",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let unknown = cli::run("sqlite://unused", "serv");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("'serve'"), "{unknown:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    for arguments in [["user", "list", "--json"].as_slice(), &["user", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = cli::restante();
        command
            .args(arguments)
            .env("Database__Url", &place.url)
            .stdout(writer);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

fn deliver_with(place: &Place, address: &str, message: &[u8]) -> Cli {
    Cli::new(&place.url)
        .args(["deliver", address])
        .stdin(message)
}

fn deliver(place: &Place, address: &str, message: &[u8]) -> Outcome {
    deliver_with(place, address, message).run()
}

/// Writes a file beside the database.
fn file(place: &Place, name: &str, text: &str) -> PathBuf {
    let file = place.folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// What a user's messages say, the oldest first.
fn maildrop(place: &Place, address: &str) -> Vec<Vec<u8>> {
    run(async || {
        let user = Accounts::new(place.open().await)
            .find(address)
            .await
            .unwrap();
        let store = place.server().await;
        let maildrop = store.open(user, 0).await.unwrap();
        let mut messages = Vec::new();
        for number in (1..).map_while(MessageNumber::new) {
            let Some(content) = maildrop.stored(number) else {
                break;
            };
            messages.push(octets(&store, content).await);
        }
        messages
    })
}
