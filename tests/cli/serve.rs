//! `restante serve` and `restante demo`: how they start and stop.

use std::process::Stdio;

use super::maildrop;
use crate::support::cli::{self, Cli};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, signal};
use crate::support::eventually;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{on_each_blocking, sqlite};
use crate::support::postgres::free_port;

#[test]
fn a_server_that_can_not_start_says_why() {
    let place = sqlite();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let serve = |settings: &[(&str, &str)]| {
        let mut cli = Cli::new(&place.url)
            .args(["serve"])
            .env("Pop3__BindAddress", "127.0.0.1")
            .env("Admin__Port", "0");
        for (name, value) in settings {
            cli = cli.env(name, value);
        }
        cli.run().failed(1)
    };
    assert_eq!(
        serve(&[("Pop3__Port", &taken)]),
        format!(
            "restante: cannot listen on 127.0.0.1:{taken}: another program listens there; stop it, \
             or set Pop3__Port and Pop3__SecurePort\n"
        )
    );
    let elsewhere = serve(&[("Pop3__Port", "11110"), ("Pop3__BindAddress", "192.0.2.1")]);
    assert!(
        elsewhere.contains("no such address; check Pop3__BindAddress"),
        "{elsewhere}"
    );
    let nowhere = serve(&[("Pop3__Port", "0"), ("Pop3__SecurePort", "0")]);
    assert!(
        nowhere.contains("nothing to listen on: set Pop3__Port"),
        "{nowhere}"
    );
    let database = serve(&[("Database__Url", "sqlite:///dev/null/restante.db")]);
    assert!(
        database.contains("the folder /dev/null of the database can't be made"),
        "{database}"
    );
    let missing = place.folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    let certificate = serve(&[
        ("Pop3__Port", "0"),
        ("Pop3__SecurePort", &free_port().to_string()),
        ("Pop3__CertificatePath", missing),
        ("Pop3__CertificateKeyPath", missing),
    ]);
    assert!(certificate.contains(missing), "{certificate}");
}

#[test]
fn a_server_whose_database_does_not_answer_can_be_stopped() {
    // Its connections wait in the queue of the system, and nobody says anything.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let mut server = cli::restante()
        .arg("serve")
        .env("Database__Url", format!("postgres://u@{address}/x"))
        .env("Admin__Port", "0")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (_connection, _) = silent.accept().unwrap();
    signal(server.id(), "TERM");
    assert_eq!(cli::wait(&mut server), Some(0));
}

#[test]
fn a_server_without_authentication_serves_loopback_only_and_users_that_exist() {
    let place = sqlite();
    fill(&place.url, ADA, &[message(1, 100)]);
    for address in ["", "0.0.0.0", "::", "192.0.2.1"] {
        let outcome = Cli::new(&place.url)
            .args(["serve"])
            .env("Pop3__RequireAuthentication", "false")
            .env("Pop3__Port", &free_port().to_string())
            .env("Pop3__BindAddress", address)
            .run();
        let error = outcome.failed(1);
        assert!(
            error.contains("needs Pop3__BindAddress=127.0.0.1 (or ::1)"),
            "{error}"
        );
    }
    let daemon = Daemon::start_with(&place.url, &[("Pop3__RequireAuthentication", "false")]);
    assert!(daemon.log().contains("any key opens any maildrop"));
    assert_eq!(
        daemon.login(ADA, "whatever").body("RETR 1"),
        message(1, 100)
    );
    let mut eve = daemon.connect();
    eve.ok("USER eve@example.com");
    assert!(eve.command("PASS whatever").starts_with("-ERR [AUTH]"));
}

#[test]
fn a_signal_stops_the_server_in_order() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 100), message(2, 100)]);
        for name in ["TERM", "INT"] {
            let mut daemon = Daemon::start(&place.url);
            let mut greeted = daemon.connect();
            let mut client = daemon.login(ADA, &key);
            client.ok("DELE 1");
            daemon.signal(name);
            // Who has not logged in loses nothing.
            assert_eq!(greeted.read_to_end(), b"");
            let refused = std::net::TcpStream::connect(daemon.address);
            let refused = refused.map(|mut stream| std::io::Read::read(&mut stream, &mut [0]));
            assert!(!matches!(refused, Ok(Ok(1..))));
            client.ok("QUIT");
            assert_eq!(daemon.wait(), Some(0));
            assert!(daemon.log().contains("stopped"));
        }
        assert!(maildrop(place, ADA).is_empty());
    });
}

#[test]
fn a_second_signal_ends_the_server_at_once_and_deletes_nothing() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 100)]);
        let mut daemon = Daemon::start_with(&place.url, &[("Pop3__ShutdownTimeout", "1h")]);
        let mut client = daemon.login(ADA, &key);
        client.ok("DELE 1");
        daemon.signal("TERM");
        daemon.wait_for_log("stopping");
        // The session is alive, so the server has reason to wait.
        client.ok("NOOP");
        daemon.signal("TERM");
        assert_eq!(daemon.wait(), Some(1));
        assert!(daemon.log().contains("stopped at once by a second signal"));
        assert_eq!(maildrop(place, ADA).len(), 1);
    });
}

#[test]
fn a_demo_shows_mail_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let printed = folder.path().join("printed");
    let rest = folder.path().join("rest");
    std::fs::create_dir(&rest).unwrap();
    let mut child = cli::restante()
        .arg("demo")
        .env("TMPDIR", &rest)
        .current_dir(&rest)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&printed).unwrap())
        .spawn()
        .unwrap();
    let text = eventually("the demo to say what to type", || {
        let text = std::fs::read_to_string(&printed).unwrap();
        text.contains("Ctrl-C").then_some(text)
    });
    // curl pop3://ada%40example.com:KEY@127.0.0.1:PORT/
    let url = text
        .split_whitespace()
        .find(|word| word.starts_with("pop3://"))
        .unwrap();
    let url = url::Url::parse(url).unwrap();
    assert_eq!(
        (url.username(), url.host_str()),
        ("ada%40example.com", Some("127.0.0.1"))
    );
    let port = url.port().unwrap();
    assert!(port >= 1024);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut client = Client::login(address, ADA, url.password().unwrap());
    let listing = String::from_utf8(client.body("LIST")).unwrap();
    assert!(listing.lines().count() >= 12);
    let mut largest = 0;
    for line in listing.lines() {
        let (number, octets) = line.split_once(' ').unwrap();
        let octets: usize = octets.parse().unwrap();
        assert_eq!(client.body(&format!("RETR {number}")).len(), octets);
        largest = largest.max(octets);
    }
    assert!(largest >= 5_000_000);
    client.ok("QUIT");
    signal(child.id(), "INT");
    assert_eq!(cli::wait(&mut child), Some(0));
    assert_eq!(std::fs::read_dir(&rest).unwrap().count(), 0);
}
