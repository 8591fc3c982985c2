//! Maildrops of very many messages.

use super::metric;
use crate::served::{Owner, Served, Wire};
use crate::support::daemon::Daemon;
use crate::support::mail::{self, ADA, BOB};
use crate::support::place::{self, Kind, Place, on_each_blocking};
use crate::support::run;

const MESSAGES: usize = 200_000;

/// Maximum memory that such a maildrop adds to a server. Its snapshot has 9 MB; the rows of
/// its messages have more than 40 MB in the driver, and several times that with SQLite's.
const BOUND_KIB: u64 = 32 * 1024;

/// Number of maildrops that were read from the database.
const READS: &str = "pop3_maildrops_read_total";

/// Puts messages without stored octets into a maildrop.
fn fill(place: &Place, user: &str) {
    let rows = format!(
        "INSERT INTO messages \
         (user_id, content_id, octets, unique_id, received_at_ms, trace_octets) \
         WITH RECURSIVE numbers(n) AS \
         (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MESSAGES}) \
         SELECT ({user}), 1000000, n, 'unique-id-' || CAST(n + 100000 AS TEXT), n, 0 FROM numbers"
    );
    run(async || {
        let sql = place.sql().await;
        sql.run("INSERT INTO contents (id, octets, digest) VALUES (1000000, 7, 'digest')")
            .await;
        sql.run(&rows).await;
        sql.close().await;
    });
}

fn of_address(address: &str) -> String {
    format!("SELECT user_id FROM addresses WHERE address = '{address}'")
}

/// Returns the lines of a listing.
fn listing(octets: impl Fn(usize) -> String) -> Vec<u8> {
    let line = |number| format!("{number} {}\r\n", octets(number));
    (1..=MESSAGES).map(line).collect::<String>().into_bytes()
}

#[test]
fn a_login_to_many_messages_takes_the_memory_of_its_snapshot() {
    on_each_blocking(|place| {
        let bob = mail::fill(&place.url, BOB, &[mail::message(1, 1000)]);
        let ada = mail::fill(&place.url, ADA, &[]);
        fill(place, &of_address(ADA));
        let daemon = Daemon::start(&place.url);
        // Each thread with sessions has served a login.
        let others: Vec<_> = (0..4).map(|_| daemon.login(BOB, &bob)).collect();
        let before = daemon.peak_kib();
        let mut client = daemon.login(ADA, &ada);
        let sum: usize = (1..=MESSAGES).sum();
        assert_eq!(client.ok("STAT"), format!("+OK {MESSAGES} {sum}"));
        let uidl = client.body("UIDL");
        assert!(uidl == listing(|n| format!("unique-id-{}", n + 100_000)));
        assert!(client.body("LIST") == listing(|n| n.to_string()));
        let mut second = daemon.login(ADA, &ada);
        assert!(second.body("UIDL") == uidl);
        // SQLite maps its file into memory, so the parts that were read count.
        let mapped = match place.kind {
            Kind::Sqlite => {
                std::fs::metadata(place.url.trim_start_matches("sqlite://"))
                    .unwrap()
                    .len()
                    / 1024
            }
            Kind::Postgres => 0,
        };
        let more = daemon.peak_kib() - before;
        assert!(more < mapped + BOUND_KIB, "{more} KiB, {mapped} KiB mapped");
        drop(others);
    });
}

#[test]
fn marks_on_many_messages_are_set_and_taken_back() {
    let place = place::sqlite();
    let ada = mail::fill(&place.url, ADA, &[]);
    fill(&place, &of_address(ADA));
    let daemon = Daemon::start(&place.url);
    let mut client = daemon.login(ADA, &ada);
    let before = daemon.anonymous_kib();
    for numbers in (1..=MESSAGES).collect::<Vec<_>>().chunks(1000) {
        let commands: String = numbers.iter().map(|n| format!("DELE {n}\r\n")).collect();
        client.send_raw(commands.as_bytes());
        for number in numbers {
            let reply = client.read_line();
            assert!(reply.starts_with("+OK"), "{number}: {reply}");
        }
    }
    assert_eq!(client.ok("STAT"), "+OK 0 0");
    assert_eq!(client.body("LIST"), b"");
    let more = daemon.anonymous_kib().saturating_sub(before);
    assert!(more < 2048, "{more} KiB");
    client.ok("RSET");
    let sum: usize = (1..=MESSAGES).sum();
    assert_eq!(client.ok("STAT"), format!("+OK {MESSAGES} {sum}"));
}

fn served(place: Place) -> (Served, Owner) {
    let served = Served::start(place, &[("Pop3__MaxConnectionsPerUser", "16")]);
    let owner = served.owner(&[]);
    fill(&served.place, &owner.id.row().to_string());
    (served, owner)
}

/// Sends eight logins before any reply is read.
fn logins_at_once(served: &Served, owner: &Owner) -> Vec<Wire> {
    let mut wires: Vec<_> = (0..8).map(|_| served.connect()).collect();
    for wire in &mut wires {
        wire.send(login(owner).as_bytes());
    }
    for wire in &mut wires {
        // The reply to USER.
        wire.line();
    }
    wires
}

fn login(owner: &Owner) -> String {
    format!("USER {}\r\nPASS {}\r\n", owner.address, owner.key)
}

#[test]
fn logins_at_the_same_time_read_a_maildrop_once_and_later_ones_not_at_all() {
    for place in place::everywhere() {
        let (served, owner) = served(place);
        let sum: usize = (1..=MESSAGES).sum();
        let expected = format!("+OK {MESSAGES} {sum}");
        for mut wire in logins_at_once(&served, &owner) {
            assert!(wire.line().starts_with("+OK"));
            assert_eq!(wire.ok("STAT"), expected);
        }
        assert_eq!(metric(&served, READS), 1);
        // These rows are not queried while the version is unchanged.
        run(async || {
            let sql = served.place.sql().await;
            sql.run("DELETE FROM messages").await;
            sql.close().await;
        });
        assert_eq!(served.login(&owner).ok("STAT"), expected);
        assert_eq!(metric(&served, READS), 1);
    }
}

#[test]
fn a_maildrop_that_could_not_be_read_is_read_at_the_next_login() {
    for place in place::everywhere() {
        let (served, owner) = served(place);
        let rename = |from: &str, to: &str| {
            let rename = format!("ALTER TABLE {from} RENAME TO {to}");
            run(async || {
                let sql = served.place.sql().await;
                sql.run(&rename).await;
                sql.close().await;
            });
        };
        rename("messages", "elsewhere");
        let mut wires = logins_at_once(&served, &owner);
        for wire in &mut wires {
            let reply = wire.line();
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        }
        rename("elsewhere", "messages");
        // A client that disconnects meanwhile does no harm.
        served.connect().send(login(&owner).as_bytes());
        for wire in &mut wires {
            wire.try_login(&owner);
            assert!(wire.ok("STAT").starts_with(&format!("+OK {MESSAGES} ")));
        }
        assert_eq!(metric(&served, READS), 1);
    }
}
