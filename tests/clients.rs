//! Mail clients that people have, as they are, against the real server.

mod curl;
mod fdm;
mod fetchmail;
mod getmail;
mod mailx;
mod mpop;
mod mutt;
mod nmh;
mod perl;
mod poplib;
mod sasl;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use restante::demo_mail;
use tempfile::TempDir;

use crate::served::certificate_file;
use crate::support::daemon::Daemon;
use crate::support::mail::{self, ADA, BOB};
use crate::support::place::{self, Place};
use crate::support::postgres::free_port;
use crate::support::{cli, client::Client, eventually};

/// The longest line that Python's poplib reads, and half of what fetchmail does.
const LONGEST_LINE: usize = 2000;

/// A running server with a maildrop of mail as people get it.
struct Post {
    daemon: Daemon,
    secure_port: u16,
    key: String,
    /// What was delivered, as it must be sent.
    messages: Vec<Vec<u8>>,
    folder: TempDir,
    place: Place,
}

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    None,
    Stls,
    Tls,
}

const EVERY_SECURITY: [Security; 3] = [Security::None, Security::Stls, Security::Tls];

/// What came of a program.
struct Outcome {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Post {
    fn open(messages: Vec<Vec<u8>>) -> Self {
        Self::open_with(messages, &[])
    }

    fn open_with(messages: Vec<Vec<u8>>, further: &[(&str, &str)]) -> Self {
        let place = place::sqlite();
        let folder = tempfile::tempdir().unwrap();
        let certificate = certificate_file(folder.path());
        let key = mail::fill(&place.url, ADA, &messages);
        let secure_port = free_port();
        let port = secure_port.to_string();
        let mut settings = vec![
            ("Pop3__CertificatePath", certificate.to_str().unwrap()),
            ("Pop3__SecurePort", &port),
        ];
        settings.extend(further);
        Self {
            daemon: Daemon::start_with(&place.url, &settings),
            secure_port,
            key,
            messages: messages.iter().map(|message| as_sent(message)).collect(),
            folder,
            place,
        }
    }

    /// The mail of the demonstration, and some that is hard to carry.
    fn with_all_mail() -> Self {
        let mut messages = demo_mail::messages();
        messages.push(b".\r\n..\r\n\r\n.first\r\n.\r\n..\r\n...\r\nlast\r\n.".to_vec());
        messages.push(b"Subject: octets\r\n\r\n\0\x01\x80\xff \r bare CR\r\n\r\n\r\n".to_vec());
        messages.push(mail::message(1, 1_000_000));
        Self::open(messages)
    }

