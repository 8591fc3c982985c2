//! What is refused, and how.

use restante::accounts::Quota;

use super::{Mta, Office, accounts, rows, stuffed};
use crate::support::http::Http;
use crate::support::mail::{ADA, BOB, message};
use crate::support::place::{Place, on_each_blocking, sqlite};
use crate::support::postgres::free_port;
use crate::support::run;

/// Limits what a user's maildrop may hold.
fn limit(place: &Place, address: &str, octets: Option<u64>, messages: Option<u64>) {
    run(async || {
        let quota = Quota { octets, messages };
        let accounts = accounts(place).await;
        accounts.set_quota(address, quota.into()).await.unwrap();
    });
}

#[test]
fn a_full_maildrop_is_refused_before_the_message_comes() {
    on_each_blocking(|place| {
        let admin = free_port();
        let office = Office::open_with(place, &[("Admin__Port", &admin.to_string())]);
        let mut mta = office.mta();
        mta.to(&[BOB, ADA]);
        mta.data(b"0\r\n", 2);
        let octets = office.received_with_trace_headers(1)[0].len() as u64;
        for (quota_octets, quota_messages) in [
            (None, Some(1)),
            (Some(octets), None),
            // What is there is already more.
            (Some(1), Some(10)),
            (Some(0), Some(0)),
        ] {
            limit(place, BOB, quota_octets, quota_messages);
            mta.expect("MAIL FROM:<a@b>", "250");
            let refused = mta.expect("RCPT TO:<Bob+tag@example.com>", "552 5.2.2 ");
            assert!(refused.ends_with("the maildrop is full"), "{refused}");
            mta.expect("RCPT TO:<ada@example.com>", "250");
            let replies = mta.data(b"1\r\n", 1);
            assert!(replies[0].starts_with("250 2.0.0 <ada"), "{replies:?}");
        }
        limit(place, BOB, Some(octets + 1000), Some(2));
        mta.to(&[BOB]);
        assert!(mta.data(b"2\r\n", 1)[0].starts_with("250"));
        assert_eq!((office.received(0).len(), office.received(1).len()), (5, 2));
        let metrics = Http::new(([127, 0, 0, 1], admin).into())
            .get("/metrics")
            .text;
        let series = "\nlmtp_deliveries_total{result=\"over_quota\"} 4\n";
        assert!(metrics.contains(series), "{metrics}");
    });
}

#[test]
fn a_message_that_says_its_size_is_refused_where_it_has_no_room() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        limit(place, BOB, Some(10_000), None);
        let mut mta = office.mta();
        for (size, bob) in [
            (" SIZE=10001", "552 5.2.2"),
            (" SIZE=18446744073709551615", "552 5.3.4"),
            (" SIZE=10000", "250 2.1.5"),
            (" SIZE=0", "250 2.1.5"),
            ("", "250 2.1.5"),
        ] {
            if bob.starts_with("552 5.3.4") {
                mta.expect(&format!("MAIL FROM:<a@b>{size}"), bob);
                continue;
            }
            mta.expect(&format!("MAIL FROM:<a@b>{size}"), "250");
            mta.expect("RCPT TO:<bob@example.com>", bob);
            mta.expect("RCPT TO:<ada@example.com>", "250");
            mta.expect("RSET", "250");
        }
        // A client that says too little is told at the end.
        mta.expect("MAIL FROM:<a@b> SIZE=1", "250");
        mta.expect("RCPT TO:<bob@example.com>", "250");
        assert!(mta.data(&message(1, 10_000), 1)[0].starts_with("552 5.2.2"));
        assert_eq!(office.received(1).len(), 0);
    });
}

#[test]
fn a_maildrop_that_has_become_full_meanwhile_is_told_to_its_recipient_alone() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        limit(place, BOB, None, Some(1));
        let mut mtas = [office.mta(), office.mta()];
        for mta in &mut mtas {
            mta.to(&[BOB, ADA]);
        }
        for (mta, bob) in mtas.iter_mut().zip(["250 2.0.0", "552 5.2.2"]) {
            let replies = mta.data(b"hi\r\n", 2);
            assert!(replies[0].starts_with(bob), "{replies:?}");
            assert!(replies[1].starts_with("250 2.0.0"), "{replies:?}");
        }
        assert_eq!((office.received(0).len(), office.received(1).len()), (2, 1));
    });
}

#[test]
fn a_message_of_the_largest_size_is_taken_and_one_octet_more_is_not() {
    on_each_blocking(|place| {
        let size = 2_000_000;
        let setting = size.to_string();
        let office = Office::open_with(place, &[("Lmtp__MaxMessageSize", &setting)]);
        let mut mta = office.mta();
        mta.expect(&format!("MAIL FROM:<a@b> SIZE={}", size + 1), "552 5.3.4");
        mta.expect(&format!("MAIL FROM:<a@b> SIZE={size}"), "250");
        mta.expect("RSET", "250");
        // The dots that are put in do not count.
        let largest = [vec![b'.'; size - 2], b"\r\n".to_vec()].concat();
        let larger = [b".", &largest[..]].concat();
        for _ in 0..2 {
            mta.to(&[ADA, BOB]);
            let replies = mta.data(&larger, 2);
            assert!(
                replies.iter().all(|it| it.starts_with("552 5.3.4")),
                "{replies:?}"
            );
        }
        mta.to(&[ADA]);
        mta.send(format!("BDAT {}\r\n", larger.len()).as_bytes());
        mta.send(&larger);
        assert!(mta.read().starts_with("552 5.3.4"));
        mta.expect("BDAT 0 LAST", "503 5.5.1");
        assert_eq!(
            rows(
                place,
                &["contents", "chunks", "pending_contents", "messages"]
            ),
            0
        );
        mta.to(&[ADA]);
        assert!(mta.data(&largest, 1)[0].starts_with("250"));
        assert!(office.received(0) == [largest]);
    });
}

