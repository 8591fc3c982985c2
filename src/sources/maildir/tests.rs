use super::super::fixtures::{folder_of, opened, split};
use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// What is found in a Maildir without a list.
fn found(folder: &TempDir, folders: Folders) -> MaildirListing {
    let root = opened(folder.path());
    let inbox = inbox(&root).unwrap();
    maildir(&root, &inbox, None, folders).unwrap()
}

fn listed(folder: &TempDir, list: &str) -> Vec<Entry> {
    fs::write(folder.path().join("dovecot-uidlist"), list).unwrap();
    let root = opened(folder.path());
    let list = UidList::read(&root, &super::super::UidlFormat::default()).unwrap();
    let found = maildir(&root, Path::new(""), list.as_ref(), Folders::Inbox);
    found.unwrap().entries
}

#[test]
fn a_maildir_is_read_by_time_then_by_number_folder_after_folder() {
    let folder = folder_of(&[
        ("cur/9.M1.host:2,S", 5),
        ("new/10.M9.host", 5),
        ("new/10.M10.host", 5),
        ("cur/1.host:2,", 9),
        ("cur/99.host:2,FRS", 1),
        (".Sent/cur/1.host:2,S", 0),
        (".Archive.2019/new/2.host", 3),
        (".Archive/cur/3.host:2,", 4),
        (".Archive/cur/.hidden", 4),
        ("tmp/4.host", 0),
        (".Sent/tmp/5.host", 0),
        ("dovecot-uidlist", 0),
        (".NoMaildir/6.host", 0),
    ]);
    let (messages, left_out) = split(found(&folder, Folders::All).entries);
    assert_eq!(
        messages,
        [
            "cur/99.host:2,FRS",
            "cur/9.M1.host:2,S",
            "new/10.M9.host",
            "new/10.M10.host",
            "cur/1.host:2,",
            ".Archive/cur/3.host:2,",
            ".Archive.2019/new/2.host",
            ".Sent/cur/1.host:2,S",
        ]
    );
    assert_eq!(left_out, []);
    let inbox = found(&folder, Folders::Inbox);
    assert_eq!(split(inbox.entries).0, messages[..5]);
    let elsewhere = Elsewhere {
        messages: 3,
        folders: 3,
    };
    assert_eq!(inbox.elsewhere, elsewhere);
}

#[test]
fn folders_lie_inside_each_other_in_dovecot_s_layout_fs() {
    let folder = folder_of(&[
        ("cur/1.host", 1),
        ("new/2.host", 2),
        ("tmp/x", 0),
        ("Lists/Rust/cur/3.host:2,S", 3),
        ("Lists/Rust/new/4.host", 4),
        ("Lists/Rust/tmp/x", 0),
        ("Lists/Rust/Old/cur/5.host", 5),
        ("Lists/Rust/Old/new/6.host", 6),
        ("Lists/Rust/Old/tmp/x", 0),
        ("notes/new/7.txt", 7),
    ]);
    let (messages, left_out) = split(found(&folder, Folders::All).entries);
    assert_eq!(
        messages,
        [
            "cur/1.host",
            "new/2.host",
            "Lists/Rust/cur/3.host:2,S",
            "Lists/Rust/new/4.host",
            "Lists/Rust/Old/cur/5.host",
            "Lists/Rust/Old/new/6.host",
        ]
    );
    assert_eq!(left_out, []);
    let elsewhere = found(&folder, Folders::Inbox).elsewhere;
    assert_eq!((elsewhere.messages, elsewhere.folders), (4, 2));
}

#[test]
fn the_inbox_may_be_a_folder_of_its_own() {
    for name in ["INBOX", ".INBOX", "Inbox"] {
        let folder = folder_of(&[
            (&format!("{name}/cur/1.host"), 1),
            ("Sent/cur/2.host", 2),
            ("Sent/new/3.host", 3),
            ("Sent/tmp/x", 0),
        ]);
        let found = found(&folder, Folders::Inbox);
        assert_eq!(split(found.entries).0, [format!("{name}/cur/1.host")]);
        assert_eq!(found.elsewhere.messages, 2);
    }
    let folder = folder_of(&[("Sent/cur/2.host", 2)]);
    assert_eq!(inbox(&opened(folder.path())), None);
}

#[test]
fn messages_that_are_marked_as_deleted_come_from_the_inbox_alone() {
    let folder = folder_of(&[
        ("cur/1.T:2,S", 1),
        ("cur/2.host:2,ST", 2),
        ("cur/3.host;2,T", 3),
        (".Sent/cur/4.host:2,S", 4),
        (".Sent/cur/5.host!2,FT", 5),
    ]);
    let (messages, left_out) = split(found(&folder, Folders::All).entries);
    let inbox = ["cur/1.T:2,S", "cur/2.host:2,ST", "cur/3.host;2,T"];
    assert_eq!(messages[..3], inbox);
    assert_eq!(messages[3..], [".Sent/cur/4.host:2,S"]);
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0].0, ".Sent/cur/5.host!2,FT");
    let list = "3 V7 N5 G0\n1 :1.T\n2 :2.host\n";
    let entries = listed(&folder, list);
    assert_eq!(entries[1].old_id.told(), Some("0000000200000007"));
    assert_eq!(split(entries).0[..3], inbox);
}

#[test]
fn a_link_is_named_wherever_it_is_in_a_maildir() {
    use std::os::unix::fs::symlink;
    let folder = folder_of(&[
        ("cur/1.host", 1),
        ("dovecot.sieve", 1),
        ("elsewhere/cur/2.host", 2),
    ]);
    let path = |name: &str| folder.path().join(name);
    symlink("/etc/passwd", path("cur/2.host")).unwrap();
    symlink(path("elsewhere/cur"), path("new")).unwrap();
    symlink(path("elsewhere"), path(".Shared")).unwrap();
    symlink(path("dovecot.sieve"), path(".dovecot.sieve")).unwrap();
    let (messages, left_out) = split(found(&folder, Folders::All).entries);
    assert_eq!(messages, ["cur/1.host"]);
    let mut names: Vec<_> = left_out.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, [".Shared", "cur/2.host", "new"]);
    assert!(
        left_out
            .iter()
            .all(|(_, reason)| reason.contains("a symbolic link"))
    );
}

#[test]
fn two_files_with_one_name_are_two_messages_and_one_file_with_two_is_one() {
    let folder = folder_of(&[
        ("new/1.host", 1),
        ("cur/1.host:2,S", 2),
        ("cur/2.host:2,S", 3),
    ]);
    let path = |name: &str| folder.path().join(name);
    fs::hard_link(path("cur/2.host:2,S"), path("new/2.host")).unwrap();
    let (messages, _) = split(found(&folder, Folders::Inbox).entries);
    assert_eq!(messages.len(), 3, "{messages:?}");
}

proptest! {
    #[test]
    fn names_have_one_order_whatever_they_are(mut names in proptest::collection::vec("[019a-c.é]{0,50}", 3)) {
        names.sort_by(|one, other| by_name(&PathBuf::from(one), &PathBuf::from(other)));
        let [first, second, third] = [0, 1, 2].map(|at| PathBuf::from(&names[at]));
        prop_assert!(by_name(&first, &third) != Ordering::Greater);
        prop_assert_eq!(by_name(&first, &second), by_name(&second, &first).reverse());
        prop_assert_eq!(by_name(&first, &second) == Ordering::Equal, first == second);
    }
}
