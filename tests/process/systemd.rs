//! What systemd gives to the server, and what it is told. The test plays systemd.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::cli::{self, restante};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, signal};
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Place, sqlite};
use crate::support::postgres::free_port;
use crate::support::{DEADLINE, eventually};

/// Where a service tells how it is.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, folder }
    }

    fn path(&self) -> String {
        let path = self.folder.path().join("notify");
        path.to_str().unwrap().to_owned()
    }

    /// Waits for a message with this line in it, and answers the whole of it.
    fn wait_for(&self, line: &str) -> String {
        let mut octets = [0; 4096];
        loop {
            let length = self.socket.recv(&mut octets).unwrap();
            let message = String::from_utf8(octets[..length].to_vec()).unwrap();
            if message.lines().any(|it| it == line) {
                return message;
            }
        }
    }
}

/// A server whose sockets are two that listen already; it is killed when this is dropped.
struct Activated(Child);

impl Drop for Activated {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a server that inherits these sockets under these names.
///
/// They come as its stdin and stdout, and the shell puts them to where systemd does.
fn activate(sockets: [&TcpListener; 2], names: &str, settings: &[(&str, &str)]) -> Activated {
    let [first, second] = sockets.map(|it| Stdio::from(OwnedFd::from(it.try_clone().unwrap())));
    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" serve";
    let server = restante();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(server.get_program());
    shell.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("Admin__Port", "0").envs(settings.iter().copied());
    shell.stdin(first).stdout(second).stderr(Stdio::null());
    Activated(shell.spawn().unwrap())
}

/// A certificate beside the database, with its key.
fn certificate(place: &Place) -> String {
    let file = place.folder.path().join("certificate.pem");
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certified.cert.pem() + &certified.signing_key.serialize_pem();
    std::fs::write(&file, pem).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn systemd_is_told_when_the_server_listens_lives_and_stops() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let manager = Manager::new();
    let mut daemon = Daemon::start_with(
        &place.url,
        &[
            ("NOTIFY_SOCKET", &manager.path()),
            ("WATCHDOG_USEC", "300000"),
        ],
    );
    manager.wait_for("READY=1");
    // From this moment on clients are greeted.
    let mut client = daemon.login(ADA, &key);
    client.ok("DELE 1");
    eventually("the status to count the session", || {
        let message = manager.wait_for("WATCHDOG=1");
        message.contains("STATUS=1 sessions").then_some(())
    });
    daemon.signal("TERM");
    let message = manager.wait_for("STOPPING=1");
    assert!(
        message.contains("EXTEND_TIMEOUT_USEC=60000000"),
        "{message}"
    );
    // A server that stops is still alive.
    client.ok("NOOP");
    manager.wait_for("WATCHDOG=1");
    client.ok("QUIT");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn a_server_takes_the_sockets_that_it_is_given() {
    let place = sqlite();
    let key = fill(&place.url, ADA, &[message(1, 100)]);
    let sockets = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let addresses: [SocketAddr; 2] = std::array::from_fn(|at| sockets[at].local_addr().unwrap());
    let manager = Manager::new();
    // A client that comes before the server does is served too.
    let waiting = std::thread::spawn(move || Client::login(addresses[1], ADA, &key));
    let mut server = activate(
        [&sockets[0], &sockets[1]],
        "pop3s:pop3",
        &[
            ("Database__Url", &place.url),
            ("Pop3__CertificatePath", &certificate(&place)),
            // It could not have these.
            ("Pop3__BindAddress", "192.0.2.1"),
            ("NOTIFY_SOCKET", &manager.path()),
        ],
    );
    manager.wait_for("READY=1");
    let mut client = waiting.join().unwrap();
    assert_eq!(client.body("RETR 1"), message(1, 100));
    // Inside TLS it is the server that waits: for the first record of the handshake.
    let tls = std::net::TcpStream::connect(addresses[0]).unwrap();
    tls.set_read_timeout(Some(DEADLINE)).unwrap();
    std::io::Write::write_all(&mut (&tls), b"NOOP\r\n").unwrap();
    let mut answer = [0; 7];
    std::io::Read::read_exact(&mut (&tls), &mut answer).unwrap();
    assert_eq!(answer[0], 21, "a TLS alert, and no greeting: {answer:?}");
    client.ok("QUIT");
    signal(server.0.id(), "TERM");
    assert_eq!(cli::wait(&mut server.0), Some(0));
}

#[test]
fn a_port_that_is_asked_for_and_not_given_is_opened_by_the_server() {
    let place = sqlite();
    let given = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free_port();
    let manager = Manager::new();
    let mut server = activate(
        [&given, &given],
        "pop3s",
        &[
            ("LISTEN_FDS", "1"),
            ("Database__Url", &place.url),
            ("Pop3__CertificatePath", &certificate(&place)),
            ("Pop3__BindAddress", "127.0.0.1"),
            ("Pop3__Port", &port.to_string()),
            ("NOTIFY_SOCKET", &manager.path()),
        ],
    );
    manager.wait_for("READY=1");
    Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok("QUIT");
    signal(server.0.id(), "TERM");
    assert_eq!(cli::wait(&mut server.0), Some(0));
}

#[test]
fn a_socket_of_which_nobody_knows_what_to_speak_there_is_refused() {
    let place = sqlite();
    let sockets = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let url = [("Database__Url", &*place.url)];
    let mut server = activate([&sockets[0], &sockets[1]], "pop3:imap", &url);
    assert_eq!(cli::wait(&mut server.0), Some(1));
}

#[test]
fn the_units_are_what_systemd_understands() {
    let verifies = Command::new("systemd-analyze").arg("--version").output();
    if verifies.is_err() {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    // It looks for the program and the manual page, so both are to be where they are now.
    let folder = tempfile::tempdir().unwrap();
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let mut files = Vec::new();
    for name in ["restante.service", "restante.socket", "restante-tls.socket"] {
        let unit = std::fs::read_to_string(units.join(name)).unwrap();
        let unit = unit.replace("/usr/bin/restante", env!("CARGO_BIN_EXE_restante"));
        let unit = unit
            .replace("man:restante(1) ", "")
            .replace("man:restante(1)", "file:///");
        let file = folder.path().join(name);
        std::fs::write(&file, unit).unwrap();
        files.push(file);
    }
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let about_ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("restante"))
        .collect();
    assert!(about_ours.is_empty(), "{said}");
}
