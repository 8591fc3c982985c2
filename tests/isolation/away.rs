//! A database that is away when the server starts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use super::{Site, TOKEN, admin_endpoint};
use crate::support::client::Client;
use crate::support::http::Http;
use crate::support::postgres::free_port;
use crate::support::{cli, eventually};

/// Carries connections from a port to the database, until this process ends.
fn relay(listener: TcpListener, to: String) {
    std::thread::spawn(move || {
        for here in listener.incoming() {
            let (here, there) = (here.unwrap(), TcpStream::connect(&to).unwrap());
            for (mut from, mut to) in [
                (here.try_clone().unwrap(), there.try_clone().unwrap()),
                (there, here),
            ] {
                std::thread::spawn(move || {
                    let mut octets = [0; 16 * 1024];
                    while let Ok(count @ 1..) = from.read(&mut octets) {
                        if to.write_all(&octets[..count]).is_err() {
                            break;
                        }
                    }
                    drop(to.shutdown(Shutdown::Write));
                });
            }
        }
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_server_waits_at_its_start_for_a_database_that_is_away() {
    let Some(site) = Site::on_postgres(1, 1) else {
        return;
    };
    let [database, pop3, admin, health] = std::array::from_fn(|_| free_port());
    let real = site.place.url.split_once('@').unwrap().1;
    let (real, name) = real.split_once('/').unwrap();
    let mut child = cli::restante()
        .arg("serve")
        .env(
            "Database__Url",
            format!("postgres://postgres@127.0.0.1:{database}/{name}"),
        )
        .env("Pop3__BindAddress", "127.0.0.1")
        .env("Pop3__Port", pop3.to_string())
        .env("Pop3__SecurePort", "0")
        .env("Admin__Port", admin.to_string())
        .env("Admin__Token", TOKEN)
        .env("HealthCheck__Url", format!("http://127.0.0.1:{health}"))
        .stderr(Stdio::null())
        .spawn()
        .map(Killed)
        .unwrap();
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let admin = admin_endpoint(admin);
    eventually("the server to wait", || {
        TcpStream::connect(admin.address).ok()
    });
    assert_eq!(admin.get("/livez").status, 200);
    for path in ["/readyz", "/healthz", "/metrics", "/api/sessions"] {
        assert!(
            admin
                .get(path)
                .problem(503)
                .contains("waits for its database")
        );
    }
    let health = Http::new(here(health));
    eventually("the listener for health checks", || {
        TcpStream::connect(health.address).ok()
    });
    let waiting = health.get("/healthz");
    assert_eq!(waiting.status, 503);
    let waiting = waiting.json();
    assert_eq!(waiting["status"], "Unhealthy", "{waiting}");
    assert_eq!(waiting["checks"][0]["name"], "database", "{waiting}");
    health.get("/readyz").problem(404);
    assert!(child.0.try_wait().unwrap().is_none());

    relay(TcpListener::bind(here(database)).unwrap(), real.to_owned());
    eventually("the server to listen", || {
        TcpStream::connect(here(pop3)).ok()
    });
    let (user, key) = &site.users[0];
    assert!(
        Client::login(here(pop3), user, key)
            .ok("STAT")
            .starts_with("+OK 1 ")
    );
    assert_eq!(admin.get("/readyz").status, 200);
    assert_eq!(health.get("/healthz").status, 200);
}

#[test]
fn a_server_that_waits_for_its_database_can_be_stopped() {
    let mut child = cli::restante()
        .arg("serve")
        .env(
            "Database__Url",
            format!("postgres://u@127.0.0.1:{}/n", free_port()),
        )
        .env("Pop3__Port", free_port().to_string())
        .env("Admin__Port", free_port().to_string())
        .stderr(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let mut log = std::io::BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waits for it") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0);
    }
    crate::support::daemon::signal(child.0.id(), "TERM");
    assert_eq!(cli::wait(&mut child.0), Some(0));
}

#[test]
fn what_waiting_does_not_help_ends_the_server_at_once() {
    let Some(site) = Site::on_postgres(0, 0) else {
        return;
    };
    let (before, _) = site.place.url.rsplit_once('/').unwrap();
    let outcome = cli::Cli::new(&format!("{before}/no_such_database"))
        .args(["serve"])
        .run();
    let error = outcome.failed(1);
    assert!(error.contains("does not exist"), "{error}");
}
