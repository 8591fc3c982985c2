//! Files of mbox as servers, MTAs and mail programs keep them.

mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::dovecot::Dovecot;
use super::{delete, import, maildrop, said};
use crate::clients::is_here;
use crate::support::cli::{self, Cli};
use crate::support::client::Client;
use crate::support::daemon::signal;
use crate::support::eventually;
use crate::support::mail::{self, ADA};
use crate::support::place::{Place, on_each_blocking, sqlite};

/// As Dovecot and UW-IMAP keep it: nothing is quoted, and lengths, UIDs and flags are in headers.
const OF_A_SERVER: &str = "\
From ada@example.org Wed Feb  1 19:00:04 2006
Subject: one
X-IMAPbase: 1138820404 0000000002
X-UID: 1
Content-Length: 46

Hello

From the quay we took the early ferry.

From bob@example.org Wed Feb  1 19:01:04 2006
Subject: two
X-UID: 2
Content-Length: 5

last

";

/// What an MTA puts behind it.
const DELIVERED: &str = "\
From eve@example.org Wed Feb  1 18:00:00 2006
Subject: three
X-UID: 77
Status: RO

>From x

From here on it is easy.

";

/// A user, and a file for them.
fn with_file(place: &Place, text: &str) -> PathBuf {
    cli::run(&place.url, "user add ada@example.com").ok();
    let path = place.folder.path().join("inbox");
    fs::write(&path, text).unwrap();
    path
}

fn unique_ids(place: &Place) -> Vec<String> {
    maildrop(place).into_iter().map(|it| it.0).collect()
}

fn texts(place: &Place) -> Vec<String> {
    let text = |(_, octets): (String, Vec<u8>)| String::from_utf8(octets).unwrap();
    maildrop(place).into_iter().map(text).collect()
}

#[test]
fn an_mbox_of_a_server_comes_as_it_was_served_under_the_ids_that_clients_know() {
    on_each_blocking(|place| {
        let path = with_file(place, &format!("{OF_A_SERVER}{DELIVERED}"));
        let path = path.to_str().unwrap();
        assert_eq!(said(import(place, path, &["--dry-run"])), [3, 0, 0, 0]);
        assert_eq!(said(import(place, path, &[])), [3, 0, 0, 0]);
        // In the order of the file, although the last has an earlier date.
        let expected = [
            "Subject: one\r\n\r\nHello\r\n\r\nFrom the quay we took the early ferry.\r\n",
            "Subject: two\r\n\r\nlast\r\n",
            "Subject: three\r\n\r\n>From x\r\n\r\nFrom here on it is easy.\r\n",
        ];
        assert_eq!(texts(place), expected);
        let ids = [1, 2, 3].map(|uid| format!("{uid:08x}43e10534"));
        assert_eq!(unique_ids(place), ids);
        assert_eq!(said(import(place, path, &[])), [0, 3, 0, 0]);

        // Meanwhile clients have read and deleted, and more has come.
        let read = OF_A_SERVER
            .replace("404 0000000002", "404 0000000004")
            .replace(
                "X-UID: 2",
                "X-UID: 2   \nStatus: RO\nX-Status: A\nX-Keywords: Junk",
            );
        let later = "From eve@example.org Wed Feb  1 19:09:00 2006\nSubject: four\nX-UID: 4\n\n\n";
        let delivered = DELIVERED.replace("X-UID: 77\nStatus: RO", "X-UID: 3\nStatus: RO");
        fs::write(path, format!("{read}{delivered}{later}")).unwrap();
        delete(place, &["0000000143e10534"]);
        assert_eq!(said(import(place, path, &[])), [1, 2, 1, 0]);
        assert_eq!(said(import(place, path, &[])), [0, 3, 1, 0]);
        assert_eq!(unique_ids(place)[2], "0000000443e10534");
    });
}

