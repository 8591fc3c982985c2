//! Debian's Dovecot first and Restante after, on the same port, with clients that remember what they
//! have fetched.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{import, maildrop, said};
use crate::clients::{is_here, set_mode};
use crate::support::cli::Cli;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::mail::{self, ADA};
use crate::support::place::{Place, sqlite};
use crate::support::postgres::free_port;

/// Where Debian has it.
const DOVECOT: &str = "/usr/sbin/dovecot";

/// How many messages there are at first.
const MESSAGES: usize = 12;

/// What delivers into its Maildirs.
const DELIVERS: &str = "/usr/lib/dovecot/dovecot-lda";

/// A Dovecot of our own. It ends when this is dropped.
pub(super) struct Dovecot {
    process: Child,
    pub(super) port: u16,
    pub(super) folder: TempDir,
}

impl Dovecot {
    /// Starts one with these settings of POP3; none where there is no Dovecot, or we may not.
    pub(super) fn start(settings: &str, password: &str) -> Option<Self> {
        let is_root = fs::metadata("/proc/self")
            .is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
        if !Path::new(DOVECOT).exists() || !is_root {
            eprintln!("skipped: Dovecot is run by root, and from {DOVECOT}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let dir = folder.path().display();
        let port = free_port();
        let configuration = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/run\nlog_path = {dir}/log\n\
             protocols = pop3\nlisten = 127.0.0.1\nssl = no\ndisable_plaintext_auth = no\n\
             auth_mechanisms = plain\nfirst_valid_uid = 1\nmail_location = maildir:{dir}/Maildir\n\
             mail_uid = nobody\nmail_gid = nogroup\n\
             passdb {{\n  driver = static\n  args = password={password}\n}}\n\
             userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home={dir}\n}}\n\
             service pop3-login {{\n  inet_listener pop3 {{\n    port = {port}\n  }}\n  \
             inet_listener pop3s {{\n    port = 0\n  }}\n}}\n{settings}\n"
        );
        fs::write(folder.path().join("dovecot.conf"), configuration).unwrap();
        for name in ["cur", "new", "tmp"] {
            fs::create_dir_all(folder.path().join("Maildir").join(name)).unwrap();
        }
        let process = Command::new(DOVECOT)
            .arg("-F")
            .arg("-c")
            .arg(folder.path().join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let dovecot = Self {
            process,
            port,
            folder,
        };
        eventually("Dovecot to listen", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(dovecot)
    }

    pub(super) fn maildir(&self) -> PathBuf {
        self.folder.path().join("Maildir")
    }

    /// Has Dovecot itself deliver a message, with further options.
    pub(super) fn store(&self, message: &[u8], options: &[&str]) {
        let mut command = Command::new(DELIVERS);
        command
            .arg("-c")
            .arg(self.folder.path().join("dovecot.conf"))
            .args(["-d", ADA])
            .args(options);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(message).unwrap();
        let log = || fs::read_to_string(self.folder.path().join("log"));
        assert!(child.wait().unwrap().success(), "{:?}", log());
    }

    /// What its POP3 serves: unique-ids and octets.
    pub(super) fn serves(&self, password: &str) -> Vec<(String, Vec<u8>)> {
        let address = ([127, 0, 0, 1], self.port).into();
        let mut client = crate::support::client::Client::login(address, ADA, password);
        let unique_ids = String::from_utf8(client.body("UIDL")).unwrap();
        let served = unique_ids.lines().map(|line| {
            let (number, unique_id) = line.split_once(' ').unwrap();
            let octets = client.body(&format!("RETR {number}"));
            (unique_id.to_owned(), octets)
        });
        let served = served.collect();
        client.ok("QUIT");
        served
    }

    /// Puts messages into the Maildir, as an MTA does.
    fn deliver(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let text =
                format!("From: a@example.org\nSubject: message {number}\n\n.\nbody {number}\n");
            let name = format!("{}.M{number}.host", 1_700_000_000 + number);
            fs::write(self.maildir().join("new").join(name), text).unwrap();
        }
        self.own();
    }

    /// Gives all of the Maildir to its user.
    pub(super) fn own(&self) {
        let mut chown = Command::new("chown");
        let chown = chown.args(["-R", "nobody:nogroup"]).arg(self.maildir());
        assert!(chown.status().unwrap().success());
    }

