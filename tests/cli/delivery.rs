//! `restante deliver`, as an MTA calls it.

use std::path::Path;

use super::{deliver, deliver_with, maildrop};
use crate::support::mail::{ADA, message};
use crate::support::place::{on_each_blocking, sqlite};
use crate::support::postgres::free_port;
use crate::support::{cli, run};

#[test]
fn what_is_delivered_is_there_as_it_will_be_sent() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com --alias a@example.com").ok();
        let large = message(7, 3_000_000);
        let eight_bit = b"Subject: \xe4\0\nand a bare \r in it\n\n.\n..";
        assert_eq!(deliver(place, "A@Example.com", eight_bit).ok(), "");
        assert_eq!(deliver(place, ADA, &large).ok(), "");
        cli::run(&place.url, "user disable ada@example.com").ok();
        assert_eq!(deliver(place, ADA, b"to whom it may concern").ok(), "");
        let expected: [&[u8]; 3] = [
            b"Subject: \xe4\0\r\nand a bare \r in it\r\n\r\n.\r\n..\r\n",
            &large,
            b"to whom it may concern\r\n",
        ];
        assert!(maildrop(place, ADA) == expected);
    });
}

#[test]
fn an_mta_learns_what_to_do_with_a_message_that_was_not_stored() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let unknown = deliver(place, "eve@example.com", b"hello").failed(67);
        assert!(unknown.contains("no user eve@example.com"), "{unknown}");
        for nothing in ["nobody", "", "@"] {
            deliver(place, nothing, b"hello").failed(67);
        }
        let empty = deliver(place, ADA, b"").failed(65);
        assert!(empty.contains("is empty"), "{empty}");
        assert!(maildrop(place, ADA).is_empty());
    });
}

/// What an MTA's pipe hands on, and what is to come out of it.
const PIPED: [(&str, &str); 8] = [
    (
        "From bob@example.com Mon Jan  1 00:00:00 2024\nSubject: piped\n\nhi\n",
        "Return-Path: <bob@example.com>\r\nSubject: piped\r\n\r\nhi\r\n",
    ),
    (
        ">From bob@example.com  Mon Jan  1 00:00:00 2024\r\nSubject: piped\r\n\r\nhi\r\n",
        "Return-Path: <bob@example.com>\r\nSubject: piped\r\n\r\nhi\r\n",
    ),
    (
        "From MAILER-DAEMON Mon Jan  1 00:00:00 2024\nSubject: bounce\n\nFrom me Jan 1 00:00\n",
        "Return-Path: <>\r\nSubject: bounce\r\n\r\nFrom me Jan 1 00:00\r\n",
    ),
    (
        "From - Mon Jan  1 00:00:00 2024\nSubject: saved\n\nhi\n",
        "Subject: saved\r\n\r\nhi\r\n",
    ),
    (
        "From bob@example.com Mon Jan  1 00:00:00 2024\nReturn-Path: <eve@example.com>\n\nhi\n",
        "Return-Path: <eve@example.com>\r\n\r\nhi\r\n",
    ),
    (
        "From bob@example.com Mon Jan  1 00:00:00 2024\nhi",
        "Return-Path: <bob@example.com>\r\nhi\r\n",
    ),
    ("From here on it is text.\n", "From here on it is text.\r\n"),
    ("Subject: x\n\n>From me\n", "Subject: x\r\n\r\n>From me\r\n"),
];

#[test]
fn the_from_line_of_a_pipe_becomes_the_return_path() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        for (piped, _) in PIPED {
            deliver(place, ADA, piped.as_bytes()).ok();
        }
        let body = message(7, 3_000_000);
        let line = b"From bob@example.com Mon Jan  1 00:00:00 2024\n";
        deliver(place, ADA, &[line, &body[..]].concat()).ok();
        let mut expected: Vec<Vec<u8>> = PIPED
            .iter()
            .map(|(_, out)| out.as_bytes().to_vec())
            .collect();
        expected.push([b"Return-Path: <bob@example.com>\r\n", &body[..]].concat());
        assert!(maildrop(place, ADA) == expected);
        let empty = deliver(place, ADA, line).failed(65);
        assert!(empty.contains("is empty"), "{empty}");
    });
}

#[test]
fn an_mta_keeps_the_message_when_the_server_is_set_up_wrongly() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let taken = free_port();
    let nobody_there = format!("postgres://u:hunter2@127.0.0.1:{taken}/db");
    let file = place.folder.path().join("restante.toml");
    std::fs::write(&file, "[Pop3]\nProt = 110\n").unwrap();
    let missing = place.folder.path().join("missing.toml");
    for (name, value, words) in [
        ("Pop3__Prot", "110", "did you mean Pop3__Port?"),
        ("Pop3__SessionTimeout", "soon", "is not a duration"),
        (
            "Database__Url",
            "mysql://db/restante",
            "database URL begins with",
        ),
        (
            "Database__Url",
            "sqlite:///dev/null/restante.db",
            "/dev/null",
        ),
        (
            "Database__Url",
            &format!("sqlite://{}", place.folder.path().display()),
            "can't be opened",
        ),
        ("Database__Url", &nobody_there, "can't be opened"),
        ("Log__Level", "=loud", "Log__Level"),
    ] {
        let outcome = deliver_with(&place, ADA, b"hello").env(name, value).run();
        let error = outcome.failed(75);
        assert!(
            error.contains(words) && !error.contains("hunter2"),
            "{name}={value}: {error}"
        );
    }
    for file in [&file, &missing] {
        let outcome = deliver_with(&place, ADA, b"hello")
            .args([Path::new("--config"), file])
            .run();
        outcome.failed(75);
    }
    assert!(maildrop(&place, ADA).is_empty());
}

#[test]
fn an_mta_keeps_the_message_while_the_database_is_locked() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    run(async || {
        let sql = place.sql().await;
        sql.run("BEGIN IMMEDIATE").await;
        let locked = deliver(&place, ADA, b"hello").failed(75);
        assert!(locked.contains("locked"), "{locked}");
    });
    assert!(maildrop(&place, ADA).is_empty());
    deliver(&place, ADA, b"hello").ok();
}
