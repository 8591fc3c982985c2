//! Maildirs as Debian's Dovecot keeps them: what its POP3 has served comes, octet for octet and under
//! the same unique-ids, and nothing else does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dovecot::Dovecot;
use super::{import, maildrop, said};
use crate::support::cli;
use crate::support::mail::{self, ADA};
use crate::support::place::{Place, sqlite};

/// What makes Dovecot read packed messages.
const PACKED: &str = "mail_plugins = zlib";

fn letter(subject: &str, lines: usize) -> Vec<u8> {
    let line = |n: usize| format!(".line {n} of {subject}, {}\n", n * n % 997);
    let lines: String = (0..lines).map(line).collect();
    format!("From: a@example.org\nSubject: {subject}\n\n{lines}").into_bytes()
}

/// The one file that is in a folder of a Maildir.
fn only_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

/// Imports a Maildir for the first time; it says nothing more than that.
fn import_all(place: &Place, maildir: &Path, messages: usize) {
    let outcome = import(place, maildir.to_str().unwrap(), &[]);
    assert_eq!(outcome.stderr, "");
    assert_eq!(said(outcome), [messages, 0, 0, 0]);
}

#[test]
fn packed_messages_come_as_dovecot_s_pop3_has_served_them() {
    let place = sqlite();
    let key = mail::fill(&place.url, ADA, &[]);
    let Some(dovecot) = Dovecot::start(PACKED, &key) else {
        return;
    };
    dovecot.own();
    let (new, cur) = (dovecot.maildir().join("new"), dovecot.maildir().join("cur"));
    // It can't write xz any more, but reads it; this is how a site packs what is old.
    dovecot.store(&letter("xz", 20_000), &[]);
    let file = only_file(&new);
    let packed = Command::new("xz").arg("-c").arg(&file).output().unwrap();
    assert!(packed.stdout.starts_with(b"\xfd7zXZ\0"), "{packed:?}");
    let name = file.file_name().unwrap().to_str().unwrap();
    fs::write(cur.join(format!("{name}:2,SZ")), packed.stdout).unwrap();
    fs::remove_file(&file).unwrap();
    let mut forms: Vec<(&str, &[u8])> = vec![("plain", b"From: ")];
    forms.extend([
        ("gz", b"\x1f\x8b".as_slice()),
        ("bz2", b"BZh"),
        ("lz4", b"Dovecot-LZ4"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
    ]);
    for (form, begins) in &forms {
        for lines in [0, 1, 20_000] {
            let save = format!("plugin/zlib_save={form}");
            let options = if *form == "plain" {
                &[][..]
            } else {
                &["-o", save.as_str()][..]
            };
            dovecot.store(&letter(form, lines), options);
            let is_so = |file: fs::DirEntry| {
                let octets = fs::read(file.path()).unwrap();
                octets.starts_with(begins)
            };
            let mut files = fs::read_dir(&new).unwrap().map(Result::unwrap);
            assert!(files.any(is_so), "{form} is not what was written");
        }
    }
    dovecot.own();
    let served = dovecot.serves(&key);
    assert_eq!(served.len(), 1 + 3 * forms.len());
    import_all(&place, &dovecot.maildir(), served.len());
    assert_eq!(maildrop(&place), served);
}

#[test]
fn what_dovecot_s_pop3_serves_comes_though_it_is_trashed_and_in_its_order() {
    let place = sqlite();
    let key = mail::fill(&place.url, ADA, &[]);
    let Some(dovecot) = Dovecot::start("", &key) else {
        return;
    };
    dovecot.own();
    for subject in ["a", "b", "c", "d", "e"] {
        dovecot.store(&letter(subject, 1), &[]);
    }
    dovecot.own();
    let before = dovecot.serves(&key);
    let cur = dovecot.maildir().join("cur");
    for (file, flags) in fs::read_dir(&cur)
        .unwrap()
        .zip(["T", "ST", "", "S", "FRST"])
    {
        let file = file.unwrap().path();
        let name = file.to_str().unwrap().rsplit_once(":2,").unwrap().0;
        fs::rename(&file, format!("{name}:2,{flags}")).unwrap();
    }
    // As a move from another server leaves it: the third came first there, then the fifth, and the
    // second has an id of its own.
    let path = dovecot.maildir().join("dovecot-uidlist");
    let list = fs::read_to_string(&path).unwrap();
    let line = |line: &str| match line.split_once(' ') {
        Some(("2", rest)) => format!("2 O8 Pmine {rest}\n"),
        Some(("3", rest)) => format!("3 O4 {rest}\n"),
        Some(("5", rest)) => format!("5 O7 {rest}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    fs::write(&path, list.lines().map(line).collect::<String>()).unwrap();
    // What it remembers of the list, it would go on using.
    for file in fs::read_dir(dovecot.maildir()).unwrap() {
        let file = file.unwrap();
        if file
            .file_name()
            .to_str()
            .unwrap()
            .starts_with("dovecot.index")
        {
            fs::remove_file(file.path()).unwrap();
        }
    }
    dovecot.own();
    let served = dovecot.serves(&key);
    assert_eq!(served[0].1, before[2].1);
    assert_eq!(served[2].0, "mine");
    import_all(&place, &dovecot.maildir(), 5);
    assert_eq!(maildrop(&place), served);
}

#[test]
fn other_folders_than_the_inbox_come_if_they_are_asked_for() {
    for (settings, folder) in [
        ("", "Lists.Rust"),
        ("mail_location = maildir:%h/Maildir:LAYOUT=fs", "Lists/Rust"),
        (
            "mail_location = maildir:%h/Maildir:LAYOUT=fs:INBOX=%h/Maildir/INBOX",
            "Lists/Rust",
        ),
    ] {
        let place = sqlite();
        let key = mail::fill(&place.url, ADA, &[]);
        let Some(dovecot) = Dovecot::start(settings, &key) else {
            return;
        };
        let maildir = dovecot.maildir();
        if settings.contains("INBOX=") {
            fs::remove_dir_all(&maildir).unwrap();
            fs::create_dir(&maildir).unwrap();
        }
        dovecot.own();
        dovecot.store(&letter("inbox", 1), &[]);
        let autocreate = "lda_mailbox_autocreate=yes";
        for subject in ["one", "two"] {
            dovecot.store(&letter(subject, 1), &["-o", autocreate, "-m", folder]);
        }
        let served = dovecot.serves(&key);
        assert_eq!(served.len(), 1);
        let maildir = maildir.to_str().unwrap();
        let summary = import(&place, maildir, &[]).ok();
        let left_out =
            "\n2 messages in 1 other folders were left out: import them with --folders all\n";
        assert!(summary.ends_with(left_out), "{settings}: {summary}");
        assert_eq!(maildrop(&place), served);
        let summary = import(&place, maildir, &["--folders", "all"]).ok();
        assert!(
            summary.starts_with("2 messages imported, 1 already there"),
            "{summary}"
        );
        assert!(
            summary.contains("2 messages were in subfolders"),
            "{summary}"
        );
        assert!(!summary.contains("left out"), "{summary}");
        assert_eq!(maildrop(&place).len(), 3);
    }
}

#[test]
fn a_packed_message_whose_name_says_another_size_is_imported_and_told() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let maildir = place.folder.path().join("Maildir");
    fs::create_dir_all(maildir.join("cur")).unwrap();
    let packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x0b\x2e\x4d\xca\x4a\x4d\x2e\xb1\x52\x28\x48\x4c\xce\x4e\x4d\xe1\x02\x00\xfc\x7d\xcf\x17\x10\x00\x00\x00";
    fs::write(maildir.join("cur/1.M1.host,S=40:2,S"), packed).unwrap();
    let outcome = import(&place, maildir.to_str().unwrap(), &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("by its name it has 40 octets, but it has 16\n"),
        "{outcome:?}"
    );
    assert_eq!(maildrop(&place)[0].1, b"Subject: packed\r\n");
}

#[test]
fn what_can_not_be_unpacked_is_named_and_not_stored() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let maildir = place.folder.path().join("Maildir");
    fs::create_dir_all(maildir.join("cur")).unwrap();
    let write =
        |name: &str, octets: &[u8]| fs::write(maildir.join("cur").join(name), octets).unwrap();
    write("0.host:2,S", b"Subject: fine\n");
    write("1.host:2,S", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x0b\x2e");
    write("2.host:2,S", b"\x28\xb5\x2f\xfd\xff\xff\xff\xff");
    write("3.host:2,S", b"CRYPTED\x03\x07\x02");
    write("4.host:2,SZ", b"\x80\x81");
    let outcome = import(&place, maildir.to_str().unwrap(), &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stdout.starts_with("1 messages imported"),
        "{outcome:?}"
    );
    for words in [
        "1.host:2,S: it is packed with gzip, and its end is missing",
        "2.host:2,S: it is packed with zstd, and can't be unpacked",
        "3.host:2,S: it is encrypted by Dovecot",
        "4.host:2,SZ: its flag Z says that it is packed",
    ] {
        assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
    }
    assert_eq!(maildrop(&place).len(), 1);
}
