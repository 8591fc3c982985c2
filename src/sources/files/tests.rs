use super::super::fixtures::{folder_of, opened};
use super::*;
use std::fs;
use tempfile::TempDir;

fn read(files: &mut Files) -> Vec<u8> {
    let mut message = Vec::new();
    while files.read(&mut message).unwrap() {}
    message
}

fn reason(item: Option<Item>) -> String {
    match item {
        Some(Item::Skipped { reason, .. }) => reason,
        Some(Item::Message { name, .. }) => panic!("{name} is a message"),
        None => panic!("nothing is left"),
    }
}

fn entries(folder: &Folder, names: &[&str]) -> Vec<Entry> {
    let entry = |name: &&str| {
        let path = Path::new(name);
        let holder = folder.folder(path.parent().unwrap()).unwrap();
        let seen = holder.look(path.file_name().unwrap()).unwrap();
        Entry::new(path.to_owned(), &seen)
    };
    names.iter().map(entry).collect()
}

/// Files of a folder.
fn below(folder: &TempDir, names: &[&str]) -> Files {
    let folder = opened(folder.path());
    let entries = entries(&folder, names);
    Files::below(folder, entries)
}

fn maildir(folder: &TempDir, names: &[&str]) -> Files {
    let folder = opened(folder.path());
    let entries = entries(&folder, names);
    Files::of_maildir(folder, entries)
}

#[test]
fn a_large_file_comes_in_pieces_and_the_progress_follows() {
    let folder = tempfile::tempdir().unwrap();
    let octets = [b'x'].repeat(2 * PIECE_OCTETS + 1);
    fs::write(folder.path().join("large.eml"), &octets).unwrap();
    let mut files = below(&folder, &["large.eml", "large.eml"]);
    let mut message = Vec::new();
    assert!(!files.read(&mut message).unwrap());

    files.next_item().unwrap();
    assert!(files.read(&mut message).unwrap());
    assert_eq!(message.len(), PIECE_OCTETS);
    assert_eq!(files.octets_read(), PIECE_OCTETS as u64);

    files.next_item().unwrap();
    assert_eq!(files.octets_read(), octets.len() as u64);
    assert_eq!(read(&mut files), octets);
    assert!(files.next_item().is_none());
    assert_eq!(files.octets_read(), 2 * octets.len() as u64);
}

#[test]
fn a_file_that_is_empty_or_gone_is_skipped_with_the_reason() {
    let folder = folder_of(&[("gone", 1), ("empty", 1), ("last", 1)]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("last"), b"A: \0\xff\r\n").unwrap();
    let mut files = below(&folder, &["gone", "empty", "last"]);
    fs::remove_file(path("gone")).unwrap();

    assert!(reason(files.next_item()).starts_with("No such file"));
    assert_eq!(files.octets_read(), 5);
    assert_eq!(reason(files.next_item()), "the file is empty");
    let message = Item::Message {
        name: path("last").display().to_string(),
        received_at: Some(fs::metadata(path("last")).unwrap().modified().unwrap()),
        old_id: OldId::Unknown,
        octets: None,
    };
    assert_eq!(files.next_item(), Some(message));
    assert_eq!(read(&mut files), b"A: \0\xff\r\n");
}

#[test]
fn what_has_become_something_else_is_not_read() {
    let folder = folder_of(&[("link", 1), ("pipe", 1), ("folder/x", 1)]);
    let path = |name: &str| folder.path().join(name);
    let mut files = below(&folder, &["link", "pipe", "folder/x"]);
    for name in ["link", "pipe"] {
        fs::remove_file(path(name)).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", path("link")).unwrap();
    make_pipe(&path("pipe"));
    fs::rename(path("folder"), path("moved")).unwrap();
    std::os::unix::fs::symlink(path("moved"), path("folder")).unwrap();
    assert!(reason(files.next_item()).starts_with("it is a symbolic link"));
    assert!(reason(files.next_item()).starts_with("it is a pipe"));
    assert!(reason(files.next_item()).starts_with("it is a symbolic link"));
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn a_message_whose_name_changes_while_it_is_read_is_found_again() {
    let folder = folder_of(&[
        ("new/1.host", 1),
        ("cur/2.host:2,", 2),
        ("cur/3.host:2,", 3),
        ("cur/4.host:2,", 4),
        ("cur/4.host:2,S", 5),
        (".Sent/cur/5.host:2,", 6),
    ]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("cur/4.host:2,"), b"A: first\n").unwrap();
    let names = [
        "new/1.host",
        "cur/2.host:2,",
        "cur/3.host:2,",
        "cur/4.host:2,",
        ".Sent/cur/5.host:2,",
    ];
    let mut files = maildir(&folder, &names);
    let rename = |from: &str, to: &str| fs::rename(path(from), path(to)).unwrap();
    rename("new/1.host", "cur/1.host:2,S");
    rename("cur/2.host:2,", "cur/2.host:2,RS");
    fs::remove_file(path("cur/3.host:2,")).unwrap();
    rename("cur/4.host:2,", "cur/4.host:2,RST");
    rename(".Sent/cur/5.host:2,", ".Sent/cur/5.host:2,S");
    assert!(matches!(files.next_item(), Some(Item::Message { .. })));
    rename("cur/2.host:2,RS", "cur/2.host:2,FRS");
    assert!(matches!(files.next_item(), Some(Item::Message { .. })));
    assert!(reason(files.next_item()).starts_with("it is gone"));
    // Two have this name, and it is still the one that it was.
    files.next_item().unwrap();
    assert_eq!(read(&mut files), b"A: first\n");
    assert!(matches!(files.next_item(), Some(Item::Message { .. })));
    assert!(files.next_item().is_none());
}

#[test]
fn a_name_that_says_another_size_is_told() {
    let names = ["cur/1.host,S=5:2,S", "cur/2.host,S=6,W=7:2,"];
    let folder = folder_of(&names.map(|name| (name, 1)));
    let mut files = maildir(&folder, &names);
    files.next_item().unwrap();
    read(&mut files);
    assert_eq!(files.remark(), None);
    files.next_item().unwrap();
    read(&mut files);
    let remark = "by its name it has 6 octets, but it has 5";
    assert_eq!(files.remark().as_deref(), Some(remark));
}

#[test]
fn what_is_flagged_as_packed_and_is_nothing_known_is_skipped() {
    let names = ["cur/1.host:2,SZ", "cur/2.host:2,SZ"];
    let folder = folder_of(&names.map(|name| (name, 1)));
    fs::write(folder.path().join(names[1]), b"\x80what?").unwrap();
    let mut files = maildir(&folder, &names);
    assert!(matches!(files.next_item(), Some(Item::Message { .. })));
    assert!(reason(files.next_item()).starts_with("its flag Z"));
}