#[test]
fn what_a_client_has_read_since_the_first_import_is_not_doubled() {
    on_each_blocking(|place| {
        let plain = "\
From ada@example.org Wed Feb  1 19:00:04 2006
Subject: one
Message-ID: <1@example.org>

Hello

>From the quay we took the early ferry.

From bob@example.org Wed Feb  1 19:01:04 2006
Subject: two
Status: O

last

";
        let path = with_file(place, plain);
        let path = path.to_str().unwrap();
        assert_eq!(said(import(place, path, &[])), [2, 0, 0, 2]);
        assert!(texts(place)[0].ends_with("\r\n\r\nFrom the quay we took the early ferry.\r\n"));
        // mailx, mutt and qpopper.
        let mailx = plain.replace("Status: O\n", "Status: RO\n");
        let mutt = "\nStatus: RO\nContent-Length: 47\nLines: 3\n\nHello";
        let mutt = mailx.replace("\n\nHello", mutt);
        let qpopper = mailx.replace("\n\nHello", "\nX-UIDL: 4f2c!\"\nStatus: RO\n\nHello");
        for changed in [mailx, mutt, qpopper] {
            fs::write(path, &changed).unwrap();
            let outcome = import(place, path, &["--dry-run"]);
            assert_eq!(said(outcome)[..3], [0, 2, 0], "{changed}");
        }
        // Dovecot, which gives them names.
        let dovecot =
            "\nX-IMAPbase: 1138820404 0000000002\nX-UID: 1\nStatus: RO\nContent-Length: 47";
        let dovecot = plain.replace("\n\nHello", &format!("{dovecot}\n\nHello"));
        let dovecot = dovecot.replace("Status: O\n", "Status: RO\nX-UID: 2\n");
        fs::write(path, dovecot).unwrap();
        assert_eq!(said(import(place, path, &[])), [0, 2, 0, 0]);
        assert_eq!(unique_ids(place), ["0000000143e10534", "0000000243e10534"]);
    });
}

#[test]
fn an_archive_without_empty_lines_has_all_of_its_messages() {
    let place = sqlite();
    let letter = |n| {
        format!(
            "From ada@example.org Wed Feb  1 19:0{n}:04 2006\nSubject: letter {n}\n\ntext {n}\n"
        )
    };
    let path = with_file(&place, &(0..4).map(letter).collect::<String>());
    assert_eq!(
        said(import(&place, path.to_str().unwrap(), &[])),
        [4, 0, 0, 4]
    );
    let expected = [0, 1, 2, 3].map(|n| format!("Subject: letter {n}\r\n\r\ntext {n}\r\n"));
    assert_eq!(texts(&place), expected);
}

#[test]
fn a_message_that_was_saved_with_a_from_line_is_one() {
    let place = sqlite();
    let text = "From ada@example.org Wed Feb  1 19:00:04 2006\nSubject: one\n\nHello\n\n\
        From here on it is easy\n";
    let path = with_file(&place, text);
    for name in ["saved.eml", "saved"] {
        let saved = path.with_file_name(name);
        fs::rename(place.folder.path().join("inbox"), &saved).unwrap();
        let known = usize::from(name == "saved");
        let outcome = import(&place, saved.to_str().unwrap(), &[]);
        assert_eq!(said(outcome), [1 - known, known, 0, 1]);
        fs::rename(saved, place.folder.path().join("inbox")).unwrap();
    }
    let expected = "Subject: one\r\n\r\nHello\r\n\r\nFrom here on it is easy\r\n";
    assert_eq!(texts(&place), [expected]);
}

#[test]
fn what_was_deleted_in_thunderbird_stays_away_and_is_told() {
    let place = sqlite();
    let text = "From - Wed Feb  1 19:00:04 2006\nX-Mozilla-Status: 0001\nX-Mozilla-Keys:    \n\
        Subject: one\n\nhi\n\nFrom - Wed Feb  1 19:01:04 2006\nX-Mozilla-Status: 0009\n\
        Subject: two\n\nho\n\n";
    let path = with_file(&place, text);
    let summary = import(&place, path.to_str().unwrap(), &[]).ok();
    assert!(
        summary.starts_with("1 messages imported, 0 already there"),
        "{summary}"
    );
    let told = "1 messages were deleted in Thunderbird: they stay away\n";
    assert!(summary.ends_with(told), "{summary}");
    assert_eq!(texts(&place), ["Subject: one\r\n\r\nhi\r\n"]);
}

