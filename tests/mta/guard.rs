//! A mail server that ends with this process, however this process ends.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs the first command until the end of stdin, and then the second.
const GUARD: &str = r#"
    exec 3<&0
    sh -c "$1" <&- & server=$!
    cat <&3 >/dev/null
    sh -c "$2" </dev/null || kill $server
    wait $server
"#;

/// A running mail server. It ends when this is dropped.
pub(super) struct Guard(Child);

impl Guard {
    /// Starts one by a command that stays in the foreground; another ends it.
    pub(super) fn start(start: &str, stop: &str, output: &Path) -> Self {
        let output = std::fs::File::create(output).unwrap();
        let child = Command::new("sh")
            .args(["-c", GUARD, "sh", start, stop])
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            // Ctrl-C is for the tests; the guard sees them end.
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Its folder goes next, without which it could not be told to end.
        drop(self.0.wait());
    }
}
