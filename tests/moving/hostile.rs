//! A Maildir belongs to its user, and somebody else imports it, often root. Nothing in it leads
//! elsewhere, stops the import or fills the disk.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{import, maildrop};
use crate::support::cli::{self, Outcome};
use crate::support::place::{Place, sqlite};

/// Some user.
const EVE: u32 = 54_321;

/// A user, and a Maildir with one message.
fn place() -> (Place, PathBuf) {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let maildir = place.folder.path().join("Maildir");
    for name in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join(name)).unwrap();
    }
    fs::write(maildir.join("cur/1.host:2,S"), "Subject: fine\n").unwrap();
    (place, maildir)
}

fn is_root() -> bool {
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if !is_root {
        eprintln!("skipped: only root can do this");
    }
    is_root
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).status().unwrap();
    assert!(done.success(), "{program} {arguments:?}");
}

fn import_of(place: &Place, maildir: &Path) -> Outcome {
    import(place, maildir.to_str().unwrap(), &[])
}

/// Imports what has one message and something else, which is named with these words.
fn is_named(place: &Place, maildir: &Path, name: &str, words: &str) {
    let outcome = import_of(place, maildir);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let summary = "1 messages imported, 0 already there, 0 deleted since, 1 skipped\n";
    assert!(outcome.stdout.starts_with(summary), "{outcome:?}");
    assert!(
        outcome.stderr.contains(&format!("{name}: {words}")),
        "{outcome:?}"
    );
    assert_eq!(maildrop(place).len(), 1);
}

#[test]
fn what_is_no_file_in_a_maildir_is_named_and_neither_followed_nor_waited_for() {
    type Make = fn(&Path);
    let make: [(&str, Make, &str); 5] = [
        (
            "a link",
            |path| symlink("/etc/passwd", path).unwrap(),
            "it is a symbolic link",
        ),
        (
            "a link to a pipe",
            |path| {
                let pipe = path.with_file_name(".pipe");
                run("mkfifo", &[pipe.to_str().unwrap()]);
                symlink(pipe, path).unwrap();
            },
            "it is a symbolic link",
        ),
        (
            "a pipe",
            |path| run("mkfifo", &[path.to_str().unwrap()]),
            "it is a pipe",
        ),
        (
            "a folder",
            |path| fs::create_dir(path).unwrap(),
            "it is a folder",
        ),
        (
            "a socket",
            |path| drop(UnixListener::bind(path).unwrap()),
            "it is a socket",
        ),
    ];
    for (what, make, words) in make {
        for part in ["cur", "new"] {
            let (place, maildir) = place();
            let name = format!("{part}/2.host:2,S");
            make(&maildir.join(&name));
            eprintln!("{what} in {part}");
            is_named(&place, &maildir, &name, words);
        }
    }
}

#[test]
fn a_device_in_a_maildir_is_named_and_not_read() {
    if !is_root() {
        return;
    }
    let (place, maildir) = place();
    let device = maildir.join("cur/2.host:2,S");
    run("mknod", &[device.to_str().unwrap(), "c", "1", "5"]);
    is_named(&place, &maildir, "cur/2.host:2,S", "it is a device");
    fs::remove_file(device).unwrap();
    let list = maildir.join("dovecot-uidlist");
    run("mknod", &[list.to_str().unwrap(), "c", "1", "5"]);
    let refused = import_of(&place, &maildir).failed(1);
    assert!(refused.contains("the unique-ids of"), "{refused}");
    assert!(refused.contains("it is a device"), "{refused}");
}

#[test]
fn a_part_of_a_maildir_that_is_a_link_is_named() {
    let (place, maildir) = place();
    let elsewhere = place.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("9.host"), "Subject: of somebody else\n").unwrap();
    fs::remove_dir(maildir.join("new")).unwrap();
    symlink(&elsewhere, maildir.join("new")).unwrap();
    is_named(&place, &maildir, "Maildir/new", "it is a symbolic link");
}

#[test]
fn a_list_of_unique_ids_that_is_no_file_stops_the_import() {
    let (place, maildir) = place();
    let list = maildir.join("dovecot-uidlist");
    symlink("/etc/passwd", &list).unwrap();
    let refused = import_of(&place, &maildir).failed(1);
    assert!(refused.contains("it is a symbolic link"), "{refused}");
    fs::remove_file(&list).unwrap();
    run("mkfifo", &[list.to_str().unwrap()]);
    let refused = import_of(&place, &maildir).failed(1);
    assert!(refused.contains("it is a pipe"), "{refused}");
    fs::remove_file(&list).unwrap();
    let huge = File::create(&list).unwrap();
    huge.set_len(1 << 40).unwrap();
    let refused = import_of(&place, &maildir).failed(1);
    assert!(
        refused.contains("dovecot-uidlist has more than 64 MiB"),
        "{refused}"
    );
    assert!(maildrop(&place).is_empty());
}

