//! `restante export`, and that an import of what was exported has the same octets.

use std::os::unix::fs::PermissionsExt;

use super::{deliver, maildrop};
use crate::support::cli;
use crate::support::mail::{ADA, BOB, message};
use crate::support::place::{Place, on_each_blocking, sqlite};

/// Messages that a careless writer or reader of files would spoil.
fn nasty() -> Vec<Vec<u8>> {
    let long = [b"Subject: long\n\n".to_vec(), vec![b'x'; 100_000]].concat();
    vec![
        b"Subject: dots\n\n.\n..\n.From\n".to_vec(),
        b"Subject: from\n\nFrom me\n>From me\n>>From me\nFrom\n\nFrom the end\n".to_vec(),
        b"From the first line on\nSubject: odd\n\n".to_vec(),
        b"Subject: octets\n\n\0\x80\xff\x1a\n\xe4\n".to_vec(),
        b"Subject: returns\n\na\rb\r\r\nc\r\r\r\n\r\r\n".to_vec(),
        b"no header and no end".to_vec(),
        b"\n\n\n".to_vec(),
        b"Return-Path: <bob@example.org>\nSubject: twice\n\nhello\n".to_vec(),
        b"Return-Path: <bob@example.org>\nSubject: twice\n\nhello\n".to_vec(),
        long,
        message(1, 3_000_000),
    ]
}

fn export(place: &Place, name: &str, format: &str) -> cli::Cli {
    let path = place.folder.path().join(name);
    let path = path.to_str().unwrap();
    cli::Cli::new(&place.url).args(["export", ADA, path, "--format", format])
}

#[test]
fn an_import_of_an_export_has_the_same_octets_in_the_same_order() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        for message in nasty() {
            deliver(place, ADA, &message).ok();
        }
        let original = maildrop(place, ADA);
        let count = original.len();
        for format in ["mbox", "maildir", "eml"] {
            let exported = export(place, format, format).run().ok();
            assert_eq!(exported, format!("{count} messages exported\n"));
            let path = place.folder.path().join(format);
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "mail is for nobody else's eyes");
            cli::run(&place.url, "user add bob@example.com").ok();
            let imported = cli::Cli::new(&place.url)
                .args(["import", BOB, path.to_str().unwrap()])
                .run();
            assert_eq!(imported.code, Some(0), "{imported:?}");
            assert!(maildrop(place, BOB) == original, "{format}");
            cli::run(&place.url, "user remove bob@example.com").ok();
        }
    });
}

#[test]
fn nothing_that_exists_is_overwritten_and_nothing_incomplete_is_left() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    deliver(&place, ADA, b"hello").ok();
    let folder = place.folder.path();
    std::fs::write(folder.join("file"), "mine").unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("link")).unwrap();
    for format in ["mbox", "maildir", "eml"] {
        for name in ["file", "folder", "link"] {
            let refused = export(&place, name, format).run().failed(1);
            assert!(
                refused.contains("exists already, and is not overwritten"),
                "{refused}"
            );
        }
        let refused = export(&place, "missing/mail", format).run().failed(1);
        assert!(
            refused.contains("missing/mail can't be written"),
            "{refused}"
        );
    }
    let refused = cli::run(&place.url, "export eve@example.com /tmp/never").failed(1);
    assert!(refused.contains("no user eve@example.com"), "{refused}");
    // The octets of the message are lost, so the export breaks off.
    crate::support::run(async || {
        place
            .sql()
            .await
            .run("UPDATE messages SET octets = 9000")
            .await;
    });
    for format in ["mbox", "maildir", "eml"] {
        let refused = export(&place, "broken", format).run().failed(1);
        assert!(refused.contains("not all in the database"), "{refused}");
    }
    let mut left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["file", "folder", "link", "mail"]);
    assert_eq!(std::fs::read(folder.join("file")).unwrap(), b"mine");
}

#[test]
fn an_empty_maildrop_is_exported_as_nothing() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    for format in ["mbox", "maildir", "eml"] {
        let exported = export(&place, format, format).run().ok();
        assert_eq!(exported, "0 messages exported\n");
        assert!(place.folder.path().join(format).exists());
    }
}
