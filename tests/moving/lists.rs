//! Files of other servers: their unique-ids, their order, and what is known of them the next time.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{delete, import, maildrop, said};
use crate::support::cli;
use crate::support::daemon::Daemon;
use crate::support::eventually_async;
use crate::support::mail::{ADA, BOB};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;

/// Writes a file that was last changed so many seconds after 2020 began.
fn write(path: &Path, text: &str, seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800 + seconds);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// A Maildir of Dovecot: its order is not that of the files, one unique-id was saved, one message
/// is not listed yet, and two say the same.
fn dovecot(place: &Place) -> PathBuf {
    let path = place.folder.path().join("Maildir");
    write(&path.join("cur/10.M1.host:2,S"), "Subject: one\n", 500);
    write(&path.join("cur/20.M2.host:2,"), "Subject: two\n", 100);
    write(&path.join("new/30.M3.host"), "Subject: twice\n", 300);
    write(&path.join("cur/40.M4.host:2,RS"), "Subject: twice\n", 400);
    write(&path.join("new/50.M5.host"), "Subject: new\n", 600);
    write(
        &path.join(".Sent/cur/60.M6.host:2,S"),
        "Subject: sent\n",
        50,
    );
    let list = "3 V1795385651 N9 G0123456789abcdef\n\
        4 :10.M1.host\n5 P0000abcd :20.M2.host\n7 :30.M3.host\n8 :40.M4.host:2,S\n";
    write(&path.join("dovecot-uidlist"), list, 0);
    path
}

fn subjects(place: &Place) -> Vec<String> {
    let subject = |(_, octets): (String, Vec<u8>)| {
        let text = String::from_utf8(octets).unwrap();
        text.trim().trim_start_matches("Subject: ").to_owned()
    };
    maildrop(place).into_iter().map(subject).collect()
}

#[test]
fn a_maildir_of_dovecot_keeps_its_unique_ids_and_its_order() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let maildir = dovecot(place);
        let maildir = maildir.to_str().unwrap();
        cli::Cli::new(&place.url)
            .args(["deliver", ADA])
            .stdin(b"Subject: newer\r\n")
            .run()
            .ok();
        // Of these, the new one has no unique-id yet, and nobody has fetched what was sent.
        assert_eq!(
            said(import(place, maildir, &["--folders", "all", "--dry-run"])),
            [6, 0, 0, 1]
        );
        assert_eq!(maildrop(place).len(), 1);
        assert_eq!(
            said(import(place, maildir, &["--folders", "all"])),
            [6, 0, 0, 1]
        );
        assert_eq!(
            subjects(place),
            ["sent", "one", "two", "twice", "twice", "new", "newer"]
        );
        let unique_ids = || -> Vec<_> { maildrop(place).into_iter().map(|it| it.0).collect() };
        let before = unique_ids();
        assert_eq!(
            before[1..5],
            [
                "000000046b036933",
                "0000abcd",
                "000000076b036933",
                "000000086b036933"
            ]
        );
        assert_eq!(
            said(import(place, maildir, &["--folders", "all"])),
            [0, 6, 0, 1]
        );
        assert_eq!(unique_ids(), before);

        // What was deleted since stays away, also one of two that say the same.
        delete(place, &["0000abcd", "000000076b036933"]);
        assert_eq!(
            said(import(place, maildir, &["--folders", "all"])),
            [0, 4, 2, 1]
        );
        assert_eq!(
            said(import(place, maildir, &["--folders", "all", "--dry-run"])),
            [0, 4, 2, 1]
        );
        assert_eq!(subjects(place), ["sent", "one", "twice", "new", "newer"]);
    });
}

