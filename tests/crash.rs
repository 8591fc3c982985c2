//! What is left after `kill -9` at any moment: each message wholly or not at all, and nothing
//! that was promised is taken back.
//!
//! The moments are random and steered: after a kill that came too late the next come earlier, and
//! the other way round. So kills gather where something happens, on fast and slow machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pop3::MessageNumber;
use restante::accounts::Accounts;
use restante::identity::random;

use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB, fill, message, octets};
use crate::support::place::{Kind, Place, on_each_blocking};
use crate::support::{cli, eventually, pause, run};

/// How many messages one QUIT deletes.
const DELETED_AT_ONCE: usize = 150;

/// How large a large message is: it takes many transactions to arrive.
const LARGE_OCTETS: usize = 20_000_000;

// --- QUIT ---

#[test]
fn a_server_killed_during_quit_has_deleted_all_or_nothing() {
    on_each_blocking(|place| {
        let rounds = if place.kind == Kind::Sqlite { 16 } else { 6 };
        let written: Vec<_> = (0..rounds * DELETED_AT_ONCE).map(some_message).collect();
        let key = fill(&place.url, ADA, &written);
        // What each unique-id stands for, of all messages that must still be there.
        let mut expected: BTreeMap<String, Vec<u8>> =
            unique_ids(place).into_iter().zip(written).collect();
        let mut moment = Moment::around(Duration::from_millis(20));
        for _ in 0..rounds {
            let daemon = Daemon::start(&place.url);
            let mut client = daemon.login(ADA, &key);
            let marked = mark_some(&mut client);
            client.send("QUIT");
            pause(moment.next());
            daemon.kill();
            let answer = client.try_read_line().ok();
            moment.came(answer.is_some());

            let left: BTreeSet<_> = unique_ids(place).into_iter().collect();
            let gone: BTreeSet<_> = expected
                .keys()
                .filter(|id| !left.contains(*id))
                .cloned()
                .collect();
            assert!(
                gone.is_empty() || gone == marked,
                "{} of {} are gone",
                gone.len(),
                marked.len()
            );
            if answer.is_some_and(|answer| answer.starts_with("+OK")) {
                assert_eq!(gone, marked, "deleted, it was said");
            }
            expected.retain(|id, _| !gone.contains(id));
            assert_eq!(left.len(), expected.len(), "something came back");
        }
        check_every_message(place, &key, &expected);
    });
}

/// Mostly small, and some that have many chunks.
fn some_message(seed: usize) -> Vec<u8> {
    let octets = if seed % 100 == 7 {
        300_000
    } else {
        100 + seed % 997
    };
    message(seed as u64, octets)
}

/// Marks messages all over the maildrop; returns their unique-ids.
fn mark_some(client: &mut crate::support::client::Client) -> BTreeSet<String> {
    let listing = String::from_utf8(client.body("UIDL")).unwrap();
    let all: Vec<_> = listing
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    // With one in three left out, so that those left are between those deleted.
    let marked = all.chunks(3).flat_map(|three| three.iter().take(2));
    let marked: Vec<_> = marked.take(DELETED_AT_ONCE).collect();
    let commands: Vec<_> = marked
        .iter()
        .map(|(number, _)| format!("DELE {number}\r\n"))
        .collect();
    client.send_raw(commands.concat().as_bytes());
    for _ in &marked {
        assert!(client.read_line().starts_with("+OK"));
    }
    marked.iter().map(|(_, id)| (*id).to_owned()).collect()
}

/// Reads everything as a client does.
fn check_every_message(place: &Place, key: &str, expected: &BTreeMap<String, Vec<u8>>) {
    let daemon = Daemon::start(&place.url);
    let mut client = daemon.login(ADA, key);
    let listing = String::from_utf8(client.body("UIDL")).unwrap();
    assert_eq!(listing.lines().count(), expected.len());
    for line in listing.lines() {
        let (number, unique_id) = line.split_once(' ').unwrap();
        let retrieved = client.body(&format!("RETR {number}"));
        assert!(
            retrieved == expected[unique_id],
            "message {number} has changed"
        );
    }
    no_octets_without_an_owner(place);
}

