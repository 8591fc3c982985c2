//! The maildrop of another POP3 server; here, it is one of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use super::{delete, import, maildrop, said};
use crate::support::cli::{self, Cli};
use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB, fill, key, message};
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

/// A server that greets with the first of these, and answers each command with what stands behind
/// it, or else with the last.
fn scripted(greeting: &'static str, replies: Vec<(&'static str, String)>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let is_it = |(command, _): &&(&str, String)| line.starts_with(command);
                let reply = replies.iter().find(is_it).or_else(|| replies.last());
                if stream.write_all(reply.unwrap().1.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// Imports all of a server's mail for Ada.
fn import_from(place: &Place, port: u16) -> cli::Outcome {
    let url = format!("pop3://ada@127.0.0.1:{port}");
    let import = Cli::new(&place.url).env("RESTANTE_IMPORT_PASSWORD", "x");
    import.args(["import", ADA, &url]).run()
}

#[test]
fn servers_that_know_no_better_are_read() {
    let messages = ["Subject: 1\n\n..\n.x\n", "Subject: 2\n"];
    let expected = messages.map(|text| text.replace('\n', "\r\n").into_bytes());
    let stuffed = |end: &str| messages.map(|text| text.replace("\n.", "\n..").replace('\n', end));
    let one = |ok: &str, end: &str, text: &str| format!("{ok}{end}{text}.{end}");
    for (name, greeting, ok, end) in [
        ("LF alone", "+OK\n", "+OK", "\n"),
        ("in small letters", "+ok\r\n", "+ok", "\r\n"),
        ("in both", "+Ok ready\n", "+Ok fine", "\n"),
        ("with blanks", " +OK \r\n", "+OK  ", "\r\n"),
    ] {
        let place = sqlite();
        cli::run(&place.url, "user add ada@example.com").ok();
        let [first, second] = stuffed(end);
        // The sizes are wrong, and there is more than numbers.
        let list = format!(" 1   7 octets {end}2\t99999{end}{end}");
        let uidl = format!("1    a   {end}2\tb{end}");
        let port = scripted(
            greeting,
            vec![
                ("LIST", one(ok, end, &list)),
                (
                    "UIDL",
                    one(ok, end, &uidl).replace(&format!("{end}.{end}"), &format!("{end}. {end}")),
                ),
                ("RETR 1", one(ok, end, &first)),
                ("RETR 2", one(ok, end, &second)),
                ("", format!("{ok}{end}")),
            ],
        );
        assert_eq!(said(import_from(&place, port)), [2, 0, 0, 0], "{name}");
        let moved = maildrop(&place);
        assert_eq!(moved[0], ("a".to_owned(), expected[0].clone()), "{name}");
        assert_eq!(moved[1], ("b".to_owned(), expected[1].clone()), "{name}");
        assert_eq!(said(import_from(&place, port)), [0, 2, 0, 0], "{name}");
    }
}

#[test]
fn a_server_without_uidl_and_list_is_read_and_refuses_in_any_case() {
    let place = sqlite();
    cli::run(&place.url, "user add ada@example.com").ok();
    let port = scripted(
        "+OK\r\n",
        vec![
            ("LIST", "-err what\r\n".into()),
            ("UIDL", "-Err\r\n".into()),
            ("STAT", "+ok 2 24\r\n".into()),
            ("RETR 1", "+ok\r\nSubject: 1\r\n.\r\n".into()),
            ("RETR 2", "+ok\r\nSubject: 2\r\n.\r\n".into()),
            ("", "+ok\r\n".into()),
        ],
    );
    assert_eq!(said(import_from(&place, port)), [2, 0, 0, 2]);
    assert_eq!(said(import_from(&place, port)), [0, 2, 0, 2]);
    // An empty maildrop that has no list is no fault.
    let port = scripted(
        "+OK\r\n",
        vec![
            ("LIST", "-ERR no messages\r\n".into()),
            ("STAT", "+OK 0 0\r\n".into()),
            ("UIDL", "-ERR\r\n".into()),
            ("", "+OK\r\n".into()),
        ],
    );
    assert_eq!(said(import_from(&place, port)), [0, 0, 0, 0]);
}

#[test]
fn unique_ids_of_up_to_200_octets_are_kept_and_served() {
    on_each_blocking(|place| {
        cli::run(&place.url, "user add ada@example.com").ok();
        cli::run(&place.url, "user add bob@example.com").ok();
        let ids = [70, 71, 200, 201].map(|octets| "~".repeat(octets));
        let list = |of: &dyn Fn(usize) -> String| -> String {
            let lines = (1..=4).map(|n| format!("{n} {}\r\n", of(n)));
            lines.collect()
        };
        let retr = |n: usize| format!("+OK\r\nSubject: {n}\r\n.\r\n");
        let port = scripted(
            "+OK\r\n",
            vec![
                ("LIST", format!("+OK\r\n{}.\r\n", list(&|_| "12".into()))),
                (
                    "UIDL",
                    format!("+OK\r\n{}.\r\n", list(&|n| ids[n - 1].clone())),
                ),
                ("RETR 1", retr(1)),
                ("RETR 2", retr(2)),
                ("RETR 3", retr(3)),
                ("RETR 4", retr(4)),
                ("", "+OK\r\n".into()),
            ],
        );
        let outcome = import_from(place, port);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome
                .stdout
                .contains("\n1 messages will be fetched again"),
            "{outcome:?}"
        );
        assert!(
            outcome
                .stderr
                .contains("message 4: POP3 does not allow its unique-id"),
            "{outcome:?}"
        );
        let again = import_from(place, port).stdout;
        assert!(
            again.starts_with("0 messages imported, 4 already there"),
            "{again}"
        );

        let key = crate::support::run(async || key(&place.open().await, ADA).await);
        let daemon = Daemon::start_with(&place.url, &[("Pop3__PlaintextAuth", "loopback")]);
        let mut client = Client::login(daemon.address, ADA, &key);
        let listed = String::from_utf8(client.body("UIDL")).unwrap();
        let listed: Vec<_> = listed
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(listed[..3], ids[..3]);
        assert_eq!(listed[3].len(), 16);
        assert_eq!(client.ok("UIDL 3"), format!("+OK 3 {}", ids[2]));
        client.ok("DELE 2");
        client.ok("QUIT");
        drop(daemon);

        // They go on to another server, by the list of a Maildir.
        let path = place.folder.path().join("exported");
        let path = path.to_str().unwrap();
        let export = Cli::new(&place.url).args(["export", ADA, path, "--format", "maildir"]);
        export.run().ok();
        let import = Cli::new(&place.url).args(["import", BOB, path]);
        assert_eq!(said(import.run()), [3, 0, 0, 0]);
    });
}