    pub(super) fn stop(&mut self) {
        cli_kill(&self.process);
        self.process.wait().unwrap();
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
    }
}

/// Ends a process in order.
fn cli_kill(process: &Child) {
    crate::support::daemon::signal(process.id(), "TERM");
}

/// A client that remembers what it has fetched, and where it puts that.
struct Client {
    folder: TempDir,
    port: u16,
    password: String,
    program: &'static str,
}

impl Client {
    fn new(program: &'static str, port: u16, password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        for name in ["cur", "new", "tmp"] {
            fs::create_dir_all(folder.path().join("inbox").join(name)).unwrap();
        }
        Self {
            folder,
            port,
            password: password.to_owned(),
            program,
        }
    }

    /// Fetches what is new and leaves all on the server; returns how many different messages have
    /// been fetched in all.
    ///
    /// getmail may miss that the process has ended which delivers a message. Then it waits for that
    /// in vain, and has not noted that message as seen.
    fn fetch(&self) -> usize {
        for _ in 0..5 {
            let output = self.command().stdin(Stdio::null()).output().unwrap();
            // fetchmail's 1 means that there was nothing new.
            if matches!(output.status.code(), Some(0 | 1)) {
                let different: HashSet<_> = self.fetched().iter().map(|it| subject(it)).collect();
                return different.len();
            }
            let its_fault = String::from_utf8_lossy(&output.stderr).contains("waiting child pid");
            assert!(its_fault, "{}: {output:?}", self.program);
        }
        panic!("{} has a fault of its own each time", self.program);
    }

    /// All that was fetched.
    fn fetched(&self) -> Vec<Vec<u8>> {
        let inbox = fs::read_dir(self.folder.path().join("inbox/new")).unwrap();
        inbox
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    /// The program with all that it needs.
    fn command(&self) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let inbox = path("inbox").display().to_string();
        let (port, password) = (self.port, &self.password);
        let mut command = Command::new(self.program);
        if self.program == "fetchmail" {
            let deliver = format!("#!/bin/sh\ncat >\"$(mktemp {inbox}/new/XXXXXX)\"\n");
            fs::write(path("deliver"), deliver).unwrap();
            set_mode(&path("deliver"), 0o700);
            let settings = format!(
                "set no syslog\nset invisible\npoll 127.0.0.1 protocol pop3 service {port} uidl \
                 username \"{ADA}\" password \"{password}\" sslproto '' keep no rewrite mda \"{}\"\n",
                path("deliver").display()
            );
            fs::write(path("rc"), settings).unwrap();
            command
                .arg("--fetchmailrc")
                .arg(path("rc"))
                .arg("--pidfile")
                .arg(path("pid"))
                .env("FETCHMAILHOME", self.folder.path());
        } else {
            let settings = format!(
                "[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\nport = {port}\n\
                 username = {ADA}\npassword = {password}\ntimeout = 15\n[destination]\n\
                 type = Maildir\npath = {inbox}/\n[options]\ndelete = false\n\
                 read_all = false\nreceived = false\ndelivered_to = false\n"
            );
            fs::write(path("rc"), settings).unwrap();
            // It never delivers as root.
            command = Command::new("runuser");
            command.args(["-u", "nobody", "--", self.program]);
            let getmaildir = self.folder.path();
            command
                .arg("--rcfile")
                .arg(path("rc"))
                .arg("--getmaildir")
                .arg(getmaildir);
        }
        set_mode(&path("rc"), 0o600);
        if self.program == "getmail" {
            let mut chown = Command::new("chown");
            chown.args(["-R", "nobody"]).arg(self.folder.path());
            assert!(chown.status().unwrap().success());
        }
        command
    }
}

/// The line that tells one message from another.
fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let subject = text.lines().find(|line| line.starts_with("Subject: "));
    subject.unwrap().to_owned()
}

