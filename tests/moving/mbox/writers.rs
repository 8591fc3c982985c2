//! Imports mbox files written by real programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::{import, maildrop};
use crate::clients::is_here;
use crate::support::cli;
use crate::support::mail::ADA;
use crate::support::place::sqlite;

/// A message with each kind of "From " line that some mbox writers quote.
const FERRY: &str = "From: ada@example.org\nSubject: one\nDate: Wed, 01 Feb 2006 19:00:04 +0000\n\
    Message-ID: <1@example.org>\n\nHello\n\nFrom the quay we took the early ferry.\n\
    in a paragraph\nFrom here\n\nFrom eve@example.org Wed Feb  1 19:02:04 2006\n\
    Subject: an mbox in a message\n\nits body\n";

const SHORT: &str = "From: bob@example.org\nSubject: two\nDate: Wed, 01 Feb 2006 19:01:04 +0000\n\
    Message-ID: <2@example.org>\n\n.\nlast\n";

/// A message whose sender has already quoted such lines, for writers that preserve them.
const QUOTED: &str = "From: eve@example.org\nSubject: three\nDate: Wed, 01 Feb 2006 19:02:04 +0000\n\
    Message-ID: <3@example.org>\n\n>From me\n>>From you\n";

/// A folder with the messages as single files, as MH and as Maildir.
struct Letters {
    folder: TempDir,
    messages: Vec<&'static str>,
}

impl Letters {
    fn new(messages: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Without this folder, Mutt asks whether to make it.
        for name in ["md/cur", "md/new", "md/tmp", "mh", "Mail"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for (text, number) in messages.iter().zip(1..) {
            let path = |name: &str| folder.path().join(name);
            fs::write(path(&format!("{number}.eml")), text).unwrap();
            fs::write(path(&format!("mh/{number}")), text).unwrap();
            fs::write(path(&format!("md/cur/{number}.M{number}.host:2,S")), text).unwrap();
        }
        Self {
            folder,
            messages: messages.to_vec(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program in the folder, with an optional file on stdin, and returns its stdout.
    fn run(&self, command: &mut Command, stdin: Option<&Path>) -> String {
        let command = command.current_dir(self.folder.path());
        let command = command.env("HOME", self.folder.path()).env("TERM", "xterm");
        let command = match stdin {
            Some(path) => command.stdin(fs::File::open(path).unwrap()),
            None => command.stdin(Stdio::piped()),
        };
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Stdin stays open: a terminal passes the end of its input on as a key press.
        let open_end = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(open_end);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Imports the file and compares the maildrop with the messages.
    fn read_back(&self, name: &str) {
        let place = sqlite();
        cli::run(&place.url, "user add ada@example.com").ok();
        let path = self.path(name);
        let outcome = import(&place, path.to_str().unwrap(), &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let text = |(_, octets): (String, Vec<u8>)| String::from_utf8(octets).unwrap();
        let found: Vec<_> = maildrop(&place).into_iter().map(text).collect();
        let expected = self.messages.iter().map(|text| text.replace('\n', "\r\n"));
        let expected: Vec<_> = expected.collect();
        let written = fs::read_to_string(path).unwrap();
        assert_eq!(found, expected, "{ADA} {name}: {written}");
    }
}

#[test]
fn what_mutt_and_neomutt_save_is_read_back() {
    for program in ["mutt", "neomutt"] {
        if !is_here(program) || !is_here("script") {
            continue;
        }
        let letters = Letters::new(&[FERRY, SHORT, QUOTED]);
        let saved = letters.path("saved");
        fs::write(&saved, "").unwrap();
        let settings = format!(
            "set mbox_type=mbox\nset confirmappend=no\nset confirmcreate=no\nset quit=yes\n\
             set sort=mailbox-order\n\
             push '<tag-pattern>~A<enter><tag-prefix><copy-message>{}<enter><exit>'\n",
            saved.display()
        );
        fs::write(letters.path("rc"), settings).unwrap();
        // Both programs need a terminal, which `script` provides.
        let words = format!("{program} -n -F rc -f md");
        letters.run(
            Command::new("script").args(["-qec", &words, "/dev/null"]),
            None,
        );
        letters.read_back("saved");
    }
}

#[test]
fn what_formail_writes_is_read_back() {
    if !is_here("formail") {
        return;
    }
    let letters = Letters::new(&[FERRY, SHORT]);
    let mut mbox = String::new();
    for number in 1..=2 {
        let path = letters.path(&format!("{number}.eml"));
        mbox += &letters.run(&mut Command::new("formail"), Some(&path));
    }
    fs::write(letters.path("mbox"), mbox).unwrap();
    letters.read_back("mbox");
}

#[test]
fn what_python_writes_is_read_back() {
    if !is_here("python3") {
        return;
    }
    let letters = Letters::new(&[FERRY, SHORT]);
    let program = "import mailbox\nbox=mailbox.mbox('mbox')\n\
        for number in (1,2):\n  box.add(open(f'{number}.eml','rb').read())\nbox.flush()\n";
    letters.run(Command::new("python3").args(["-c", program]), None);
    letters.read_back("mbox");
}

#[test]
fn what_nmh_packs_is_read_back() {
    let packf = ["/usr/bin/packf", "/usr/bin/mh/packf"].into_iter();
    let Some(packf) = packf.rev().find(|path| Path::new(path).exists()) else {
        eprintln!("skipped: nmh is not installed");
        return;
    };
    let letters = Letters::new(&[FERRY, SHORT]);
    let profile = letters.path("profile");
    fs::write(
        &profile,
        format!("Path: {}\n", letters.folder.path().display()),
    )
    .unwrap();
    let mut command = Command::new(packf);
    command
        .args(["-file", "mbox", "+mh", "all"])
        .env("MH", &profile);
    letters.run(&mut command, None);
    letters.read_back("mbox");
}

#[test]
fn what_procmail_delivers_is_read_back() {
    if !is_here("procmail") {
        return;
    }
    let letters = Letters::new(&[FERRY, SHORT]);
    fs::write(letters.path("rc"), "DEFAULT=mbox\nMAILDIR=.\n").unwrap();
    for number in 1..=2 {
        let mut command = Command::new("procmail");
        command.args(["-f", "-", "-m", "./rc"]);
        letters.run(&mut command, Some(&letters.path(&format!("{number}.eml"))));
    }
    letters.read_back("mbox");
}
