//! Mail clients that people have, as they are, against the real server.

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
use crate::support::mail::{self, ADA};
use crate::support::place::{self, Place};
use crate::support::postgres::free_port;
use crate::support::{cli, client::Client};

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
    _place: Place,
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
            _place: place,
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

impl Post {
    /// curl with what it needs to log in, and the URL that it begins with.
    fn curl(&self, security: Security) -> (Command, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--user"])
            .arg(format!("{ADA}:{}", self.key))
            .arg("--cacert")
            .arg(self.certificate());
        let scheme = match security {
            Security::None | Security::Stls => "pop3",
            Security::Tls => "pop3s",
        };
        if security == Security::Stls {
            curl.arg("--ssl-reqd");
        }
        let port = self.port(security);
        (curl, format!("{scheme}://127.0.0.1:{port}"))
    }
}

#[test]
fn curl_lists_and_reads_every_message() {
    if !is_here("curl") {
        return;
    }
    let post = Post::with_all_mail();
    for security in EVERY_SECURITY {
        let (mut curl, url) = post.curl(security);
        let listing = post.run_well(curl.arg(format!("{url}/")));
        let lines = (1..).zip(&post.messages);
        let lines = lines.map(|(number, message)| format!("{number} {}\r\n", message.len()));
        assert_eq!(
            String::from_utf8(listing).unwrap(),
            lines.collect::<String>()
        );
        // All over one connection, each into a file of its own.
        let (mut curl, url) = post.curl(security);
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=post.messages.len() {
            curl.arg("--output")
                .arg(folder.path().join(number.to_string()));
            curl.arg(format!("{url}/{number}"));
        }
        post.run_well(&mut curl);
        let read = |number: usize| std::fs::read(folder.path().join(number.to_string())).unwrap();
        let got: Vec<_> = (1..=post.messages.len()).map(read).collect();
        assert_same_mail(&got, &post.messages, &format!("curl, {security:?}"));
    }
    assert_eq!(post.left(), post.messages.len());
}

#[test]
fn curl_asks_for_capabilities_and_deletes() {
    if !is_here("curl") {
        return;
    }
    let post = Post::open(vec![b"one\r\n".to_vec(), b"two\r\n".to_vec()]);
    let ask = |words: &[&str], path: &str| {
        let (mut curl, url) = post.curl(Security::None);
        let said = post.run_well(curl.args(words).arg(format!("{url}/{path}")));
        String::from_utf8(said).unwrap()
    };
    let capabilities = ask(&["-X", "CAPA"], "");
    for capability in ["TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES"] {
        let mut lines = capabilities.lines();
        assert!(lines.any(|line| line == capability), "{capabilities}");
    }
    let ids = ask(&["-X", "UIDL"], "");
    let second = ids.lines().nth(1).unwrap().replacen("2 ", "1 ", 1);
    ask(&["-l", "-X", "DELE"], "1");
    assert_eq!(ask(&["-X", "UIDL"], ""), second + "\r\n");
    assert_eq!(ask(&[], "1"), "two\r\n");
}

#[test]
fn curl_is_told_that_the_key_is_wrong() {
    const LOGIN_DENIED: i32 = 67;
    if !is_here("curl") {
        return;
    }
    let post = Post::open(vec![b"one\r\n".to_vec()]);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--user", &format!("{ADA}:{}x", post.key)]);
    let port = post.port(Security::None);
    let outcome = post.run(curl.arg(format!("pop3://127.0.0.1:{port}/1")));
    assert_eq!(outcome.code, Some(LOGIN_DENIED), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, b"");
}

/// What poplib can do, done. Each message is written to a file of its number.
const POPLIB: &str = r#"
import poplib, ssl, sys

security, host, port, user, key, certificate, folder = sys.argv[1:]
trust = ssl.create_default_context(cafile=certificate)
if security == 'Tls':
    box = poplib.POP3_SSL(host, int(port), context=trust, timeout=60)
else:
    box = poplib.POP3(host, int(port), timeout=60)
assert box.getwelcome().startswith(b'+OK'), box.getwelcome()
before = box.capa()
if security == 'Stls':
    assert 'STLS' in before, before
    assert box.stls(trust).startswith(b'+OK')
    assert 'STLS' not in box.capa()
assert 'UIDL' in before and 'TOP' in before and 'USER' in before, before
try:
    box.apop(user, key)
    raise AssertionError('APOP is not offered')
except poplib.error_proto:
    pass
try:
    box.user(user)
    box.pass_(key + 'x')
    raise AssertionError('that key is wrong')
except poplib.error_proto as error:
    assert b'[AUTH]' in error.args[0], error