/// Moves over: before, clients fetch from Dovecot; then from Restante, on the same port.
fn move_over(settings: &str, further: &[&str], by_files: bool) {
    let place = sqlite();
    let key = mail::fill(&place.url, ADA, &[]);
    let Some(mut dovecot) = Dovecot::start(settings, &key) else {
        return;
    };
    dovecot.deliver(0..MESSAGES);
    let clients: Vec<_> = ["fetchmail", "getmail"]
        .into_iter()
        .filter(|program| is_here(program))
        .map(|program| Client::new(program, dovecot.port, &key))
        .collect();
    for client in &clients {
        assert_eq!(client.fetch(), MESSAGES, "{} from Dovecot", client.program);
        assert_eq!(client.fetch(), MESSAGES, "{} remembers", client.program);
    }
    let mut log_in =
        crate::support::client::Client::login(([127, 0, 0, 1], dovecot.port).into(), ADA, &key);
    let unique_ids = String::from_utf8(log_in.body("UIDL")).unwrap();
    log_in.ok("QUIT");
    let source = if by_files {
        dovecot.maildir().to_str().unwrap().to_owned()
    } else {
        format!("pop3://ada%40example.com@127.0.0.1:{}", dovecot.port)
    };
    let bring = |place: &Place, words: &[&str]| {
        let import = Cli::new(&place.url).env("RESTANTE_IMPORT_PASSWORD", &key);
        said(
            import
                .args(["import", ADA, &source])
                .args(further)
                .args(words)
                .run(),
        )
    };
    assert_eq!(bring(&place, &["--dry-run"]), [MESSAGES, 0, 0, 0]);
    assert_eq!(bring(&place, &[]), [MESSAGES, 0, 0, 0]);
    assert_eq!(bring(&place, &["--dry-run"]), [0, MESSAGES, 0, 0]);
    dovecot.stop();

    let daemon = Daemon::start_with(
        &place.url,
        &[
            ("Pop3__Port", &dovecot.port.to_string()),
            ("Pop3__PlaintextAuth", "loopback"),
        ],
    );
    let moved = maildrop(&place).into_iter().zip(1..);
    let moved: String = moved.map(|((id, _), n)| format!("{n} {id}\r\n")).collect();
    assert_eq!(moved, unique_ids);
    for client in &clients {
        let before = client.fetched().len();
        client.fetch();
        let (after, program) = (client.fetched().len(), client.program);
        assert_eq!(after, before, "{program} has fetched something again");
    }
    let deliver = Cli::new(&place.url).args(["deliver", ADA]);
    deliver.stdin(b"Subject: new\n\nbody\n").run().ok();
    for client in &clients {
        assert_eq!(
            client.fetch(),
            MESSAGES + 1,
            "{}: the new one",
            client.program
        );
    }
    drop(daemon);
}

#[test]
fn clients_of_dovecot_fetch_nothing_again_after_its_maildir_was_imported() {
    move_over("", &[], true);
}

#[test]
fn clients_of_dovecot_fetch_nothing_again_after_its_mail_came_over_pop3() {
    move_over("", &[], false);
}

#[test]
fn unique_ids_that_dovecot_has_saved_win_over_its_format() {
    let saved = "protocol pop3 {\n  pop3_save_uidl = yes\n  pop3_uidl_format = %v-%u\n}";
    move_over(saved, &[], true);
}

#[test]
fn every_format_of_dovecot_s_unique_ids_is_as_dovecot_writes_it() {
    for format in [
        "%08Xu%08Xv",
        "%u.%v",
        "%Xv%Xu",
        "UID%u-%v",
        "%f",
        "%g",
        "%010u",
        "%Uf",
        "%08UXu%08XUv",
        "%3u-%5Xv",
        "%Mf",
        "%LRf",
        "%11.2f-%u",
        "%-4.0f-%u",
        "%-4.2f-%u",
        "%0.-3f",
    ] {
        let place = sqlite();
        let key = mail::fill(&place.url, ADA, &[]);
        let settings = format!("protocol pop3 {{\n  pop3_uidl_format = {format}\n}}");
        let Some(dovecot) = Dovecot::start(&settings, &key) else {
            return;
        };
        dovecot.deliver(0..3);
        let mut client =
            crate::support::client::Client::login(([127, 0, 0, 1], dovecot.port).into(), ADA, &key);
        let expected = String::from_utf8(client.body("UIDL")).unwrap();
        client.ok("QUIT");
        let maildir = dovecot.maildir();
        let done = import(
            &place,
            maildir.to_str().unwrap(),
            &["--uidl-format", format],
        );
        assert_eq!(said(done), [3, 0, 0, 0], "{format}");
        let moved = maildrop(&place).into_iter().zip(1..);
        let moved: String = moved.map(|((id, _), n)| format!("{n} {id}\r\n")).collect();
        assert_eq!(moved, expected, "{format}");
    }
}