#[test]
fn what_dovecot_lists_later_gets_its_name_then() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let path = dovecot(place);
        let maildir = path.to_str().unwrap();
        assert_eq!(
            said(import(place, maildir, &["--folders", "all"])),
            [6, 0, 0, 1]
        );
        // A client has looked, and there is more.
        let list = path.join("dovecot-uidlist");
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, text + "9 :50.M5.host\n10 :70.M7.host\n").unwrap();
        write(&path.join("new/70.M7.host"), "Subject: newest\n", 1);
        assert_eq!(
            said(import(place, maildir, &["--folders", "all", "--dry-run"])),
            [1, 6, 0, 0]
        );
        assert_eq!(
            said(import(place, maildir, &["--folders", "all"])),
            [1, 6, 0, 0]
        );
        assert_eq!(
            said(import(place, maildir, &["--folders", "all"])),
            [0, 7, 0, 0]
        );
        let moved = maildrop(place);
        assert_eq!(moved[5].0, "000000096b036933");
        assert_eq!(moved[6].0, "0000000a6b036933");
        assert_eq!(subjects(place)[5..], ["new", "newest"]);
    });
}

#[test]
fn another_maildir_with_the_same_names_loses_nothing() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        for (name, subject) in [("one", "from one"), ("two", "from two")] {
            let path = place.folder.path().join(name);
            write(
                &path.join("cur/1.host:2,S"),
                &format!("Subject: {subject}\n"),
                1,
            );
            write(&path.join("dovecot-uidlist"), "3 V7 N2 G0\n1 :1.host\n", 1);
            let outcome = import(place, path.to_str().unwrap(), &[]);
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert!(
                outcome.stdout.starts_with("1 messages imported"),
                "{outcome:?}"
            );
            assert_eq!(
                outcome
                    .stderr
                    .contains("with other octets has its unique-id"),
                name == "two"
            );
        }
        assert_eq!(subjects(place), ["from one", "from two"]);
    });
}

#[test]
fn two_imports_at_once_double_nothing() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let mbox = place.folder.path().join("mbox");
        let message = |n| format!("From a\nSubject: {n}\n\n{}\n\n", "x".repeat(3000));
        fs::write(&mbox, (0..2000).map(message).collect::<String>()).unwrap();
        let mbox = mbox.to_str().unwrap();
        let outcomes = std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| import(place, mbox, &[])));
            both.map(|one| one.join().unwrap())
        });
        for outcome in outcomes.iter().filter(|outcome| outcome.code != Some(0)) {
            assert!(
                outcome.stderr.contains("another import into this maildrop"),
                "{outcome:?}"
            );
        }
        import(place, mbox, &[]).ok();
        assert_eq!(maildrop(place).len(), 2000);
    });
}

#[test]
fn the_format_of_dovecot_s_unique_ids_can_be_told() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let maildir = dovecot(&place);
    let maildir = maildir.to_str().unwrap();
    import(
        &place,
        maildir,
        &["--folders", "all", "--uidl-format", "%v.%u"],
    )
    .ok();
    assert_eq!(maildrop(&place)[1].0, "1795385651.4");
    let refused = import(&place, maildir, &["--uidl-format", "%m"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("%m is not known of a Maildir"),
        "{refused:?}"
    );
    let refused = import(&place, maildir, &["--uidl-format", "%{uid | rot13}"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("the filter rot13 is not known"),
        "{refused:?}"
    );
    let refused = import(&place, "pop3://ada@localhost", &["--folders", "all"]).failed(1);
    assert!(refused.contains("has the inbox alone"), "{refused}");
    let mbox = place.folder.path().join("mbox");
    fs::write(&mbox, "From a\nSubject: x\n").unwrap();
    let mbox = mbox.to_str().unwrap();
    let refused = import(&place, mbox, &["--uidl-format", "%u"]).failed(1);
    assert!(refused.contains("has no dovecot-uidlist"), "{refused}");
    let refused = import(&place, mbox, &["--ca", "ca.pem"]).failed(1);
    assert!(refused.contains("are for a server"), "{refused}");
    fs::write(Path::new(maildir).join("dovecot-uidlist"), "what?\n").unwrap();
    let refused = import(&place, maildir, &[]).failed(1);
    assert!(refused.contains("the unique-ids of"), "{refused}");
}

#[test]
fn a_maildir_of_courier_keeps_its_unique_ids_and_its_order() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let maildir = place.folder.path().join("Maildir");
    for (file, subject, seconds) in [
        ("10.a", "one", 9),
        ("20.b:2,S", "two", 5),
        ("30.c", "three", 7),
    ] {
        write(
            &maildir.join("cur").join(file),
            &format!("Subject: {subject}\n"),
            seconds,
        );
    }
    let list = "/2 9 1700000000\n20.b 20 2:1700000000\n10.a 20 1:0\n30.c 20 0:0\n";
    write(&maildir.join("courierpop3dsizelist"), list, 0);
    assert_eq!(
        said(import(&place, maildir.to_str().unwrap(), &[])),
        [3, 0, 0, 0]
    );
    assert_eq!(subjects(&place), ["two", "one", "three"]);
    let unique_ids: Vec<_> = maildrop(&place).into_iter().map(|it| it.0).collect();
    assert_eq!(unique_ids, ["UID2-1700000000", "UID1", "30.c"]);
}

