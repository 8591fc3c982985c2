//! `restante import`.

use std::path::Path;

use super::{file, maildrop};
use crate::support::cli::{self, Cli, Outcome};
use crate::support::mail::ADA;
use crate::support::place::{Place, on_each_blocking, sqlite};

/// Four messages, one of them twice. Their dates are not in the order of the file.
const MBOX: &str = "\
From ada@example.com Thu Jan  1 00:00:30 2026
Subject: one

>From the sea
.

From ada@example.com Thu Jan  1 00:00:20 2026
Subject: two

From ada@example.com Thu Jan  1 00:00:10 2026
Subject: three

From ada@example.com Thu Jan  1 00:00:40 2026
Subject: two

";

/// The From_ line of further messages.
const FROM: &str = "From ada@example.com Thu Jan  1 00:00:50 2026\n";

#[test]
fn an_mbox_is_imported_once_however_often_it_is_tried() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let mbox = file(place, "mbox", MBOX);
        let summary = import(place, &mbox, &["--dry-run"]).ok();
        assert_eq!(
            summary,
            "4 messages to be imported, 0 already there, 0 deleted since, 0 skipped\n\
             4 messages would be fetched again by clients of the old server\n"
        );
        assert!(maildrop(place, ADA).is_empty());
        let summary = import(place, &mbox, &[]).ok();
        assert_eq!(
            summary,
            "4 messages imported, 0 already there, 0 deleted since, 0 skipped\n\
             4 messages will be fetched again by clients of the old server\n"
        );
        let there = "0 messages imported, 4 already there, 0 deleted since, 0 skipped\n\
             4 messages will be fetched again by clients of the old server\n";
        assert_eq!(import(place, &mbox, &[]).ok(), there);
        assert_eq!(
            import(place, &mbox, &["--dry-run"]).ok(),
            there
                .replace("imported", "to be imported")
                .replace("will", "would")
        );
        let expected: [&[u8]; 4] = [
            b"Subject: one\r\n\r\nFrom the sea\r\n.\r\n",
            b"Subject: two\r\n",
            b"Subject: three\r\n",
            b"Subject: two\r\n",
        ];
        assert_eq!(maildrop(place, ADA), expected);
        // Of one more copy, one more is imported.
        let more = file(place, "more", &format!("{MBOX}{FROM}Subject: two\n"));
        assert_eq!(
            import(place, &more, &[]).ok(),
            "1 messages imported, 4 already there, 0 deleted since, 0 skipped\n\
             5 messages will be fetched again by clients of the old server\n"
        );
    });
}

#[test]
fn an_import_says_what_it_skipped_and_why() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let mbox = file(
        &place,
        "mbox",
        &format!("{MBOX}{FROM}\n{FROM}Subject: six\n"),
    );
    let outcome = import(&place, &mbox, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(
        outcome.stdout,
        "5 messages imported, 0 already there, 0 deleted since, 1 skipped\n\
             5 messages will be fetched again by clients of the old server\n"
    );
    let where_it_is = format!(
        "skipped mbox {}, message 5 (octet {})",
        mbox.display(),
        MBOX.len()
    );
    assert_eq!(
        outcome.stderr,
        format!("{where_it_is}: the message is empty\n")
    );

    let folder = place.folder.path().join("letters");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.eml"), "Subject: seven\n").unwrap();
    std::fs::write(folder.join("b.eml"), "").unwrap();
    std::fs::write(folder.join("c\x1b[31m.txt"), "notes").unwrap();
    let outcome = import(&place, &folder, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(
        outcome.stdout,
        "1 messages imported, 0 already there, 0 deleted since, 2 skipped\n\
             1 messages will be fetched again by clients of the old server\n"
    );
    let skipped: Vec<_> = outcome.stderr.lines().collect();
    assert!(
        skipped[0].ends_with("b.eml: the file is empty"),
        "{skipped:?}"
    );
    assert!(skipped[1].ends_with("does not end in .eml"), "{skipped:?}");
    assert!(!outcome.stderr.contains('\x1b'), "{outcome:?}");
}

#[test]
fn every_form_of_mail_can_be_imported() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let eml = file(&place, "letter.eml", "Subject: eml\n");
    let maildir = place.folder.path().join("Maildir");
    for folder in ["cur", "new", "tmp", ".Sent/cur"] {
        std::fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    for (name, subject) in [
        ("cur/1:2,S", "cur"),
        ("new/2", "new"),
        (".Sent/cur/3:2,S", "sent"),
    ] {
        std::fs::write(maildir.join(name), format!("Subject: {subject}\n")).unwrap();
    }
    std::fs::write(maildir.join("tmp/4"), "Subject: half a mess").unwrap();
    assert_eq!(
        import(&place, &eml, &[]).ok(),
        "1 messages imported, 0 already there, 0 deleted since, 0 skipped\n\
             1 messages will be fetched again by clients of the old server\n"
    );
    assert_eq!(
        import(&place, &maildir, &[]).ok(),
        "2 messages imported, 0 already there, 0 deleted since, 0 skipped\n\
             2 messages will be fetched again by clients of the old server\n\
         1 messages in 1 other folders were left out: import them with --folders all\n"
    );
    assert_eq!(
        import(&place, &maildir, &["--folders", "all"]).ok(),
        "1 messages imported, 2 already there, 0 deleted since, 0 skipped\n\
             2 messages will be fetched again by clients of the old server\n\
         1 messages were in subfolders: they are new to clients of POP3\n"
    );
    let mut found: Vec<_> = maildrop(&place, ADA);
    found.sort();
    let expected = ["cur", "eml", "new", "sent"].map(|subject| format!("Subject: {subject}\r\n"));
    assert_eq!(found, expected.map(String::into_bytes));
}

#[test]
fn what_can_not_be_imported_is_said_with_what_was_expected() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let picture = file(&place, "picture.png", "\u{89}PNG");
    let empty = file(&place, "empty", "");
    let missing = place.folder.path().join("missing");
    for (source, words) in [
        (picture.to_str().unwrap(), "is no mail: expected an mbox"),
        (empty.to_str().unwrap(), "it is empty"),
        (missing.to_str().unwrap(), "does not exist"),
        (
            place.folder.path().to_str().unwrap(),
            "holds no message: expected a Maildir",
        ),
        ("/dev/null", "neither a file nor a folder"),
    ] {
        let error = import(&place, Path::new(source), &[]).failed(1);
        assert!(error.contains(words), "{error}");
    }
    let eve = Cli::new(&place.url)
        .args(["import", "eve@example.com", "/dev/null"])
        .run();
    assert!(eve.failed(1).contains("no user eve@example.com"));
}

fn import(place: &Place, source: &Path, options: &[&str]) -> Outcome {
    let cli = Cli::new(&place.url).args(["import", ADA]).args([source]);
    cli.args(options).run()
}