box.user(user)
assert box.pass_(key).startswith(b'+OK')
count, octets = box.stat()
assert box.noop().startswith(b'+OK')
sizes = [int(line.split()[1]) for line in box.list()[1]]
assert len(sizes) == count and sum(sizes) == octets, (sizes, count, octets)
ids = [line.decode().split()[1] for line in box.uidl()[1]]
assert len(set(ids)) == count
for number in range(1, count + 1):
    lines = box.retr(number)[1]
    message = b''.join(line + b'\r\n' for line in lines)
    assert len(message) == sizes[number - 1], number
    assert box.list(number).split()[2] == str(len(message)).encode()
    assert box.uidl(number).split()[2].decode() == ids[number - 1]
    # poplib counts the dots; RETR of a whole message has as many lines as TOP of them all.
    assert box.top(number, len(lines))[1] == lines
    header = box.top(number, 0)[1]
    assert header == lines[:lines.index(b'') + 1 if b'' in lines else None], header
    with open(f'{folder}/{number}', 'wb') as file:
        file.write(message)
box.dele(1)
box.dele(2)
assert box.stat()[0] == count - 2
box.rset()
box.dele(1)
assert box.quit().startswith(b'+OK')
"#;

#[test]
fn python_poplib_does_all_that_it_can() {
    if !is_here("python3") {
        return;
    }
    let mut messages = demo_mail::messages();
    messages.push(b".\r\n..\r\n\r\n.first\r\n.\r\n..\r\n...\r\nlast\r\n.".to_vec());
    messages.retain(|message| {
        let mut lines = message.split(|octet| *octet == b'\n');
        lines.all(|line| line.len() < LONGEST_LINE)
    });
    let post = Post::open(messages);
    for (round, security) in EVERY_SECURITY.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut python = Command::new("python3");
        python
            .args(["-c", POPLIB, &format!("{security:?}"), "localhost"])
            .args([&post.port(security).to_string(), ADA, &post.key])
            .args([&post.certificate(), folder.path()]);
        post.run_well(&mut python);
        // Each round has deleted the first message.
        let there = &post.messages[round..];
        let read = |number: usize| std::fs::read(folder.path().join(number.to_string())).unwrap();
        let got: Vec<_> = (1..=there.len()).map(read).collect();
        assert_same_mail(&got, there, &format!("poplib, {security:?}"));
        assert_eq!(post.left(), there.len() - 1);
    }
}

#[test]
fn fetchmail_keeps_and_deletes() {
    if !is_here("fetchmail") {
        return;
    }
    let post = Post::with_plain_mail();
    let bodies = |messages: &[Vec<u8>]| sorted(messages.iter().map(|m| body(&as_file(m))));
    for (security, keep) in [
        (Security::None, true),
        (Security::Stls, true),
        (Security::Tls, true),
        (Security::None, false),
    ] {
        let inbox = tempfile::tempdir().unwrap();
        let deliver = format!(r#"cat >"$(mktemp {}/XXXXXX)""#, inbox.path().display());
        let deliver = post.write("deliver", &format!("#!/bin/sh\n{deliver}\n"));
        set_mode(&deliver, 0o700);
        let trust = format!(
            r#"sslcertck sslcertfile "{}""#,
            post.certificate().display()
        );
        let security_words = match security {
            Security::None => "sslproto ''".to_owned(),
            Security::Stls => format!("sslproto 'auto' {trust}"),
            Security::Tls => format!("ssl {trust}"),
        };
        let settings = format!(
            "set no syslog\nset invisible\npoll localhost protocol pop3 service {} \
             username \"{ADA}\" password \"{}\" {security_words} {} fetchall no rewrite \
             mda \"{}\"\n",
            post.port(security),
            post.key,
            if keep { "keep" } else { "no keep" },
            deliver.display(),
        );
        let settings = post.write("fetchmailrc", &settings);
        let mut fetchmail = Command::new("fetchmail");
        fetchmail
            .arg("--fetchmailrc")
            .arg(settings)
            .arg("--pidfile")
            .arg(post.folder.path().join("fetchmail.pid"))
            .arg("--verbose")
            .env("FETCHMAILHOME", post.folder.path());
        let log = post.run_well(&mut fetchmail);
        let log = String::from_utf8_lossy(&log);
        assert_eq!(log.contains("POP3> STLS"), security == Security::Stls);
        let got = sorted(files(inbox.path()).iter().map(|file| body(file)));
        let who = format!("fetchmail, {security:?}, keep {keep}");
        assert_same_mail(&got, &bodies(&post.messages), &who);
        assert_eq!(post.left(), if keep { post.messages.len() } else { 0 });
    }
}

#[test]
fn mpop_keeps_and_deletes() {
    if !is_here("mpop") {
        return;
    }
    let post = Post::with_all_mail();
    let expected = sorted(post.messages.iter().map(|message| as_file(message)));
    for (security, keep) in [
        (Security::None, true),
        (Security::Stls, true),
        (Security::Tls, true),
        (Security::None, false),
    ] {
        let name = format!("{security:?}-{keep}");
        let maildir = post.maildir(&name);
        let settings = format!(
            "account default\nhost localhost\nport {}\nuser {ADA}\npassword {}\nauth user\n\
             tls {}\ntls_starttls {}\ntls_trust_file {}\nkeep {}\nreceived_header off\n\
             uidls_file {}\ndelivery maildir {}\n",
            post.port(security),
            post.key,
            on(security != Security::None),
            on(security == Security::Stls),
            post.certificate().display(),
            on(keep),
            post.folder.path().join(name + "-uidls").display(),
            maildir.display(),
        );
        let settings = post.write("mpoprc", &settings);
        let mut mpop = Command::new("mpop");
        mpop.arg("--quiet").arg("--file").arg(&settings);
        post.run_well(&mut mpop);
        let got = files(&maildir.join("new"));
        let who = format!("mpop, {security:?}, keep {keep}");
        assert_same_mail(&got, &expected, &who);
        assert_eq!(post.left(), if keep { post.messages.len() } else { 0 });
        // It remembers what it has seen by the unique-ids.
        let mut again = Command::new("mpop");
        post.run_well(again.arg("--quiet").arg("--file").arg(&settings));
        assert_eq!(files(&maildir.join("new")).len(), expected.len());
    }
}

fn on(yes: bool) -> &'static str {
    if yes { "on" } else { "off" }
}