#[test]
fn one_session_more_than_allowed_is_told_to_come_again() {
    let place = sqlite();
    let admin = free_port();
    let office = Office::open_with(
        &place,
        &[
            ("Lmtp__MaxConnections", "3"),
            ("Admin__Port", &admin.to_string()),
        ],
    );
    let here: Vec<Mta> = (0..3)
        .map(|_| crate::support::eventually("room", || Mta::try_hello(office.port)))
        .collect();
    let stream = std::net::TcpStream::connect(("127.0.0.1", office.port)).unwrap();
    let mut refused = String::new();
    std::io::Read::read_to_string(&mut &stream, &mut refused).unwrap();
    assert!(refused.starts_with("421 4.3.2 "), "{refused}");
    let metrics = Http::new(([127, 0, 0, 1], admin).into())
        .get("/metrics")
        .text;
    assert!(metrics.contains("\nlmtp_sessions_active 3\n"), "{metrics}");
    drop(here);
    let mut next = crate::support::eventually("room", || Mta::try_hello(office.port));
    next.to(&[ADA]);
    assert!(next.data(b"hello\r\n", 1)[0].starts_with("250"));
}

#[test]
fn a_silent_client_is_sent_away_and_the_server_stops_in_order() {
    let place = sqlite();
    let mut office = Office::open_with(&place, &[("Lmtp__SessionTimeout", "2s")]);
    let mut silent = office.mta();
    assert!(silent.read().starts_with("421 4.4.2 "));
    assert_eq!(silent.read(), "");
    // In the middle of a message nothing can be said.
    let mut halting = office.mta();
    halting.to(&[ADA]);
    halting.expect("DATA", "354");
    halting.send(&message(1, 2_000_000));
    assert_eq!(halting.read(), "");
    assert_eq!(rows(&place, &["contents", "chunks", "pending_contents"]), 0);

    let mut idle = office.mta();
    let mut busy = office.mta();
    busy.to(&[ADA]);
    busy.expect("DATA", "354");
    busy.send(b"half a mess");
    office.daemon.wait_for_log("LMTP");
    office.daemon.signal("TERM");
    assert!(idle.read().starts_with("421 4.3.2 "));
    busy.send(b"age\r\n.\r\n");
    assert!(busy.read().starts_with("250 2.0.0 "));
    assert!(busy.read().starts_with("421 4.3.2 "));
    assert_eq!(office.daemon.wait(), Some(0));
    assert_eq!(rows(&place, &["messages"]), 1);
}

#[test]
fn a_database_that_is_away_puts_mail_off() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let mut mta = office.mta();
        mta.to(&[ADA, BOB]);
        run(async || {
            let sql = place.sql().await;
            sql.refuse("INSERT", "messages", "octets > 0").await;
            sql.close().await;
        });
        for message in [b"hello\r\n".to_vec(), message(1, 3_000_000)] {
            let replies = mta.data(&message, 2);
            let put_off = replies.iter().all(|it| it.starts_with("451 4.3.0 "));
            assert!(put_off, "{replies:?}");
            crate::support::eventually("nothing to be left", || {
                (rows(place, &["contents", "chunks", "messages"]) == 0).then_some(())
            });
            mta.to(&[ADA, BOB]);
        }
        mta.expect("RSET", "250");
        run(async || {
            let sql = place.sql().await;
            sql.allow("messages").await;
            sql.run("ALTER TABLE addresses RENAME TO elsewhere").await;
            sql.close().await;
        });
        mta.expect("MAIL FROM:<a@b>", "250");
        mta.expect("RCPT TO:<ada@example.com>", "451 4.3.0");
        run(async || {
            let sql = place.sql().await;
            sql.run("ALTER TABLE elsewhere RENAME TO addresses").await;
            sql.close().await;
        });
        mta.expect("RSET", "250");
        mta.to(&[ADA]);
        assert!(mta.data(b"hello again\r\n", 1)[0].starts_with("250"));
        assert_eq!(office.received(0), [b"hello again\r\n"]);
    });
}

#[test]
fn a_message_of_50_mb_needs_no_50_mb_of_memory() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let mut mta = office.mta();
        mta.to(&[ADA]);
        mta.data(b"warm\r\n", 1);
        let before = office.daemon.anonymous_kib();
        let large = message(1, 50_000_000);
        mta.to(&[ADA, BOB]);
        mta.expect("DATA", "354");
        let mut most = 0;
        for piece in stuffed(&large).chunks(1_000_000) {
            mta.send(piece);
            most = most.max(office.daemon.anonymous_kib());
        }
        assert!(mta.read().starts_with("250") && mta.read().starts_with("250"));
        let grown = most.saturating_sub(before);
        assert!(grown < 20_000, "{grown} KiB more for a message of 50 MB");
        assert!(office.received(1)[0] == large);
    });
}

impl Mta {
    /// As [`Mta::hello`], from a server that may have no room.
    fn try_hello(port: u16) -> Option<Self> {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let mut mta = Self(std::io::BufReader::new(Box::new(stream)));
        mta.read().starts_with("220 ").then_some(())?;
        mta.expect("LHLO mx.example.com", "250-");
        while !mta.read().starts_with("250 ") {}
        Some(mta)
    }
}
