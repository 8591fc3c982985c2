//! The commands, as processes of their own.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use super::eventually;

/// A command line that is being put together.
#[derive(Debug)]
pub(crate) struct Cli {
    command: Command,
    stdin: Vec<u8>,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit status; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command with none of our settings in its environment.
pub(crate) fn restante() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_restante"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().contains("__") || name == "RESTANTE_CONFIG" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command on this database, with words as arguments.
pub(crate) fn run(url: &str, words: &str) -> Outcome {
    Cli::new(url).args(words.split_whitespace()).run()
}

impl Cli {
    /// A command on this database.
    pub(crate) fn new(url: &str) -> Self {
        let mut command = restante();
        command.env("Database__Url", url);
        // The first command on a database tells at length how it makes the schema.
        command.env("Log__Level", "warn");
        Self {
            command,
            stdin: Vec::new(),
        }
    }

    /// Adds arguments.
    pub(crate) fn args<T: AsRef<std::ffi::OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = T>,
    ) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads from stdin; nothing unless told.
    pub(crate) fn stdin(mut self, octets: &[u8]) -> Self {
        self.stdin = octets.to_vec();
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Outcome {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // It need not read all of it, or any.
                drop(stdin.write_all(&self.stdin));
            });
            let stdout = scope.spawn(move || read(&mut stdout));
            let stderr = scope.spawn(move || read(&mut stderr));
            let code = wait(&mut child);
            Outcome {
                code,
                stdout: stdout.join().unwrap(),
                stderr: stderr.join().unwrap(),
            }
        })
    }
}

impl Outcome {
    /// What it printed, if it succeeded and had nothing to complain about.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
        self.stdout
    }

    /// Why it failed, if it did with this exit status and printed nothing on stdout.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("restante: "), "{self:?}");
        self.stderr
    }
}

/// Waits for a process to end; one that does not is killed. The status, if no signal ended it.
pub(crate) fn wait(child: &mut Child) -> Option<i32> {
    let id = child.id();
    let ended = eventually(&format!("process {id}"), || child.try_wait().unwrap());
    ended.code()
}

/// Ends a process and waits until it has ended.
pub(crate) fn kill(child: &mut Child) {
    // It may have ended before.
    drop(child.kill());
    wait(child);
}

fn read(stream: &mut impl Read) -> String {
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    String::from_utf8(octets).unwrap()
}