    /// The mail of the demonstration that programs can carry which read line by line.
    fn with_plain_mail() -> Self {
        let mut messages = demo_mail::messages();
        messages.retain(|message| {
            let mut lines = message.split(|octet| *octet == b'\n');
            lines.all(|line| line.len() < LONGEST_LINE)
        });
        Self::open(messages)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn port(&self, security: Security) -> u16 {
        match security {
            Security::None | Security::Stls => self.daemon.address.port(),
            Security::Tls => self.secure_port,
        }
    }

    /// Gives the user two further keys, and lets the clients that follow use the first of these.
    fn add_keys(&mut self) {
        let [second, _third] = ["second", "third"].map(|name| {
            let key = cli::run(&self.place.url, &format!("key create {ADA} --name {name}"));
            key.ok().trim().to_owned()
        });
        self.key = second;
    }

    /// How many messages the sessions retrieve that run meanwhile, as the log tells it.
    fn retrieved_by(&self, run: impl FnOnce()) -> usize {
        let ended = |log: &str| log.matches("session ended").count();
        let before = self.daemon.log();
        run();
        let log = eventually("the session to end", || {
            let log = self.daemon.log();
            (ended(&log) > ended(&before)).then_some(log)
        });
        let words = log[before.len()..].split([' ', '\n']);
        let retrieved = words.filter_map(|word| word.strip_prefix("retr="));
        retrieved.map(|count| count.parse::<usize>().unwrap()).sum()
    }

    /// A client that tries one mechanism after the other gets in at last, but late: each refusal
    /// costs it a delay.
    fn assert_no_login_refused(&self) {
        let log = self.daemon.log();
        let refused = log.lines().find(|line| line.contains("login refused"));
        assert_eq!(refused, None);
    }

    /// How many messages there are for who logs in now.
    fn left(&self) -> usize {
        let mut client: Client = self.daemon.login(ADA, &self.key);
        let stat = client.ok("STAT");
        client.ok("QUIT");
        stat.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Runs a program to its end.
    fn run(&self, command: &mut Command) -> Outcome {
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.folder.path().join(name));
        command.stdin(std::process::Stdio::null());
        command.stdout(File::create(&stdout).unwrap());
        command.stderr(File::create(&stderr).unwrap());
        command.env("HOME", self.folder.path());
        let code = cli::wait(&mut command.spawn().unwrap());
        let stderr = std::fs::read(stderr).unwrap();
        Outcome {
            code,
            stdout: std::fs::read(stdout).unwrap(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Runs a program that must succeed; what it printed.
    fn run_well(&self, command: &mut Command) -> Vec<u8> {
        let outcome = self.run(command);
        let said = String::from_utf8_lossy(&outcome.stdout);
        assert_eq!(outcome.code, Some(0), "{said}\n{}", outcome.stderr);
        outcome.stdout
    }

    /// Writes a file that only its owner reads, as programs want it where keys are.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        set_mode(&file, 0o600);
        file
    }

    fn maildir(&self, name: &str) -> PathBuf {
        let maildir = self.folder.path().join(name);
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(maildir.join(part)).unwrap();
        }
        maildir
    }
}

/// The message in canonical form, as simply as it can be said.
fn as_sent(message: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        sent.extend(line.strip_suffix(b"\r").unwrap_or(line));
        sent.extend(b"\r\n");
    }
    sent
}

/// The message as a file on this system has it: with LF.
fn as_file(message: &[u8]) -> Vec<u8> {
    let lines = message.split_inclusive(|octet| *octet == b'\n');
    let line = |line: &[u8]| match line.strip_suffix(b"\r\n") {
        Some(text) => [text, b"\n"].concat(),
        None => line.to_vec(),
    };
    lines.flat_map(line).collect()
}

/// What stands behind the header.
fn body(file: &[u8]) -> Vec<u8> {
    let end = file.windows(2).position(|two| two == b"\n\n");
    end.map_or(Vec::new(), |end| file[end + 2..].to_vec())
}

pub(crate) fn set_mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// All files of a folder, in an order that does not hang on their names.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    files.sort();
    files
}

fn sorted(messages: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut messages: Vec<_> = messages.collect();
    messages.sort();
    messages
}

/// Compares without printing megabytes.
fn assert_same_mail(got: &[Vec<u8>], expected: &[Vec<u8>], who: &str) {
    assert_eq!(got.len(), expected.len(), "{who}: messages");
    for (got, expected) in got.iter().zip(expected) {
        let at = got.iter().zip(expected).position(|(a, b)| a != b);
        let around = at.map(|at| got[at.saturating_sub(40)..].escape_ascii().to_string());
        let around = around.map(|text| text.chars().take(200).collect::<String>());
        assert!(
            got == expected,
            "{who}: {} octets instead of {}, different near {around:?}",
            got.len(),
            expected.len()
        );
    }
}

/// Is this program here? If not, it is said once.
pub(crate) fn is_here(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&paths).any(|folder| folder.join(program).exists());
    if !here {
        let skipped = format!("tests with {program} skipped: it is not installed\n");
        // Not eprint!, which the test harness keeps to itself while tests pass.
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
    here
}

fn on(yes: bool) -> &'static str {
    if yes { "on" } else { "off" }
}
