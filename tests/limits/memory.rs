//! Bounds on a server's memory.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use restante::settings::Config;

use crate::lmtp::Mta;
use crate::served::certificate_file;
use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::mail::{self, ADA};
use crate::support::place::{self, on_each_blocking};
use crate::support::postgres::free_port;
use crate::support::{eventually, pause};

/// What a server may have in memory under any of these loads. At rest it has a tenth of it.
const BOUND_KIB: u64 = 256 * 1024;

#[test]
fn thousands_of_half_open_handshakes_leave_only_so_many_sessions() {
    const LIMIT: usize = 200;
    const CONNECTIONS: usize = 2000;
    restante::open_files::raise(&Config::default());
    let place = place::sqlite();
    let certificate = certificate_file(place.folder.path());
    let daemon = Daemon::start_with(
        &place.url,
        &[
            ("Pop3__CertificatePath", certificate.to_str().unwrap()),
            ("Pop3__MaxConnectionsBeforeLogin", &LIMIT.to_string()),
        ],
    );
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = daemon.connect();
        if number % 2 == 0 {
            client.ok("STLS");
            // What follows would be a ClientHello of 512 octets.
            client.send_raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc");
        }
        clients.push(client);
    }
    let evicted = || daemon.log().matches("ending=\"evicted\"").count();
    let expected = CONNECTIONS - LIMIT;
    eventually("the oldest to go", || (evicted() == expected).then_some(()));
    let memory = daemon.resident_kib();
    assert!(memory < BOUND_KIB, "{memory} KiB");
    // It is said, but not for each.
    let log = daemon.log();
    let said = log.matches("too many sessions are not logged in").count();
    assert!((1..=3).contains(&said), "{said} times");
    daemon.connect().ok("QUIT");
    eventually("one more to go", || {
        (evicted() == expected + 1).then_some(())
    });
}

#[test]
fn two_hundred_clients_that_read_nothing_of_20_mb_cost_little() {
    let place = place::sqlite();
    let key = mail::fill(&place.url, ADA, &[mail::message(1, 20_000_000)]);
    let limit = ("Pop3__MaxConnectionsPerUser", "300");
    let daemon = Daemon::start_with(&place.url, &[limit]);
    let mut deaf: Vec<Client> = (0..200).map(|_| daemon.login(ADA, &key)).collect();
    for client in &mut deaf {
        client.send("RETR 1");
    }
    // Each reply has begun, and nobody reads more of it.
    for client in &mut deaf {
        assert!(client.read_line().starts_with("+OK"));
    }
    let mut reads = daemon.login(ADA, &key);
    assert!(reads.body("RETR 1").len() >= 20_000_000);
    let memory = daemon.resident_kib();
    assert!(memory < BOUND_KIB, "{memory} KiB");
    reads.ok("QUIT");
}

#[test]
fn what_many_sessions_have_needed_goes_back_to_the_system() {
    /// What 200 sessions need more than a server has anyway.
    const NEEDED_KIB: u64 = 14 * 1024;
    /// What may stay of that.
    const KEPT_KIB: u64 = 6 * 1024;
    let place = place::sqlite();
    let key = mail::fill(&place.url, ADA, &[mail::message(1, 20_000_000)]);
    let limit = ("Pop3__MaxConnectionsPerUser", "300");
    let daemon = Daemon::start_with(&place.url, &[limit]);
    daemon.login(ADA, &key).ok("QUIT");
    let before = daemon.anonymous_kib();
    let mut deaf: Vec<Client> = (0..200).map(|_| daemon.login(ADA, &key)).collect();
    for client in &mut deaf {
        client.send("RETR 1");
    }
    for client in &mut deaf {
        assert!(client.read_line().starts_with("+OK"));
    }
    let needed = daemon.anonymous_kib() - before;
    assert!(needed > NEEDED_KIB, "no storm: {needed} KiB");
    drop(deaf);
    eventually("memory to go back", || {
        (daemon.anonymous_kib() < before + KEPT_KIB).then_some(())
    });
}

#[test]
fn a_server_without_files_to_open_says_so_once_and_goes_on_when_it_has_some() {
    let place = place::sqlite();
    let daemon = Daemon::start(&place.url);
    daemon.connect().ok("QUIT");
    daemon.limit_open_files(60);
    let connect = || TcpStream::connect(daemon.address).unwrap();
    let taken: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    let complaint = "no connection could be accepted";
    daemon.wait_for_log(complaint);
    // It tries again ten times a second, of which nothing can be seen.
    pause(Duration::from_millis(500));
    drop(taken);
    daemon.connect().ok("QUIT");
    assert_eq!(daemon.log().matches(complaint).count(), 1);
}

#[test]
fn mail_comes_in_and_health_is_told_while_pop3_has_no_files_left() {
    on_each_blocking(|place| {
        let key = mail::fill(&place.url, ADA, &[mail::message(1, 100)]);
        let [lmtp, admin] = [free_port(), free_port()];
        let daemon = Daemon::start_with(
            &place.url,
            &[
                ("Lmtp__Port", &lmtp.to_string()),
                ("Admin__Port", &admin.to_string()),
            ],
        );
        daemon.limit_open_files(200);
        let connect = || TcpStream::connect(daemon.address).unwrap();
        let idle: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
        daemon.wait_for_log("kept for others");
        // Several at a time, after each of which its files are free again.
        for _ in 0..3 {
            let mut mtas: Vec<_> = (0..8).map(|_| Mta::hello(lmtp)).collect();
            for mta in &mut mtas {
                mta.to(&[ADA]);
                let stored = mta.data(b"Subject: two\r\n\r\n", 1);
                assert!(stored[0].starts_with("250 "), "{stored:?}");
            }
            // It is answered, and says what is wrong.
            let health = Http::new(SocketAddr::from(([127, 0, 0, 1], admin))).get("/healthz");
            assert_eq!(health.status, 503, "{health:?}");
        }
        drop(idle);
        let mut client = daemon.login(ADA, &key);
        assert!(client.ok("STAT").starts_with("+OK 25 "));
        let told = daemon
            .log()
            .matches("no connection could be accepted")
            .count();
        assert_eq!(told, 1);
    });
}

#[test]
fn a_limit_that_the_system_does_not_allow_is_warned_of() {
    let place = place::sqlite();
    let warned = |connections: &str| {
        let limit = ("Pop3__MaxConnections", connections);
        let daemon = Daemon::start_with(&place.url, &[limit]);
        daemon.log().contains("can't be reached")
    };
    assert!(warned("4294967295"));
    assert!(!warned("10"));
}