#[test]
fn x_uidl_fields_are_unique_ids_at_import_and_at_no_delivery() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let mbox = place.folder.path().join("mbox");
        let bad = "x".repeat(71);
        let text = format!(
            "From a Thu Jan  1 00:00:01 2026\nX-UIDL: 4f2c\nSubject: one\n\n\
             From a Thu Jan  1 00:00:02 2026\nX-UIDL: 4f2c\nSubject: copied\n\n\
             From a Thu Jan  1 00:00:03 2026\nX-UIDL: {bad}\nSubject: bad\n\n\
             From a Thu Jan  1 00:00:04 2026\nSubject: none\n\nX-UIDL: no\n\n"
        );
        fs::write(&mbox, text).unwrap();
        let mbox = mbox.to_str().unwrap();
        let outcome = import(place, mbox, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.stdout.starts_with("4 messages imported, 0 already"));
        assert!(
            outcome
                .stdout
                .contains("\n3 messages will be fetched again"),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("POP3 does not allow its unique-id"),
            "{outcome:?}"
        );
        let before = maildrop(place);
        assert_eq!(before[0].0, "4f2c");
        assert_eq!(before[0].1, b"X-UIDL: 4f2c\r\nSubject: one\r\n");
        assert!(
            before[1..]
                .iter()
                .all(|(unique_id, _)| unique_id.len() == 16)
        );
        assert_eq!(said(import(place, mbox, &[])), [0, 4, 0, 3]);
        assert_eq!(maildrop(place), before);
        // Another message with the name of a known one is not taken for it, and not kept out.
        let other = place.folder.path().join("other");
        fs::write(
            &other,
            "From a\nX-UIDL: 4f2c\nSubject: other\n\nFrom a\nSubject: more\n",
        )
        .unwrap();
        let other = other.to_str().unwrap();
        let outcome = import(place, other, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome.stderr.contains("so it gets a new one"),
            "{outcome:?}"
        );
        assert!(
            outcome.stdout.starts_with("2 messages imported"),
            "{outcome:?}"
        );
        let with_it: Vec<_> = maildrop(place)
            .into_iter()
            .filter(|(_, octets)| octets.starts_with(b"X-UIDL: 4f2c\r\n"))
            .collect();
        assert_eq!(with_it.len(), 3);
        assert_eq!(with_it.iter().filter(|(id, _)| id == "4f2c").count(), 1);
        assert_eq!(said(import(place, other, &[])), [0, 2, 0, 2]);
        let nul = place.folder.path().join("nul");
        fs::write(&nul, "From a\nX-UIDL: a\0b\nSubject: nul\n").unwrap();
        let outcome = import(place, nul.to_str().unwrap(), &[]);
        assert!(
            outcome.stdout.starts_with("1 messages imported"),
            "{outcome:?}"
        );
        let deliver = cli::Cli::new(&place.url).args(["deliver", ADA]);
        deliver
            .stdin(b"X-UIDL: chosen\n\nby the sender\n")
            .run()
            .ok();
        assert!(maildrop(place).iter().all(|(id, _)| id != "chosen"));
    });
}

