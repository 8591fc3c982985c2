use super::*;
use std::fs;
use std::path::PathBuf;

fn open(path: &Path) -> Result<Source, SourceError> {
    Source::open(path, &UidlFormat::default(), Folders::Inbox)
}

fn written(name: &str, octets: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, octets).unwrap();
    (folder, path)
}

fn refusal(name: &str, octets: &[u8]) -> SourceError {
    let (_folder, path) = written(name, octets);
    open(&path).unwrap_err()
}

/// All messages of a source, and the names of what was skipped.
fn read_all(source: &mut Source) -> (Vec<Vec<u8>>, Vec<String>) {
    let (mut messages, mut skipped) = (Vec::new(), Vec::new());
    while let Some(item) = source.next_item() {
        match item {
            Item::Message { .. } => {
                let mut message = Vec::new();
                while source.read(&mut message).unwrap() {}
                messages.push(message);
            }
            Item::Skipped { name, .. } => skipped.push(name),
        }
    }
    (messages, skipped)
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let error = open(Path::new("no/such/file")).unwrap_err();
    assert!(matches!(error, SourceError::NotFound(_)));
    assert_eq!(error.to_string(), "no/such/file does not exist");
}

#[test]
fn an_empty_file_is_refused_whatever_its_name() {
    for name in ["a.mbox", "a.eml", "a"] {
        assert!(matches!(refusal(name, b""), SourceError::Empty(_)));
    }
}

#[test]
fn a_file_that_is_no_mail_is_refused_with_what_was_expected() {
    for octets in [
        b"Dear Sir: hello\n".as_slice(),
        b"\x89PNG\r\n\x1a\n: ",
        b"https://example.org\n",
        b": nameless\n",
        b"From the desk of Ada\nwith love\n",
        b"\nSubject: no\n",
        b"no colon",
    ] {
        let error = refusal("inbox.mbox", octets);
        assert!(matches!(error, SourceError::NotMail(_)));
        let text = error.to_string();
        assert!(text.contains("inbox.mbox is no mail: expected an mbox, whose"));
    }
}

#[test]
fn a_device_is_refused() {
    let error = open(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(error, SourceError::Special(_)));
}

#[test]
fn an_empty_folder_and_one_without_messages_are_refused() {
    let (folder, path) = written("notes.txt", b"Subject: no\n");
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, SourceError::NoMessages(_)));
    fs::remove_file(path).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, SourceError::NoMessages(_)));
    fs::create_dir(folder.path().join("cur")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, SourceError::Empty(_)));
}

#[test]
fn one_message_is_known_by_its_name_or_its_first_line() {
    for (name, octets) in [
        ("letter.EML", b"\0 anything at all".as_slice()),
        (
            "1700000000.M1P1.host",
            b"Return-Path: <a@example.org>\n\nhi",
        ),
        ("letter", b"Subject:\r\n folded\r\n"),
        ("letter", b"X_y:"),
    ] {
        let (_folder, path) = written(name, octets);
        let mut source = open(&path).unwrap();
        assert_eq!(source.total_octets(), octets.len() as u64);
        assert_eq!(source.octets_read(), 0);
        assert_eq!(read_all(&mut source), (vec![octets.to_vec()], vec![]));
        assert_eq!(source.octets_read(), source.total_octets());
    }
}

#[test]
fn a_file_that_begins_with_a_from_line_is_an_mbox_unless_it_is_an_eml() {
    let octets = b"From a\nSubject: 1\n\nFrom b\n\nFrom c\nSubject: 2\n\nhi\n";
    let (_folder, path) = written("saved", octets);
    let mut source = open(&path).unwrap();
    let name = format!("mbox {}, message 1 (octet 0)", path.display());
    assert!(matches!(source.next_item(), Some(Item::Message { name: n, .. }) if n == name));
    drop(source);
    let mut source = open(&path).unwrap();
    let (messages, skipped) = read_all(&mut source);
    assert_eq!(
        messages,
        [b"Subject: 1\n".to_vec(), b"Subject: 2\n\nhi\n".to_vec()]
    );
    let name = format!("mbox {}, message 2 (octet 19)", path.display());
    assert_eq!(skipped, [name]);
    assert_eq!(source.octets_read(), octets.len() as u64);
}

#[test]
fn an_eml_file_is_one_message_without_its_from_line() {
    let from = "From ada@example.org Wed Feb  1 19:00:04 2006\n";
    let text = format!("Subject: 1\n\n>From x\n\nFrom here on it is easy\n\n{from}A: 2\n");
    for from in [
        from,
        "From ada\n",
        "From - Wed Feb  1 19:00:04 2006\r\n",
        "",
    ] {
        let (folder, path) = written("saved.eml", format!("{from}{text}").as_bytes());
        for path in [&path, folder.path()] {
            let (messages, skipped) = read_all(&mut open(path).unwrap());
            assert_eq!(
                (messages, skipped),
                (vec![text.clone().into_bytes()], vec![])
            );
        }
    }
    let (_folder, path) = written("prose.eml", b"From here on\nit is easy\n");
    let (messages, _) = read_all(&mut open(&path).unwrap());
    assert_eq!(messages, [b"From here on\nit is easy\n"]);
}

#[test]
fn an_mbox_that_grows_while_it_is_read_is_told() {
    let (_folder, path) = written("mail", b"From a\nSubject: 1\n\nhello\n");
    let mut source = open(&path).unwrap();
    let longer = [fs::read(&path).unwrap(), b"\nFrom b\nSubject: 2\n".to_vec()];
    fs::write(&path, longer.concat()).unwrap();
    let (messages, skipped) = read_all(&mut source);
    assert_eq!(messages, [b"Subject: 1\n\nhello\n"]);
    assert_eq!(skipped, [format!("mbox {}", path.display())]);
    assert_eq!(source.octets_read(), source.total_octets());
}

#[test]
fn an_mbox_that_another_program_uses_is_refused() {
    let (_folder, path) = written("mail", b"From a\nSubject: 1\n");
    let source = open(&path).unwrap();
    let refused = open(&path).unwrap_err();
    assert!(matches!(refused, SourceError::Locked { .. }), "{refused}");
    drop(source);
    open(&path).unwrap();
}

#[test]
fn the_progress_does_not_pass_the_end_of_what_grows_meanwhile() {
    let grow = |path: &Path| {
        let longer = [fs::read(path).unwrap(), b"more".to_vec()].concat();
        fs::write(path, longer).unwrap();
    };
    let (_folder, path) = written("mail", b"Subject: 1\n\nhello");
    let mut source = open(&path).unwrap();
    grow(&path);
    let (messages, _) = read_all(&mut source);
    assert!(messages[0].ends_with(b"more"));
    assert_eq!(source.octets_read(), source.total_octets());

    let (folder, first) = written("1.eml", b"Subject: 1\n");
    fs::write(folder.path().join("2.eml"), b"Subject: 2\n").unwrap();
    let mut source = open(folder.path()).unwrap();
    grow(&first);
    source.next_item().unwrap();
    while source.read(&mut Vec::new()).unwrap() {}
    assert_eq!(source.octets_read(), 11);
    source.next_item().unwrap();
    assert_eq!(source.octets_read(), 11);
}
