//! `restante export`, and that an import of what was exported has the same octets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use super::{deliver, maildrop};
use crate::support::daemon::{Daemon, signal};
use crate::support::mail::{ADA, BOB, fill, message};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::{cli, eventually};

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

/// Mail is for nobody else's eyes.
fn assert_private(path: &Path) {
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}", path.display());
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            assert_private(&entry.unwrap().path());
        }
    }
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
            assert_private(&path);
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

#[test]
fn a_maildir_says_what_uidl_called_each_message_and_files_have_the_time_of_receipt() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100), message(2, 100)]);
    export(&place, "maildir", "maildir").run().ok();
    export(&place, "eml", "eml").run().ok();
    let folder = place.folder.path();
    let list = std::fs::read_to_string(folder.join("maildir/dovecot-uidlist")).unwrap();
    let daemon = Daemon::start(&place.url);
    let mut client = daemon.login(ADA, &key);
    let unique_ids = String::from_utf8(client.body("UIDL")).unwrap();
    let (head, lines) = list.split_once('\n').unwrap();
    assert!(head.starts_with("3 V") && head.contains(" N3 G"), "{list}");
    for (line, said) in lines.lines().zip(unique_ids.lines()) {
        let (number, unique_id) = said.split_once(' ').unwrap();
        let file = line
            .strip_prefix(&format!("{number} P{unique_id} :"))
            .unwrap();
        let received = 1_700_000_000 + number.parse::<u64>().unwrap() - 1;
        let files = [
            format!("maildir/cur/{file}:2,"),
            format!("eml/00000{number}.eml"),
        ];
        for file in files {
            let modified = std::fs::metadata(folder.join(file)).unwrap().modified();
            let since = modified.unwrap().duration_since(std::time::UNIX_EPOCH);
            assert_eq!(since.unwrap().as_secs(), received);
        }
    }
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let place = sqlite();
    let large = message(1, 8_000_000);
    fill(&place.url, ADA, &vec![large; 20]);
    let folder = place.folder.path();
    let names = || -> Vec<_> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    for (format, name) in [("mbox", "INT"), ("maildir", "TERM")] {
        let mut child = cli::restante()
            .env("Database__Url", &place.url)
            .args(["export", ADA, "--format", format])
            .arg(folder.join("exported"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It has begun to write, under another name.
        eventually("the export to begin", || (names().len() > 1).then_some(()));
        signal(child.id(), name);
        assert_eq!(cli::wait(&mut child), Some(1));
        assert_eq!(names(), ["mail"]);
    }
}
