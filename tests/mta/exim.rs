//! Debian's Exim, on a configuration of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::guard::Guard;
use super::recipes::{recipe, with};
use super::site::{Site, Way, set_mode};
use crate::support::eventually;
use crate::support::postgres::free_port;

/// What an installed Exim takes for granted, for one that lives in a folder.
const PLACE: &str = "\
exim_path = PROGRAM
spool_directory = FOLDER/spool
log_file_path = FOLDER/spool/%slog
pid_file_path = FOLDER/exim.pid
primary_hostname = mx.example.com
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = PORT
keep_environment =
host_lookup =
tls_advertise_hosts =
qualify_domain = example.com
deliver_drop_privilege = true
";

/// A running Exim. It ends when this is dropped.
pub(super) struct Exim {
    /// Where strangers come in.
    pub(super) port: u16,
    folder: PathBuf,
    program: PathBuf,
    _guard: Guard,
    _folder: TempDir,
}

/// Where Debian's package has it; or its unpacked files, for Postfix and Exim exclude each other.
fn program() -> PathBuf {
    let installed = PathBuf::from("/usr/sbin/exim4");
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/exim/usr/sbin/exim4");
    if installed.exists() {
        installed
    } else {
        unpacked
    }
}

impl Exim {
    /// Whether it can run here.
    pub(super) fn is_there() -> bool {
        super::is_there_for_root(&program())
    }

    /// Starts one that delivers to a site.
    pub(super) fn start(site: &Site, way: Way) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        set_mode(&folder, 0o755);
        let spool = folder.join("spool");
        std::fs::create_dir(&spool).unwrap();
        let mut chown = Command::new("chown");
        let chown = chown.arg("Debian-exim:Debian-exim").args([&folder, &spool]);
        assert!(chown.status().unwrap().success());
        let port = free_port();
        let place = PLACE
            .replace("PROGRAM", program().to_str().unwrap())
            .replace("FOLDER", folder.to_str().unwrap())
            .replace("PORT", &port.to_string());
        let config = folder.join("exim4.conf");
        std::fs::write(&config, place + &recipes(site, way)).unwrap();
        let exim = format!("{} -C {}", program().display(), config.display());
        let stop = format!("kill $(cat {}/exim.pid)", folder.display());
        let guard = Guard::start(&format!("exec {exim} -bdf"), &stop, &folder.join("output"));
        let exim = Self {
            port,
            folder,
            program: program(),
            _guard: guard,
            _folder: temporary,
        };
        eventually("Exim", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        exim
    }

    /// Makes it try again what waits, until something has come of it.
    ///
    /// More than once, for the process that has just put it off may still hold it.
    pub(super) fn flush_until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        eventually(what, || {
            let answer = ask();
            if answer.is_none() {
                let mut flush = Command::new(&self.program);
                flush.arg("-C").arg(self.folder.join("exim4.conf"));
                assert!(flush.arg("-qff").status().unwrap().success());
            }
            answer
        })
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        let file = self.folder.join("spool").join("mainlog");
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Waits until it has logged something with these words in it.
    pub(super) fn wait_for_log(&self, words: &str) {
        eventually(words, || self.log().contains(words).then_some(()));
    }
}

/// The recipe's lines with this site's places.
fn recipes(site: &Site, way: Way) -> String {
    let whole = recipe("exim4.conf: over TCP");
    if way == Way::Tcp {
        return with(&whole, "port = 24\n", &format!("port = {}\n", site.port));
    }
    // As the page says: another transport, and nobody to ask who exists.
    let (before, behind) = whole.split_once("restante:\n  driver = smtp\n").unwrap();
    let (_, behind) = behind.split_once("\n\n").unwrap();
    let transport = recipe("exim4.conf: the transport over a Unix socket");
    let ask = "  require verify = recipient/callout=10s,no_cache\n";
    let before = with(before, ask, "");
    site.fill_in(&format!("{before}{transport}\n{behind}"), way)
}