#[test]
fn an_x_uidl_field_of_a_stranger_keeps_no_message_out_whatever_it_says() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        // One has come by LMTP, so it has a head of its own.
        let port = free_port().to_string();
        let daemon = Daemon::start_with(&place.url, &[("Lmtp__Port", &port)]);
        let mut mta = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        mta.write_all(
            b"LHLO mta\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n\
            Subject: by LMTP\r\n.\r\nQUIT\r\n",
        )
        .unwrap();
        let mut replies = String::new();
        mta.read_to_string(&mut replies).unwrap();
        assert!(replies.contains("\r\n250 2.0.0 <ada@"), "{replies}");
        drop(daemon);
        let by_lmtp = maildrop(place)[0].0.clone();
        let mbox = place.folder.path().join("mbox");
        let stranger = |id: &str| format!("From a\nX-UIDL: {id}\nSubject: of a stranger\n\n");
        fs::write(&mbox, stranger(&by_lmtp) + &stranger("imported")).unwrap();
        let mbox = mbox.to_str().unwrap();
        let outcome = import(place, mbox, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome.stdout.starts_with("2 messages imported"),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("so it gets a new one"),
            "{outcome:?}"
        );
        assert_eq!(said(import(place, mbox, &[])), [0, 2, 0, 1]);
        // What was deleted since has its name still.
        delete(place, &["imported"]);
        let other = place.folder.path().join("other");
        fs::write(&other, "From a\nX-UIDL: imported\nSubject: another\n\n").unwrap();
        let outcome = import(place, other.to_str().unwrap(), &[]);
        assert!(
            outcome.stdout.starts_with("1 messages imported"),
            "{outcome:?}"
        );
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    });
}

#[test]
fn an_export_that_is_imported_again_changes_nothing() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        cli::run(&place.url, "user add bob@example.com").ok();
        for text in ["Subject: one\n", "Subject: two\n", "Subject: two\n"] {
            let deliver = cli::Cli::new(&place.url).args(["deliver", ADA]);
            deliver.stdin(text.as_bytes()).run().ok();
        }
        let before = maildrop(place);
        let path = |format: &str| {
            place
                .folder
                .path()
                .join(format)
                .to_str()
                .unwrap()
                .to_owned()
        };
        for format in ["maildir", "mbox", "eml"] {
            let export = cli::Cli::new(&place.url);
            let export = export.args(["export", ADA, &path(format), "--format", format]);
            export.run().ok();
            let again = if format == "maildir" { 0 } else { 3 };
            assert_eq!(said(import(place, &path(format), &[])), [0, 3, 0, again]);
            assert_eq!(maildrop(place), before);
        }
        // A Maildir brings the unique-ids along to another server.
        let import = cli::Cli::new(&place.url).args(["import", BOB, &path("maildir")]);
        import.run().ok();
        let moved = cli::Cli::new(&place.url);
        let moved = moved.args(["export", BOB, &path("moved"), "--format", "maildir"]);
        moved.run().ok();
        let list = |name: &str| fs::read_to_string(Path::new(&path(name)).join("dovecot-uidlist"));
        let ids = |name: &str| {
            list(name)
                .unwrap()
                .lines()
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids("maildir"), ids("moved"));
    });
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_was() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let maildir = place.folder.path().join("Maildir");
    let mut list = "3 V7 N5001 G0\n".to_owned();
    for uid in 1..=5000 {
        let text = format!("Subject: {uid}\n\n{}\n", "x".repeat(2000));
        write(&maildir.join(format!("cur/{uid}.host:2,S")), &text, uid);
        list.push_str(&format!("{uid} :{uid}.host\n"));
    }
    write(&maildir.join("dovecot-uidlist"), &list, 0);
    let maildir = maildir.to_str().unwrap();
    let mut child = cli::restante();
    child
        .args(["import", ADA, maildir])
        .env("Database__Url", &place.url);
    let mut child = child.spawn().unwrap();
    crate::support::run(async || {
        let sql = place.sql().await;
        let ask = async || (sql.count("messages").await > 0).then_some(());
        eventually_async("some of it to be there", ask).await;
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let before = maildrop(&place).len();
    assert!(before < 5000, "it was killed too late to show anything");
    assert_eq!(
        said(import(&place, maildir, &[])),
        [5000 - before, before, 0, 0]
    );
    let unique_ids: Vec<_> = maildrop(&place).into_iter().map(|it| it.0).collect();
    let expected: Vec<_> = (1..=5000).map(|uid| format!("{uid:08x}00000007")).collect();
    assert_eq!(unique_ids, expected);
}