#[test]
fn what_a_killed_server_s_sessions_could_still_read_leaves_within_a_minute() {
    on_each_blocking(|place| {
        let key = fill(&place.url, ADA, &[message(1, 300_000), message(2, 100)]);
        let daemon = Daemon::start(&place.url);
        let mut reading = daemon.login(ADA, &key);
        let mut deleting = daemon.login(ADA, &key);
        deleting.ok("DELE 1");
        deleting.ok("QUIT");
        assert!(reading.body("RETR 1") == message(1, 300_000));
        eventually("the server to hold what a session can read", || {
            (count(place, "remote_leases") == 1).then_some(())
        });
        daemon.kill();

        let daemon = Daemon::start(&place.url);
        let mut client = daemon.login(ADA, &key);
        assert_eq!(client.body("LIST"), b"1 100\r\n");
        assert_eq!(client.body("RETR 1"), message(2, 100));
        eventually("the octets of the deleted message to go", || {
            (count(place, "contents") == 1 && count(place, "chunks") == 1).then_some(())
        });
        for table in ["deleted_messages", "remote_leases"] {
            assert_eq!(count(place, table), 0, "{table}");
        }
        assert_eq!(client.body("RETR 1"), message(2, 100));
    });
}

// --- Delivery ---

#[test]
fn a_delivery_killed_at_any_moment_has_stored_the_message_or_nothing() {
    on_each_blocking(|place| {
        fill(&place.url, ADA, &[]);
        let sqlite = place.kind == Kind::Sqlite;
        let mut sent = BTreeMap::new();
        let mut stored = BTreeSet::new();
        for (octets, rounds, takes_ms) in [
            (700, if sqlite { 24 } else { 8 }, 50),
            (LARGE_OCTETS, if sqlite { 5 } else { 3 }, 1000),
        ] {
            let mut moment = Moment::around(Duration::from_millis(takes_ms));
            for _ in 0..rounds {
                let seed = sent.len() as u64;
                let message = message(seed, octets);
                let mut child = start(place, &["deliver", ADA]);
                let code = std::thread::scope(|scope| {
                    let mut stdin = child.stdin.take().unwrap();
                    // Once the reader is dead, writing fails.
                    scope.spawn(|| drop(stdin.write_all(&message).map(|()| drop(stdin))));
                    end(&mut child, Some(moment.next()))
                });
                moment.came(code == Some(0));
                if code == Some(0) {
                    stored.insert(seed);
                }
                sent.insert(seed, message);
            }
        }
        let mut found = BTreeSet::new();
        for octets in all_octets(place) {
            let seed = seed_of(&octets);
            assert!(octets == sent[&seed], "message {seed} is not what was sent");
            assert!(found.insert(seed), "message {seed} is there twice");
        }
        assert!(stored.is_subset(&found), "{stored:?} {found:?}");
        no_octets_without_an_owner(place);
    });
}

// --- Import ---

#[test]
fn an_import_killed_in_the_middle_goes_on_where_it_was() {
    on_each_blocking(|place| {
        fill(&place.url, ADA, &[]);
        fill(&place.url, BOB, &[]);
        // Messages of every kind, and some that are in the file twice.
        let mut messages: Vec<_> = (0..900).map(some_message).collect();
        messages.extend((0..3).map(|seed| message(seed, 1_500_000)));
        messages.extend((0..50).map(some_message));
        let file = place.folder.path().join("mbox");
        std::fs::write(&file, mbox(&messages)).unwrap();
        let file = file.to_str().unwrap();

        let began = Instant::now();
        assert_eq!(
            end(&mut start(place, &["import", BOB, file]), None),
            Some(0)
        );
        let takes = began.elapsed();
        for part in 1..=4 {
            let mut child = start(place, &["import", ADA, file]);
            // What is there already is only read, so each goes a little further.
            end(&mut child, Some(takes * part / 5));
        }
        let summary = cli::run(&place.url, &format!("import {ADA} {file}")).ok();
        assert!(summary.contains("0 skipped"), "{summary}");
        let again = cli::run(&place.url, &format!("import {ADA} {file}")).ok();
        let nothing = format!(
            "0 messages imported, {0} already there, 0 deleted since, 0 skipped\n\
             {0} messages will be fetched again by clients of the old server\n",
            messages.len()
        );
        assert_eq!(again, nothing);

        let mut found = all_octets(place);
        found.sort();
        messages.sort();
        assert!(found == messages);
        no_octets_without_an_owner(place);
    });
}

