use super::super::fixtures::opened;
use super::*;
use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use tempfile::TempDir;

/// Some user, and another.
const ADA: u32 = 54_321;
const EVE: u32 = 54_322;

/// A folder with files of one octet.
fn folder_of(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    folder
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can give files to others");
    }
    is_root
}

fn refused<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_no_regular_file_is_named_and_not_opened() {
    let folder = folder_of(&["file", "folder/file"]);
    let path = |name: &str| folder.path().join(name);
    symlink("file", path("link")).unwrap();
    symlink("folder", path("way")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let root = opened(folder.path());
    assert_eq!(root.file("file").unwrap().1.octets, 1);
    for (name, words) in [
        ("link", "it is a symbolic link, which is not followed"),
        ("folder", "it is a folder, not a regular file"),
        ("socket", "it is a socket, not a regular file"),
        ("pipe", "it is a pipe, not a regular file"),
    ] {
        assert_eq!(refused(root.file(name)), words);
    }
    assert!(root.folder(Path::new("folder")).is_ok());
    let refusal = refused(root.folder(Path::new("way")));
    assert_eq!(refusal, "it is a symbolic link, which is not followed");
    assert!(root.leads_to_folder(Path::new("way")));
    assert!(matches!(
        open(&path("pipe")).unwrap(),
        OpenedSource::Special
    ));
    assert!(matches!(
        open(&path("socket")).unwrap(),
        OpenedSource::Special
    ));
    assert!(matches!(
        open(Path::new("/dev/zero")).unwrap(),
        OpenedSource::Special
    ));
    let device = opened(Path::new("/dev"));
    assert_eq!(
        refused(device.file("zero")),
        "it is a device, not a regular file"
    );
}

#[test]
fn the_path_of_a_source_leads_where_the_system_says() {
    let folder = folder_of(&["a/b/file", "c/x"]);
    let path = |name: &str| folder.path().join(name);
    symlink("../a", path("c/relative")).unwrap();
    symlink(path("a/b"), path("c/absolute")).unwrap();
    symlink("c/absolute", path("twice")).unwrap();
    symlink("loop", path("loop")).unwrap();
    symlink("gone", path("broken")).unwrap();
    for name in [
        "a/b/file",
        "c/relative/b/file",
        "c/absolute/file",
        "twice/file",
        "twice/../b/./file",
        "a//b/file",
    ] {
        let opened = open(&path(name)).unwrap();
        assert!(
            matches!(opened, OpenedSource::File(_, seen) if seen.octets == 1),
            "{name}"
        );
    }
    for name in [
        "",
        "a/",
        "c/relative",
        "c/relative/",
        "twice",
        "twice/.",
        "a/..",
    ] {
        assert!(
            matches!(open(&path(name)).unwrap(), OpenedSource::Folder(_)),
            "{name}"
        );
    }
    for name in [".", "/", ".."] {
        assert!(
            matches!(open(Path::new(name)).unwrap(), OpenedSource::Folder(_)),
            "{name}"
        );
    }
    assert!(refused(open(&path("loop"))).starts_with("Too many levels"));
    for name in ["broken", "gone", "gone/file"] {
        let error = open(&path(name)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}");
    }
    assert!(refused(open(&path("a/b/file/x"))).starts_with("Not a directory"));
}

#[test]
fn root_reads_nothing_that_belongs_to_another_than_its_folder() {
    if !is_root() {
        return;
    }
    let folder = folder_of(&["cur/file", "cur/other", "new/file", "list"]);
    let path = |name: &str| folder.path().join(name);
    let give = |name: &str, uid| chown(path(name), Some(uid), None).unwrap();
    // What root has made may hold what is another's.
    give("cur", ADA);
    give("cur/file", ADA);
    let root = opened(folder.path());
    let cur = root.folder(Path::new("cur")).unwrap();
    assert!(cur.file("file").is_ok());
    let refusal = refused(cur.file("other"));
    assert!(refusal.starts_with("it belongs to user 0 and its folder to user 54321"));
    give("list", EVE);
    assert!(root.file("list").is_ok());
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(folder.path(), writable).unwrap();
    let root = opened(folder.path());
    assert!(refused(root.file("list")).starts_with("it belongs to user 54322"));
    assert!(root.folder(Path::new("cur")).is_ok());

    give("", ADA);
    let root = opened(folder.path());
    assert!(root.folder(Path::new("cur")).is_ok());
    let refusal = refused(root.folder(Path::new("new")));
    assert!(refusal.starts_with("it belongs to user 0 and its folder to user 54321"));
    let refusal = refused(open(&path("list")));
    assert!(refusal.starts_with("it belongs to user 54322 and its folder to user 54321"));
}

#[test]
fn root_follows_no_link_that_a_user_has_made_to_what_is_another_s() {
    if !is_root() {
        return;
    }
    let folder = folder_of(&["ada/Maildir/cur/file", "eve/x", "ours/x"]);
    let path = |name: &str| folder.path().join(name);
    let give = |name: &str, uid| lchown(path(name), Some(uid), None).unwrap();
    give("ada", ADA);
    give("ada/Maildir", ADA);
    give("ada/Maildir/cur", ADA);
    give("ada/Maildir/cur/file", ADA);
    give("eve", EVE);
    for (link, to, uid) in [
        ("eve/Maildir", "ada/Maildir", EVE),
        ("eve/mail", "ada", EVE),
        ("ada/mail", "ada/Maildir", ADA),
        ("ours/ada", "ada", 0),
    ] {
        symlink(path(to), path(link)).unwrap();
        give(link, uid);
    }
    for name in ["eve/Maildir", "eve/mail/Maildir", "eve/Maildir/cur/file"] {
        let refusal = refused(open(&path(name)));
        assert!(
            refusal.starts_with("a symbolic link of user 54322 leads to it"),
            "{refusal}"
        );
    }
    for name in [
        "ada/mail",
        "ours/ada/Maildir",
        "ours/ada/mail",
        "ada/mail/cur/file",
    ] {
        assert!(open(&path(name)).is_ok(), "{name}");
    }
}