impl Post {
    /// Lets getmail fetch what it has not seen, into a Maildir in its folder.
    fn getmail(&self, security: Security, keep: bool, folder: &Path) -> Outcome {
        let maildir = folder.join("inbox");
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(maildir.join(part)).unwrap();
        }
        // It never delivers as root.
        let mut user = "";
        if std::fs::metadata(folder).unwrap().uid() == 0 {
            set_mode(self.folder.path(), 0o755);
            let mut chown = Command::new("chown");
            self.run_well(chown.args(["-R", "nobody"]).arg(&maildir));
            user = "user = nobody";
        }
        let (kind, trust) = match security {
            Security::None | Security::Stls => ("SimplePOP3Retriever", String::new()),
            Security::Tls => (
                "SimplePOP3SSLRetriever",
                format!("ca_certs = {}", self.certificate().display()),
            ),
        };
        let settings = format!(
            "[retriever]\ntype = {kind}\nserver = localhost\nport = {}\nusername = {ADA}\n\
             password = {}\ntimeout = 15\n{trust}\n[destination]\ntype = Maildir\npath = {}/\n\
             {user}\n[options]\ndelete = {}\nread_all = false\nreceived = false\n\
             delivered_to = false\n",
            self.port(security),
            self.key,
            maildir.display(),
            !keep,
        );
        let settings = self.write("getmailrc", &settings);
        let mut getmail = Command::new("getmail");
        getmail.arg("--rcfile").arg(settings);
        self.run(getmail.arg("--getmaildir").arg(folder))
    }

    /// The same, until it has got over a fault of its own: it may miss that the process has ended
    /// which delivers a message, and then it waits for that process.
    fn getmail_from_scratch(&self, security: Security) -> PathBuf {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let folder = self.folder.path().join(format!("{security:?}-{attempt}"));
            std::fs::create_dir(&folder).unwrap();
            let outcome = self.getmail(security, true, &folder);
            if outcome.code == Some(0) {
                return folder;
            }
            let its_fault = outcome.stderr.contains("waiting child pid");
            assert!(its_fault && attempt < 5, "{}", outcome.stderr);
        }
    }
}

#[test]
fn getmail_keeps_and_deletes() {
    if !is_here("getmail") {
        return;
    }
    let post = Post::with_plain_mail();
    // It adds a Return-Path and folds long lines of the header.
    let expected = sorted(post.messages.iter().map(|m| body(&as_file(m))));
    let fetched = |folder: &Path| sorted(files(&folder.join("inbox/new")).iter().map(|f| body(f)));
    let folder = post.getmail_from_scratch(Security::Tls);
    assert_same_mail(&fetched(&folder), &expected, "getmail, inside TLS");
    let folder = post.getmail_from_scratch(Security::None);
    assert_same_mail(&fetched(&folder), &expected, "getmail, in clear");
    assert_eq!(post.left(), post.messages.len());
    // It has seen them all by their unique-ids, so now it only deletes.
    let outcome = post.getmail(Security::None, false, &folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_same_mail(&fetched(&folder), &expected, "getmail, again");
    assert_eq!(post.left(), 0);
}