#[test]
fn a_maildir_that_the_operator_names_by_a_link_is_read() {
    let (place, maildir) = place();
    let link = place.folder.path().join("link");
    symlink(&maildir, &link).unwrap();
    import_of(&place, &link).ok();
    assert_eq!(maildrop(&place).len(), 1);
}

#[test]
fn root_reads_no_file_of_another_user_through_a_hard_link() {
    if !is_root() {
        return;
    }
    let (place, maildir) = place();
    let secret = place.folder.path().join("secret");
    fs::write(&secret, "Subject: of root\n").unwrap();
    fs::hard_link(&secret, maildir.join("cur/2.host:2,S")).unwrap();
    for name in ["", "cur", "new", "tmp", "cur/1.host:2,S"] {
        chown(maildir.join(name), Some(EVE), None).unwrap();
    }
    let words = "it belongs to user 0 and its folder to user 54321";
    is_named(&place, &maildir, "cur/2.host:2,S", words);
}

#[test]
fn root_follows_no_link_that_a_user_has_put_in_place_of_a_maildir() {
    if !is_root() {
        return;
    }
    let (place, maildir) = place();
    let home = place.folder.path().join("eve");
    fs::create_dir(&home).unwrap();
    symlink(&maildir, home.join("Maildir")).unwrap();
    for path in [&home, &home.join("Maildir")] {
        std::os::unix::fs::lchown(path, Some(EVE), None).unwrap();
    }
    let outcome = import_of(&place, &home.join("Maildir"));
    let refused = outcome.failed(1);
    assert!(
        refused.contains("a symbolic link of user 54321 leads to it"),
        "{refused}"
    );
    assert!(maildrop(&place).is_empty());
}

#[test]
fn a_message_that_unpacks_without_end_or_is_one_hole_is_named_and_nothing_stays_of_it() {
    let (place, maildir) = place();
    let bomb = maildir.join("cur/2.host,S=9:2,S");
    let made = Command::new("sh")
        .args(["-c", "head -c 300M /dev/zero | zstd -q -o \"$0\""])
        .arg(&bomb)
        .status();
    assert!(made.unwrap().success());
    let words = "it could not be read: it is packed with zstd and has more than 256 MiB";
    is_named(&place, &maildir, "cur/2.host,S=9:2,S", words);
    crate::support::run(async || {
        let sql = place.sql().await;
        assert_eq!(sql.count("chunks").await, 1);
    });
    fs::remove_file(bomb).unwrap();
    let hole = File::create(maildir.join("cur/3.host:2,S")).unwrap();
    hole.set_len(1 << 42).unwrap();
    let outcome = import(&place, maildir.to_str().unwrap(), &["--dry-run"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("it has more than 1024 MiB"),
        "{outcome:?}"
    );
}

#[test]
fn a_single_file_and_a_folder_of_messages_are_read_with_the_same_care() {
    let (place, _) = place();
    let folder = place.folder.path().join("letters");
    fs::create_dir(&folder).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"Subject: packed\n").unwrap();
    let packed = packed.finish().unwrap();
    fs::write(folder.join("a.eml.gz"), &packed).unwrap();
    fs::write(folder.join("b.eml"), &packed).unwrap();
    symlink("/etc/passwd", folder.join("c.eml")).unwrap();
    run("mkfifo", &[folder.join("d.eml").to_str().unwrap()]);
    let outcome = import_of(&place, &folder);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stdout.starts_with("2 messages imported"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("c.eml: it is a symbolic link"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("d.eml: it is a pipe"),
        "{outcome:?}"
    );
    let refused = import_of(&place, &folder.join("d.eml")).failed(1);
    assert!(refused.contains("neither a file nor a folder"), "{refused}");

    let single = import_of(&place, &folder.join("a.eml.gz")).ok();
    assert!(
        single.starts_with("0 messages imported, 1 already there"),
        "{single}"
    );
    assert!(
        maildrop(&place)
            .iter()
            .all(|(_, octets)| octets == b"Subject: packed\r\n")
    );
    let mut mbox = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    mbox.write_all(b"From a\nSubject: in an mbox\n").unwrap();
    let path = place.folder.path().join("inbox.mbox.gz");
    fs::write(&path, mbox.finish().unwrap()).unwrap();
    let refused = import_of(&place, &path).failed(1);
    assert!(
        refused.contains("is an mbox that is packed with gzip: unpack it first"),
        "{refused}"
    );
}
