//! The maildrop of another POP3 server; here, it is one of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use super::{delete, import, maildrop, said};
use crate::support::cli::{self, Cli};
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, fill, message};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;
use crate::tls::authority::Authority;

/// A server with mail, as another machine may have it.
struct Old {
    daemon: Daemon,
    key: String,
    place: Place,
}

impl Old {
    fn start(settings: &[(&str, &str)]) -> Self {
        let place = sqlite();
        let mut messages: Vec<_> = (0..20).map(|n| message(n, 500)).collect();
        messages.push(message(21, 3_000_000));
        messages.push(b".\r\n..\r\n\0\x80 \r x\r\n.".to_vec());
        messages.push(message(3, 500));
        let key = fill(&place.url, ADA, &messages);
        Self {
            daemon: Daemon::start_with(&place.url, settings),
            key,
            place,
        }
    }

    fn import(&self, place: &Place, source: &str, further: &[&str]) -> cli::Outcome {
        Cli::new(&place.url)
            .env("RESTANTE_IMPORT_PASSWORD", &self.key)
            .args(["import", ADA, source])
            .args(further)
            .run()
    }

    fn url(&self) -> String {
        format!("pop3://ada%40example.com@{}", self.daemon.address)
    }
}

#[test]
fn a_server_s_maildrop_comes_over_with_its_unique_ids_and_is_fetched_once() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        let old = Old::start(&[]);
        assert_eq!(
            said(old.import(place, &old.url(), &["--dry-run"])),
            [23, 0, 0, 0]
        );
        assert!(maildrop(place).is_empty());
        assert_eq!(said(old.import(place, &old.url(), &[])), [23, 0, 0, 0]);
        assert!(maildrop(place) == maildrop(&old.place));
        let unique_id = maildrop(place)[3].0.clone();
        delete(place, &[&unique_id]);
        // Nothing is read again, and nothing was deleted there.
        let fetched = |log: String| log.matches(" retr=23 ").count();
        let before = fetched(old.daemon.log());
        assert_eq!(said(old.import(place, &old.url(), &[])), [0, 22, 1, 0]);
        old.daemon.wait_for_log(" retr=0 ");
        assert_eq!(fetched(old.daemon.log()), before);
        assert_eq!(maildrop(&old.place).len(), 23);
        // What comes there later stands behind, although nothing in it tells when it came.
        let deliver = Cli::new(&old.place.url).args(["deliver", ADA]);
        deliver.stdin(b"Subject: later\r\n").run().ok();
        assert_eq!(said(old.import(place, &old.url(), &[])), [1, 22, 1, 0]);
        let (moved, mut expected) = (maildrop(place), maildrop(&old.place));
        expected.retain(|(id, _)| *id != unique_id);
        assert!(moved == expected);
    });
}

#[test]
fn a_server_inside_tls_is_verified_before_it_hears_the_password() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let [good, other] = [Authority::new("good"), Authority::new("other")];
    let file = |name: &str, text: &str| -> PathBuf {
        let path = place.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let certificate = file("server.pem", &good.server(&["localhost"]).both());
    let [good, other] = [file("good.pem", &good.pem), file("other.pem", &other.pem)];
    let port = free_port().to_string();
    let old = Old::start(&[
        ("Pop3__CertificatePath", certificate.to_str().unwrap()),
        ("Pop3__SecurePort", &port),
        ("Log__Level", "debug"),
    ]);
    let url = format!("pop3s://ada%40example.com@localhost:{port}");
    let refused = old.import(&place, &url, &[]).failed(1);
    assert!(
        refused.contains("no certificate to be trusted"),
        "{refused}"
    );
    let refused = old
        .import(&place, &url, &["--ca", other.to_str().unwrap()])
        .failed(1);
    assert!(
        refused.contains("no certificate to be trusted"),
        "{refused}"
    );
    let elsewhere = url.replace("localhost", "127.0.0.1");
    let refused = old
        .import(&place, &elsewhere, &["--ca", good.to_str().unwrap()])
        .failed(1);
    assert!(
        refused.contains("no certificate to be trusted"),
        "{refused}"
    );
    let key = file("key.pem", "no certificate");
    let refused = old
        .import(&place, &url, &["--ca", key.to_str().unwrap()])
        .failed(1);
    assert!(
        refused.contains("holds no certificate of an authority"),
        "{refused}"
    );
    let tried = |log: String| log.matches("pop3.auth").count() + log.matches("logged in").count();
    assert_eq!(tried(old.daemon.log()), 0);
    assert_eq!(
        said(old.import(&place, &url, &["--ca", good.to_str().unwrap()])),
        [23, 0, 0, 0]
    );
}

