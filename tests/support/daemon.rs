//! The real server, as a process of its own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command};

use tempfile::TempDir;

use super::client::Client;
use super::postgres::free_port;
use super::{cli, eventually};

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Daemon {
    /// Starts a server on this database and waits until it listens.
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(url, &[])
    }

    /// Starts a server on this database with further settings.
    pub(crate) fn start_with(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_told(url, &[], settings)
    }

    /// Starts a server with further arguments and settings.
    pub(crate) fn start_told(url: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        // Somebody else may take the port before it does: then it ends, and we try another.
        loop {
            let mut daemon = Self::spawn(url, arguments, settings);
            let listens = eventually("the server to listen", || {
                let log = daemon.log();
                match daemon.child.try_wait().unwrap() {
                    Some(_) if log.contains("another program listens there") => Some(false),
                    Some(status) => panic!("the server ended with {status}: {log}"),
                    None => log.contains("listening").then_some(true),
                }
            });
            if listens {
                return daemon;
            }
        }
    }

    fn spawn(url: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = cli::restante()
            .arg("serve")
            .args(arguments)
            .env("Database__Url", url)
            .env("Pop3__BindAddress", "127.0.0.1")
            .env("Pop3__Port", address.port().to_string())
            .env("Pop3__SecurePort", "0")
            .env("Admin__Port", "0")
            .env("Lmtp__Port", "0")
            // Wrong keys come from the one address that all tests share.
            .env("Pop3__AuthFailureDelay", "0")
            .envs(settings.iter().copied())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            address,
            child,
            folder,
        }
    }

    /// A session that has been greeted.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A session that is logged in.
    pub(crate) fn login(&self, user: &str, key: &str) -> Client {
        Client::login(self.address, user, key)
    }

    /// Ends it as a power cut would: `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it has ended; its exit status, if no signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        cli::wait(&mut self.child)
    }

    /// How much memory it has, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// How much memory it had at most, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    /// How much memory it has that is no mapped file, in KiB.
    pub(crate) fn anonymous_kib(&self) -> u64 {
        self.memory_kib("RssAnon:")
    }

    fn memory_kib(&self, kind: &str) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(kind));
        let resident = lines.next().unwrap().trim().trim_end_matches(" kB");
        resident.parse().unwrap()
    }

    /// Lets it have only so many files open, of those that it may have.
    pub(crate) fn limit_open_files(&self, count: u64) {
        self.limit(rustix::process::Resource::Nofile, count);
    }

    /// Lets its files be only so large, in octets.
    pub(crate) fn limit_size_of_files(&self, octets: u64) {
        self.limit(rustix::process::Resource::Fsize, octets);
    }

    fn limit(&self, resource: rustix::process::Resource, limit: u64) {
        let process = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap());
        let limit = rustix::process::Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        rustix::process::prlimit(process, resource, limit).unwrap();
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    /// Waits until it has logged something with these words in it.
    pub(crate) fn wait_for_log(&self, words: &str) {
        eventually(words, || self.log().contains(words).then_some(()));
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let kill = format!("kill -{name} {process}");
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "{kill}");
}
