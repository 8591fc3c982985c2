//! A server that root starts: it runs as another user, or says that it should.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::lmtp::Mta;
use crate::served::certificate_file;
use crate::support::cli::{self, Cli};
use crate::support::daemon::Daemon;
use crate::support::mail::ADA;
use crate::support::place::sqlite;
use crate::tls::authority::Authority;
use crate::tls::shown_by;

/// Debian's user for what needs no rights.
const NOBODY: &str = "nobody";

/// Is this root? If not, it is said that a test is skipped.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let skipped = b"a test of root's rights is skipped: this is not root\n";
        std::io::stderr().write_all(skipped).unwrap();
    }
    is_root
}

/// Ports that only root may listen on, and that nobody listens on at this moment.
fn privileged_ports<const N: usize>() -> [u16; N] {
    let mut free = (512..1024).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    std::array::from_fn(|_| free.next().unwrap())
}

/// The numbers of a user and of their group.
fn ids_of(user: &str) -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let mut lines = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|line| line[0] == user).unwrap();
    (line[2].parse().unwrap(), line[3].parse().unwrap())
}

/// The numbers that each thread of a process has in this line of its status.
fn of_each_thread(process: u32, name: &str) -> Vec<Vec<u32>> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let status = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("status"));
    let numbers = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let numbers = line.unwrap().split_whitespace();
        numbers.map(|number| number.parse().unwrap()).collect()
    };
    // A thread may have ended since.
    let status = threads.filter_map(|thread| status(thread.unwrap()).ok());
    status.map(numbers).collect()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_server_of_root_has_root_s_ports_and_keys_and_is_another_user_in_all_else() {
    if !is_root() {
        return;
    }
    let (uid, gid) = ids_of(NOBODY);
    let place = sqlite();
    set_mode(place.folder.path(), 0o711);
    let mail = place.folder.path().join("mail");
    std::fs::create_dir(&mail).unwrap();
    chown(&mail, Some(uid), Some(gid)).unwrap();
    let certificate = certificate_file(place.folder.path());
    set_mode(&certificate, 0o600);
    let [secure, lmtp] = privileged_ports();
    let socket = mail.join("lmtp.sock");
    let mut daemon = Daemon::start_told(
        &place.url,
        &["--user", NOBODY],
        &[
            ("Pop3__CertificatePath", certificate.to_str().unwrap()),
            ("Pop3__SecurePort", &secure.to_string()),
            ("Lmtp__Port", &lmtp.to_string()),
            ("Lmtp__SocketPath", socket.to_str().unwrap()),
        ],
    );

    // Each thread, and each of its ids: real, effective, saved, and that for files.
    for (line, id) in [("Uid:", uid), ("Gid:", gid)] {
        let ids = of_each_thread(daemon.id(), line);
        let switched = ids.iter().all(|ids| *ids == [id; 4]);
        assert!(switched && ids.len() > 2, "{line} {ids:?}");
    }
    let groups = of_each_thread(daemon.id(), "Groups:");
    assert!(groups.iter().all(|it| !it.contains(&0)), "{groups:?}");
    for file in ["restante.db", "restante.db-wal", "lmtp.sock"] {
        let file = std::fs::metadata(mail.join(file)).unwrap();
        assert_eq!((file.uid(), file.gid()), (uid, gid));
    }
    assert!(!daemon.log().contains("as root without need"));

    cli::run(&place.url, &format!("user add {ADA}")).ok();
    let key = cli::run(&place.url, &format!("key create {ADA} --name test")).ok();
    let mut mta = Mta::hello(lmtp);
    mta.to(&[ADA]);
    assert!(mta.data(b"Subject: one\r\n\r\n", 1)[0].starts_with("250 "));
    let mut client = daemon.login(ADA, key.trim());
    client.ok("DELE 1");
    client.ok("QUIT");

    // What only root can read is in use, and can't be read again.
    let secure = SocketAddr::from(([127, 0, 0, 1], secure));
    let first = shown_by(secure);
    daemon.wait_for_log("so a renewed certificate needs a restart");
    let renewed = Authority::new("servers").server(&["localhost"]);
    std::fs::write(&certificate, renewed.both()).unwrap();
    daemon.signal("HUP");
    daemon.wait_for_log("the old ones stay in force");
    assert_eq!(shown_by(secure), first);
    chown(&certificate, Some(uid), None).unwrap();
    daemon.signal("HUP");
    daemon.wait_for_log("certificates reloaded");
    assert_eq!(shown_by(secure), renewed.der());

    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_user_that_a_server_can_t_become_is_refused_before_anything_is_made() {
    let place = sqlite();
    let refusals = if is_root() {
        [
            ("root", "this user is root"),
            ("nobody-of-this-name", "there is no such user"),
        ]
    } else {
        ["root", NOBODY].map(|user| (user, "only root can become another user"))
    };
    for (user, reason) in refusals {
        let serve = Cli::new(&place.url).args(["serve", "--user", user]);
        let error = serve.env("Pop3__Port", "0").run().failed(1);
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_user_who_may_not_write_where_the_database_is_to_be_is_named() {
    if !is_root() {
        return;
    }
    let place = sqlite();
    set_mode(place.folder.path(), 0o711);
    let [port] = privileged_ports();
    let serve = Cli::new(&place.url).args(["serve", "--user", NOBODY]);
    let outcome = serve
        .env("Pop3__BindAddress", "127.0.0.1")
        .env("Pop3__Port", &port.to_string())
        .env("Pop3__SecurePort", "0")
        .env("Admin__Port", "0")
        .run();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("as the user nobody"), "{outcome:?}");
}

#[test]
fn a_server_that_runs_as_root_without_need_says_so_once_and_so_does_check() {
    if !is_root() {
        return;
    }
    let place = sqlite();
    let daemon = Daemon::start(&place.url);
    let said = daemon.log().matches("runs as root without need").count();
    assert_eq!(said, 1);
    let found = cli::run(&place.url, "check --json").stdout;
    assert!(found.contains("serve --user NAME"), "{found}");
}
