//! Deliveries that break off, on either side.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Office, rows, start};
use crate::support::mail::{ADA, message};
use crate::support::place::{Kind, on_each_blocking};
use crate::support::{eventually, pause};

#[test]
fn a_client_that_goes_in_the_middle_of_a_message_leaves_nothing() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        for by_data in [true, false] {
            let mut mta = office.mta();
            mta.to(&[ADA]);
            let large = message(1, 5_000_000);
            if by_data {
                mta.expect("DATA", "354");
                mta.send(&large);
            } else {
                mta.send(b"BDAT 5000000\r\n");
                mta.send(&large);
                assert!(mta.read().starts_with("250"));
            }
            eventually("some of it to be stored", || {
                (rows(place, &["pending_contents"]) > 0).then_some(())
            });
            drop(mta);
            eventually("nothing to be left", || {
                (rows(
                    place,
                    &["pending_contents", "chunks", "contents", "messages"],
                ) == 0)
                    .then_some(())
            });
        }
        // What RSET forgets leaves nothing either.
        let mut mta = office.mta();
        mta.to(&[ADA]);
        mta.send(b"BDAT 5000000\r\n");
        mta.send(&message(1, 5_000_000));
        assert!(mta.read().starts_with("250"));
        mta.expect("RSET", "250");
        assert_eq!(
            rows(
                place,
                &["pending_contents", "chunks", "contents", "messages"]
            ),
            0
        );
    });
}

#[test]
fn after_kill_9_what_was_answered_250_is_there_and_nothing_is_half_there() {
    on_each_blocking(|place| {
        let rounds = if place.kind == Kind::Sqlite { 8 } else { 4 };
        let mut office = Office::open(place);
        let mut number = 0;
        // Each message's number, and whether it was answered.
        let mut sent: BTreeMap<u64, bool> = BTreeMap::new();
        for round in 0..rounds {
            let mut mtas: Vec<_> = (0..4).map(|_| office.mta()).collect();
            let began = number;
            for mta in &mut mtas {
                for _ in 0..6 {
                    number += 1;
                    sent.insert(number, false);
                    // The last of each round is large: it is in the database before it is complete.
                    let octets = if number.is_multiple_of(6) {
                        3_000_000
                    } else {
                        3000
                    };
                    mta.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<ada@example.com>\r\nRCPT TO:<bob@example.com>\r\n");
                    mta.send(format!("BDAT {octets} LAST\r\n").as_bytes());
                    mta.send(&message(number, octets));
                }
            }
            pause(Duration::from_millis(20 * round));
            let port = office.port;
            let keys = office.keys.clone();
            office.daemon.kill();
            for (at, mta) in (0u64..).zip(&mut mtas) {
                for message in 1..=6 {
                    let replies: Vec<_> = (0..5).map(|_| mta.read()).collect();
                    let stored = replies[3..].iter().all(|it| it.starts_with("250 2.0.0 <"));
                    sent.insert(began + 6 * at + message, stored);
                }
            }
            office = Office {
                daemon: start(place, port, &[]),
                port,
                keys,
            };
        }
        for user in 0..2 {
            let received = office.received(user);
            let mut found = BTreeMap::new();
            for octets in received {
                let line = octets.split(|octet| *octet == b'\r').next().unwrap();
                let number = String::from_utf8_lossy(line);
                let number: u64 = number.trim_start_matches("Subject: ").parse().unwrap();
                assert!(
                    octets == message(number, octets.len()),
                    "{number} is half there"
                );
                assert_eq!(
                    octets.len(),
                    if number.is_multiple_of(6) {
                        3_000_000
                    } else {
                        3000
                    }
                );
                *found.entry(number).or_insert(0) += 1;
            }
            for (number, answered) in &sent {
                let copies = found.get(number).copied().unwrap_or(0);
                assert!(
                    copies == 1 || (copies == 0 && !answered),
                    "{number}: {copies}"
                );
            }
        }
    });
}