#[test]
fn the_format_of_unique_ids_can_be_told_of_an_mbox_too() {
    let place = sqlite();
    let path = with_file(&place, OF_A_SERVER);
    let path = path.to_str().unwrap();
    let refused = import(&place, path, &["--uidl-format", "%f"]).failed(1);
    assert!(
        refused.contains("a format for it has %u and %v"),
        "{refused}"
    );
    import(&place, path, &["--uidl-format", "%08Xv%08Xu"]).ok();
    // As UW-IMAP's ipop3d makes them.
    assert_eq!(unique_ids(&place), ["43e1053400000001", "43e1053400000002"]);
    fs::write(path, "From a\nSubject: x\n").unwrap();
    let refused = import(&place, path, &["--uidl-format", "%u"]).failed(1);
    assert!(refused.contains("an mbox: no X-IMAPbase"), "{refused}");
}

#[test]
fn an_mbox_is_locked_while_it_is_read_and_read_when_nobody_uses_it() {
    let place = sqlite();
    let path = with_file(&place, OF_A_SERVER);
    let lock = path.with_file_name("inbox.lock");
    let path = path.to_str().unwrap();
    fs::write(&lock, "").unwrap();
    let refused = import(&place, path, &["--lock-wait", "0"]).failed(1);
    assert!(
        refused.contains("inbox.lock says that another program"),
        "{refused}"
    );
    assert!(lock.exists());
    // It goes on as soon as the other program is done.
    std::thread::scope(|scope| {
        let import = scope.spawn(|| said(import(&place, path, &["--dry-run"])));
        fs::remove_file(&lock).unwrap();
        assert_eq!(import.join().unwrap(), [2, 0, 0, 0]);
    });
    assert!(!lock.exists());
    let Some(mut holder) = fcntl_holder(path) else {
        return;
    };
    let refused = import(&place, path, &["--lock-wait", "0"]).failed(1);
    assert!(refused.contains("locked it with fcntl"), "{refused}");
    assert!(!lock.exists());
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(said(import(&place, path, &[])), [2, 0, 0, 0]);
    assert!(!lock.exists());
}

/// A program that has locked a file for writing, until its stdin ends.
fn fcntl_holder(path: &str) -> Option<std::process::Child> {
    if !is_here("python3") {
        return None;
    }
    let program = "import fcntl,sys\nfile=open(sys.argv[1],'r+')\n\
        fcntl.lockf(file,fcntl.LOCK_EX)\nprint('locked',flush=True)\nsys.stdin.read()\n";
    let mut holder = Command::new("python3")
        .args(["-c", program, path])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 7];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    Some(holder)
}

#[test]
fn an_import_that_is_interrupted_leaves_no_lock() {
    let place = sqlite();
    let letter = |n: u32| {
        let text = "x".repeat(2000);
        format!("From ada@example.org Wed Feb  1 19:00:04 2006\nSubject: {n}\n\n{text}\n\n")
    };
    let path = with_file(&place, &(0..5000).map(letter).collect::<String>());
    let lock = path.with_file_name("inbox.lock");
    let mut child = cli::restante()
        .args(["import", ADA, path.to_str().unwrap()])
        .env("Database__Url", &place.url)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the lock", || lock.exists().then_some(()));
    crate::support::run(async || {
        let sql = place.sql().await;
        let ask = async || (sql.count("messages").await > 0).then_some(());
        crate::support::eventually_async("some of it to be there", ask).await;
    });
    signal(child.id(), "TERM");
    assert_eq!(cli::wait(&mut child), Some(1));
    assert!(!lock.exists());
    let before = maildrop(&place).len();
    let outcome = import(&place, path.to_str().unwrap(), &[]);
    assert_eq!(said(outcome), [5000 - before, before, 0, 5000]);
    assert!(!lock.exists());
}

/// A Dovecot that keeps the inbox as an mbox.
fn dovecot(text: &str, key: &str) -> Option<(Dovecot, PathBuf)> {
    let location = "mail_location = mbox:%h/mail/folders:INBOX=%h/mail/inbox";
    let dovecot = Dovecot::start(location, key)?;
    let folder = dovecot.folder.path().join("mail");
    fs::create_dir(&folder).unwrap();
    let inbox = folder.join("inbox");
    fs::write(&inbox, text).unwrap();
    give(&folder);
    Some((dovecot, inbox))
}

fn give(folder: &Path) {
    let mut chown = Command::new("chown");
    let chown = chown.args(["-R", "nobody:nogroup"]).arg(folder);
    assert!(chown.status().unwrap().success());
}