#[test]
fn what_keeps_a_server_s_mail_away_is_told() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let old = Old::start(&[]);
    let wrong = Cli::new(&place.url).env("RESTANTE_IMPORT_PASSWORD", "wrong");
    let wrong = wrong.args(["import", ADA, &old.url()]).run().failed(1);
    assert!(wrong.contains("the server refuses PASS: -ERR"), "{wrong}");
    let nobody = format!("pop3://ada@127.0.0.1:{}", free_port());
    let refused = old.import(&place, &nobody, &[]).failed(1);
    assert!(refused.contains("no connection to 127.0.0.1:"), "{refused}");
    let refused = old
        .import(&place, "pop3://ada:secret@127.0.0.1", &[])
        .failed(1);
    assert!(refused.contains("RESTANTE_IMPORT_PASSWORD") && !refused.contains("secret"));
    let refused = old.import(&place, "pop3://127.0.0.1", &[]).failed(1);
    assert!(
        refused.contains("the form is pop3s://USER@HOST"),
        "{refused}"
    );
    let refused = old
        .import(&place, &old.url(), &["--uidl-format", "%u"])
        .failed(1);
    assert!(refused.contains("tells its unique-ids itself"), "{refused}");
    let unasked = import(&place, &old.url(), &[]).failed(1);
    assert!(
        unasked.contains("set RESTANTE_IMPORT_PASSWORD"),
        "{unasked}"
    );
    // Gone in the middle: the message whose octets are lost is named, and all others come.
    crate::support::run(async || {
        let sql = old.place.sql().await;
        sql.run("DELETE FROM chunks WHERE content_id = (SELECT MIN(content_id) FROM chunks)")
            .await;
    });
    let outcome = old.import(&place, &old.url(), &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("it could not be read: the server refuses RETR"),
        "{outcome:?}"
    );
    assert_eq!(maildrop(&place).len(), 22);
}

/// A server of three messages that hangs up when the second is asked for, each time.
fn faulty() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"+OK\r\n").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let reply = match line.split(' ').next().unwrap() {
                    "LIST" => "+OK\r\n 1 12\r\n2 12\r\n3 12\r\n.\r\n",
                    "UIDL" => "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n",
                    "RETR" if line.ends_with('2') => break,
                    "RETR" if line.ends_with('1') => "+OK\r\nSubject: 1\r\n.\r\n",
                    "RETR" => "+OK\r\nSubject: 3\r\n.\r\n",
                    _ => "+OK\r\n",
                };
                stream.write_all(reply.as_bytes()).unwrap();
            }
        }
    });
    port
}

#[test]
fn a_message_at_which_the_server_hangs_up_keeps_no_other_away() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let url = format!("pop3://ada@127.0.0.1:{}", faulty());
    for imported in [2, 0] {
        let outcome = Cli::new(&place.url)
            .env("RESTANTE_IMPORT_PASSWORD", "x")
            .args(["import", ADA, &url])
            .run();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains("message 2: it could not be read"),
            "{outcome:?}"
        );
        let said = format!("{imported} messages imported");
        assert!(outcome.stdout.starts_with(&said), "{outcome:?}");
    }
    let unique_ids: Vec<_> = maildrop(&place).into_iter().map(|it| it.0).collect();
    assert_eq!(unique_ids, ["a", "c"]);
}
