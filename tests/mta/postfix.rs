//! Debian's Postfix, on a configuration of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::guard::Guard;
use super::recipes::{recipe, with};
use super::site::{Site, Way, set_mode};
use crate::support::postgres::free_port;
use crate::support::{eventually, pause};

/// What an installed Postfix says of itself, for one that lives in a folder.
const PLACE: &str = "\
compatibility_level = 3.6
queue_directory = FOLDER/queue
data_directory = FOLDER/data
maillog_file = FOLDER/mail.log
maillog_file_prefixes = FOLDER
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
myhostname = mx.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
default_transport = error:no mail leaves this machine
";

/// Of Debian's master.cf what takes and delivers mail; and a second entrance without checks of
/// recipients, as it is for mail that comes from elsewhere than SMTP.
const SERVICES: &str = "\
127.0.0.1:PORT inet n - n - - smtpd
127.0.0.1:OTHER inet n - n - - smtpd
  -o smtpd_recipient_restrictions=
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
showq unix n - n - - showq
lmtp unix - - y - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// Adds lines to main.cf in place of those of the same name. Postfix warns of a name that is there
/// twice, also in the process that writes its log, which may then wait for itself without end.
fn with_further(settings: &str, further: &str) -> String {
    let name = |line: &str| line.split(" =").next().unwrap_or_default().to_owned();
    let names: Vec<_> = further.lines().map(name).collect();
    let kept = settings.lines().filter(|line| !names.contains(&name(line)));
    let lines = kept.chain(further.lines());
    lines.map(|line| format!("{line}\n")).collect()
}

/// How long it has for what waits before it is told again.
const BETWEEN_FLUSHES: Duration = Duration::from_millis(200);

/// A running Postfix. It ends when this is dropped.
pub(super) struct Postfix {
    /// Where strangers come in.
    pub(super) port: u16,
    /// Where recipients are not checked.
    pub(super) unchecked_port: u16,
    folder: PathBuf,
    _guard: Guard,
    _folder: TempDir,
}

impl Postfix {
    /// Whether it can run here.
    pub(super) fn is_there() -> bool {
        super::is_there_for_root(Path::new("/usr/lib/postfix/sbin/master"))
    }

    /// Starts one that delivers to a site, with further lines of main.cf.
    pub(super) fn start(site: &Site, way: Way, further: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        set_mode(&folder, 0o755);
        for name in ["queue", "data"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        run(Command::new("chown")
            .arg("postfix")
            .arg(folder.join("data")));
        let (port, unchecked_port) = (free_port(), free_port());
        let settings = with_further(&main(&folder, site, way), further);
        std::fs::write(folder.join("main.cf"), settings).unwrap();
        let services = SERVICES
            .replace("PORT", &port.to_string())
            .replace("OTHER", &unchecked_port.to_string());
        std::fs::write(folder.join("master.cf"), services).unwrap();
        let mut chroot = Command::new("postconf");
        chroot.arg("-c").arg(&folder);
        run(chroot.args(["-F", "lmtp/unix/chroot=n"]));

        let postfix = format!("postfix -c {}", folder.display());
        let start = format!("exec {postfix} start-fg");
        let guard = Guard::start(&start, &format!("{postfix} abort"), &folder.join("output"));
        let postfix = Self {
            port,
            unchecked_port,
            folder,
            _guard: guard,
            _folder: temporary,
        };
        eventually("Postfix", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        postfix
    }

    /// Makes it try again what waits, until something has come of it.
    ///
    /// More than once, for what has just been put off may not be back in the queue yet.
    pub(super) fn flush_until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        eventually(what, || {
            let answer = ask();
            if answer.is_none() {
                run(Command::new("postqueue")
                    .arg("-c")
                    .arg(&self.folder)
                    .arg("-f"));
                pause(BETWEEN_FLUSHES);
            }
            answer
        })
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> usize {
        let mut list = Command::new("postqueue");
        let list = list.arg("-c").arg(&self.folder).arg("-j").output().unwrap();
        assert!(list.status.success(), "{list:?}");
        list.stdout.split(|octet| *octet == b'\n').count() - 1
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("mail.log")).unwrap_or_default()
    }

    /// Waits until it has logged something with these words in it.
    pub(super) fn wait_for_log(&self, words: &str) {
        eventually(words, || self.log().contains(words).then_some(()));
    }
}

/// The recipe's lines, after what is not theirs to say.
fn main(folder: &Path, site: &Site, way: Way) -> String {
    let delivery = match way {
        Way::Tcp => {
            let address = format!("127.0.0.1:{}", site.port);
            with(&recipe("main.cf: over TCP"), "127.0.0.1:24", &address)
        }
        Way::Socket => site.fill_in(&recipe("main.cf: over a Unix socket"), way),
    };
    [
        PLACE.replace("FOLDER", folder.to_str().unwrap()),
        recipe("main.cf: the domains, and who exists in them"),
        recipe("main.cf: delivery"),
        delivery,
    ]
    .concat()
}

fn run(command: &mut Command) {
    let outcome = command.output().unwrap();
    assert!(outcome.status.success(), "{command:?}: {outcome:?}");
}