/// All that a server has: unique-ids and octets.
fn served(dovecot: &Dovecot, key: &str) -> Vec<(String, Vec<u8>)> {
    let mut client = Client::login(([127, 0, 0, 1], dovecot.port).into(), ADA, key);
    let list = String::from_utf8(client.body("UIDL")).unwrap();
    let ids = list.lines().map(|line| line.split_once(' ').unwrap());
    let ids: Vec<_> = ids.collect();
    let message = |(number, id): (&str, &str)| {
        let octets = client.body(&format!("RETR {number}"));
        (id.to_owned(), octets)
    };
    let messages = ids.into_iter().map(message).collect();
    client.ok("QUIT");
    messages
}

#[test]
fn an_mbox_that_dovecot_has_served_comes_as_dovecot_serves_it() {
    // A body whose first line is a From_ line loses an octet when this Dovecot moves it in its file.
    let forwarded = "see\n\nFrom bob@example.org Wed Feb  1 19:01:04 2006\nSubject: x\n\ny\n";
    let length = forwarded.len();
    let inner = format!("Subject: four\nContent-Length: {length}\n\n{forwarded}");
    let text = format!(
        "{OF_A_SERVER}{DELIVERED}From d@example.org Wed Feb  1 19:03:04 2006\n{inner}\n\
         From e@example.org Wed Feb  1 19:04:04 2006\nSubject: without a body\n\n\n\
         From f@example.org Wed Feb  1 19:05:04 2006\nSubject: trailing\n\nempty lines\n\n\n\n\
         From g@example.org Wed Feb  1 19:06:04 2006 +0100\nSubject: zone\nX-Keywords: a\n b\n\n.\n..x\n\n\
         From h@example.org Wed Feb  1 19:07 2006\nSubject: minutes\n\nFrom Monday on\nhi\n"
    );
    let place = sqlite();
    let key = mail::fill(&place.url, ADA, &[]);
    let Some((mut dovecot, inbox)) = dovecot(&text, &key) else {
        return;
    };
    let first = served(&dovecot, &key);
    assert_eq!(first.len(), 8);
    let path = inbox.to_str().unwrap();
    assert_eq!(said(import(&place, path, &[])), [8, 0, 0, 0]);
    assert_eq!(maildrop(&place), first);

    // More comes, and Dovecot has not looked at it: the ids that it will give are known.
    let more = "\nFrom i@example.org Wed Feb  1 19:08:04 2006\nSubject: later\n\n>From me\n\n";
    fs::write(&inbox, [fs::read(&inbox).unwrap(), more.into()].concat()).unwrap();
    give(&inbox);
    assert_eq!(said(import(&place, path, &[])), [1, 8, 0, 0]);
    let second = served(&dovecot, &key);
    assert_eq!(maildrop(&place), second);
    // Deleted there, and rewritten.
    let mut client = Client::login(([127, 0, 0, 1], dovecot.port).into(), ADA, &key);
    client.ok("DELE 1");
    client.ok("QUIT");
    assert_eq!(said(import(&place, path, &[])), [0, 8, 0, 0]);
    assert_eq!(maildrop(&place), second);
    dovecot.stop();
}

#[test]
fn an_mbox_that_dovecot_looks_at_after_the_first_import_is_not_doubled() {
    let text = "From ada@example.org Wed Feb  1 19:00:04 2006\nSubject: one\n\n>From x\n\n\
        From bob@example.org Wed Feb  1 19:01:04 2006\nSubject: two\nStatus: O\n\nlast\n\n";
    let place = sqlite();
    let key = mail::fill(&place.url, ADA, &[]);
    let Some((mut dovecot, inbox)) = dovecot(text, &key) else {
        return;
    };
    let path = inbox.to_str().unwrap();
    assert_eq!(said(import(&place, path, &[])), [2, 0, 0, 2]);
    let served = served(&dovecot, &key);
    assert_eq!(said(import(&place, path, &[])), [0, 2, 0, 0]);
    let ids: Vec<_> = served.into_iter().map(|it| it.0).collect();
    assert_eq!(unique_ids(&place), ids);
    // Over POP3, they are the same too.
    let url = format!("pop3://ada%40example.com@127.0.0.1:{}", dovecot.port);
    let over_pop3 = Cli::new(&place.url).env("RESTANTE_IMPORT_PASSWORD", &key);
    assert_eq!(
        said(over_pop3.args(["import", ADA, &url]).run()),
        [0, 2, 0, 0]
    );
    dovecot.stop();
}
