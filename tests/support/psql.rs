//! psql, as an operator has it open: it holds locks for as long as a test likes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::postgres::program;

/// A session of psql. It ends when this is dropped, and its transaction with it.
pub(crate) struct Psql {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    told: usize,
}

impl Psql {
    /// Opens a session on this database.
    pub(crate) fn open(url: &str) -> Self {
        let mut child = Command::new(program("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1"])
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            told: 0,
        }
    }

    /// Runs statements to their end; the lines that they print.
    pub(crate) fn run(&mut self, sql: &str) -> Vec<String> {
        self.begin(sql);
        self.end()
    }

    /// Begins to run statements, which may wait for something.
    pub(crate) fn begin(&mut self, sql: &str) {
        self.told += 1;
        let mark = format!("{sql};\n\\echo done {}\n", self.told);
        self.stdin.write_all(mark.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    /// Waits for the end of what was begun.
    pub(crate) fn end(&mut self) -> Vec<String> {
        let mark = format!("done {}", self.told);
        let mut printed = Vec::new();
        loop {
            let mut line = String::new();
            let octets = self.stdout.read_line(&mut line).unwrap();
            assert!(octets > 0, "psql has failed; its error is above");
            match line.trim_end() {
                line if line == mark => return printed,
                line => printed.push(line.to_owned()),
            }
        }
    }

    /// Begins a transaction that locks the rows of a table.
    pub(crate) fn lock(&mut self, table: &str, rows: &str) {
        self.run(&format!(
            "BEGIN; SELECT 1 FROM {table} WHERE {rows} FOR UPDATE"
        ));
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