/// An mbox of messages, none of which has a line that begins with "From ".
fn mbox(messages: &[Vec<u8>]) -> Vec<u8> {
    let from_line = b"From ada@example.com Thu Jan  1 00:00:00 1970\r\n";
    let parts = messages
        .iter()
        .flat_map(|message| [from_line.as_slice(), message, b"\r\n"]);
    parts.collect::<Vec<_>>().concat()
}

// --- What the tests are made of ---

/// A command that waits for its stdin.
fn start(place: &Place, arguments: &[&str]) -> Child {
    cli::restante()
        .args(arguments)
        .env("Database__Url", &place.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a process after this time, or waits for its end if there is none; its exit status, if it
/// came that far.
fn end(child: &mut Child, after: Option<Duration>) -> Option<i32> {
    if let Some(after) = after {
        pause(after);
        child.kill().unwrap();
    }
    cli::wait(child)
}

/// When to kill.
struct Moment {
    around: Duration,
}

impl Moment {
    fn around(around: Duration) -> Self {
        Self { around }
    }

    fn next(&self) -> Duration {
        let part = f64::from(u32::from_ne_bytes(random())) / f64::from(u32::MAX);
        self.around.mul_f64(0.4 + 1.2 * part)
    }

    fn came(&mut self, too_late: bool) {
        self.around = self.around.mul_f64(if too_late { 0.7 } else { 1.3 });
    }
}

fn count(place: &Place, table: &str) -> i64 {
    run(async || place.sql().await.count(table).await)
}

/// The unique-ids of Ada's messages, the oldest first.
fn unique_ids(place: &Place) -> Vec<String> {
    run(async || {
        let ada = Accounts::new(place.open().await).find(ADA).await.unwrap();
        let maildrop = place.server().await.open(ada, 0).await.unwrap();
        let numbers = (1..).map_while(MessageNumber::new);
        let ids = numbers.map_while(|number| maildrop.snapshot.unique_id_of(number));
        ids.map(str::to_owned).collect()
    })
}

/// What Ada's messages say.
fn all_octets(place: &Place) -> Vec<Vec<u8>> {
    run(async || {
        let ada = Accounts::new(place.open().await).find(ADA).await.unwrap();
        let store = place.server().await;
        let maildrop = store.open(ada, 0).await.unwrap();
        let mut all = Vec::new();
        for number in (1..).map_while(MessageNumber::new) {
            let Some(content) = maildrop.stored(number) else {
                break;
            };
            all.push(octets(&store, content).await);
            let counted = maildrop.snapshot.octets_of(number);
            assert_eq!(counted, all.last().map(|it| it.len() as u64));
        }
        all
    })
}

/// The seed that a message was made of, which stands in its subject.
fn seed_of(message: &[u8]) -> u64 {
    let line = message.split(|octet| *octet == b'\r').next().unwrap();
    let subject = std::str::from_utf8(line).unwrap();
    subject.strip_prefix("Subject: ").unwrap().parse().unwrap()
}

/// All octets belong to a message, or to something that garbage collection will remove.
fn no_octets_without_an_owner(place: &Place) {
    let nobodys = |owners: &[&str]| {
        let owned = |owner: &&str| {
            format!("NOT EXISTS (SELECT 1 FROM {owner} o WHERE o.content_id = c.id)")
        };
        let none = owners.iter().map(owned).collect::<Vec<_>>().join(" AND ");
        count(place, &format!("contents c WHERE {none}"))
    };
    assert_eq!(
        nobodys(&["messages", "deleted_messages", "pending_contents"]),
        0
    );
    // And each has at least its first piece.
    assert_eq!(nobodys(&["chunks"]), 0);
}
