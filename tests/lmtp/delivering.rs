//! What is delivered, to whom, and octet for octet.

use super::{Mta, Office, accounts, rows, stuffed};
use crate::support::mail::{ADA, BOB, message};
use crate::support::place::{on_each_blocking, sqlite};
use crate::support::run;

/// Messages that a careless server would spoil, as they are on the wire, and as they come out.
fn nasty() -> Vec<(Vec<u8>, Vec<u8>)> {
    let long = [vec![b'x'; 100_000], b"\r\n".to_vec()].concat();
    let pairs: Vec<(&[u8], &[u8])> = vec![
        (b".\r\n..\r\n...a\r\n.b.\r\n", b".\r\n..\r\n...a\r\n.b.\r\n"),
        (b"a\0b\r\n\0\r\n", b"a\0b\r\n\0\r\n"),
        (b"a\rb\r\n\r\r\nc\r\r\r\n", b"a\rb\r\n\r\r\nc\r\r\r\n"),
        (b"a\nb\n\n.c\n.\r\nd\n", b"a\r\nb\r\n\r\n.c\r\n.\r\nd\r\n"),
        (
            b"\x80\xff\xfe\xe4\r\n\x1a\x1b[2J\r\n",
            b"\x80\xff\xfe\xe4\r\n\x1a\x1b[2J\r\n",
        ),
        (b"\r\n\r\n\r\n", b"\r\n\r\n\r\n"),
        (b"From me\r\n>From you\r\n", b"From me\r\n>From you\r\n"),
    ];
    let mut all: Vec<_> = pairs
        .into_iter()
        .map(|(sent, stored)| (sent.to_vec(), stored.to_vec()))
        .collect();
    all.push((long.clone(), long));
    let large = message(1, 3_000_000);
    all.push((large.clone(), large));
    all
}

#[test]
fn every_message_comes_out_as_it_came_in_by_data_and_by_bdat() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let mut mta = office.mta();
        let mut expected = Vec::new();
        for (sent, stored) in nasty() {
            // A bare LF at the end is no line end for DATA.
            let whole = if sent.ends_with(b"\r\n") {
                sent.clone()
            } else {
                [&sent[..], b"\r\n"].concat()
            };
            mta.to(&[ADA]);
            let replies = mta.data(&whole, 1);
            assert!(
                replies[0].starts_with("250 2.0.0 <ada@example.com>"),
                "{replies:?}"
            );
            let bare_end = whole.len() > sent.len();
            expected.push(if bare_end {
                [&stored[..], b"\r\n"].concat()
            } else {
                stored.clone()
            });
            for octets in [1, 7, 70_000] {
                if sent.len() / octets > 10_000 {
                    continue;
                }
                mta.to(&[ADA]);
                let replies = mta.bdat(&sent, octets, 1);
                assert!(replies[0].starts_with("250 2.0.0"), "{replies:?}");
                expected.push(stored.clone());
            }
        }
        mta.expect("QUIT", "221");
        assert!(office.received(0) == expected);
    });
}

#[test]
fn each_recipient_has_a_reply_in_their_order_and_a_head_of_their_own() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        run(async || {
            let accounts = accounts(place).await;
            accounts.set_disabled(BOB, true).await.unwrap();
        });
        let mut mta = office.mta();
        mta.expect("MAIL FROM:<> SIZE=100 BODY=8BITMIME", "250");
        for (recipient, reply) in [
            (BOB, "250"),
            ("nobody@example.com", "550 5.1.1"),
            ("ADA+lists@Example.com", "250"),
            ("\"ada\"@example.com", "250"),
        ] {
            mta.expect(&format!("RCPT TO:<{recipient}>"), reply);
        }
        let replies = mta.data(b"Subject: hello\r\n\r\nhello\r\n", 3);
        let expected = [
            "250 2.0.0 <bob@example.com> stored",
            "250 2.0.0 <ADA+lists@Example.com> stored",
            "250 2.0.0 <\"ada\"@example.com> stored",
        ];
        assert_eq!(replies, expected);
        // Ada was named twice, and has one copy; the message is there once.
        assert_eq!(rows(place, &["messages"]), 2);
        assert_eq!(rows(place, &["contents"]), 1);
        let adas = office.received_with_trace_headers(0);
        let text = String::from_utf8(adas[0].clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Return-Path: <>");
        assert_eq!(lines[1], "Delivered-To: ada@example.com");
        assert_eq!(lines[2], "Received: from mx.example.com ([127.0.0.1])");
        assert!(
            lines[3].starts_with("\tby localhost with LMTP id "),
            "{text}"
        );
        assert!(
            lines[4].starts_with("\tfor <ADA+lists@Example.com>; "),
            "{text}"
        );
        run(async || {
            let accounts = accounts(place).await;
            accounts.set_disabled(BOB, false).await.unwrap();
        });
        let bobs = String::from_utf8(office.received_with_trace_headers(1)[0].clone()).unwrap();
        assert!(
            bobs.contains("\r\nDelivered-To: bob@example.com\r\n"),
            "{bobs}"
        );
        // TOP counts the lines of the body alone.
        let mut client = office.daemon.login(ADA, &office.keys[0]);
        let top = String::from_utf8(client.body("TOP 1 0")).unwrap();
        assert!(top.ends_with("Subject: hello\r\n\r\n"), "{top}");
        let octets = client.ok("LIST 1");
        assert_eq!(octets, format!("+OK 1 {}", adas[0].len()));
    });
}

#[test]
fn no_message_hides_another() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let hidden =
            "MAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nevil\r\n";
        for fake in [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\r",
            "\n.\r",
            "\r\n.\0\r\n",
        ] {
            let mut mta = office.mta();
            mta.to(&[ADA]);
            mta.expect("DATA", "354");
            mta.send(format!("Subject: one\r\n\r\nbody{fake}{hidden}.\r\n").as_bytes());
            let reply = mta.read();
            assert!(reply.starts_with("250 2.0.0 <ada"), "{reply}");
            mta.expect("NOOP", "250");
        }
        // A command that ends with LF alone is none, so what follows DATA is no message either.
        let mut mta = office.mta();
        mta.to(&[ADA]);
        mta.send(b"DATA\n.\r\n");
        assert!(mta.read().starts_with("500 5.5.2 ") && mta.read().starts_with("500 5.5.1 "));
        assert_eq!(office.received(0).len(), 8);
        assert_eq!(office.received(1).len(), 0);
    });
}

#[test]
fn a_message_of_nothing_is_its_head() {
    on_each_blocking(|place| {
        let office = Office::open(place);
        let mut mta = office.mta();
        mta.to(&[ADA]);
        assert!(mta.data(b"", 1)[0].starts_with("250"));
        mta.to(&[ADA]);
        assert!(mta.bdat(b"", 1, 1)[0].starts_with("250"));
        assert_eq!(office.received(0), [b"", b""]);
        let mut client = office.daemon.login(ADA, &office.keys[0]);
        assert_eq!(client.body("TOP 2 5"), client.body("RETR 2"));
    });
}

#[test]
fn a_whole_transaction_may_be_pipelined() {
    let place = sqlite();
    let office = Office::open(&place);
    let mut mta = office.mta();
    mta.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<ada@example.com>\r\nRCPT TO:<eve@x>\r\nDATA\r\n");
    for reply in ["250", "250", "550", "354"] {
        assert!(mta.read().starts_with(reply));
    }
    let mut rest = stuffed(b"one\r\n");
    rest.extend(
        b"MAIL FROM:<a@b>\r\nRCPT TO:<bob@example.com>\r\nBDAT 3\r\ntwoBDAT 2 LAST\r\n\r\nQUIT\r\n",
    );
    mta.send(&rest);
    for reply in [
        "250 2.0.0 <ada",
        "250 2.1.0",
        "250 2.1.5",
        "250 2.0.0 3",
        "250 2.0.0 <bob",
        "221",
    ] {
        let got = mta.read();
        assert!(got.starts_with(reply), "{got}");
    }
    assert_eq!(office.received(0), [b"one\r\n"]);
    assert_eq!(office.received(1), [b"two\r\n"]);
}

#[test]
fn a_unix_socket_does_as_well() {
    let place = sqlite();
    let socket = place.folder.path().join("lmtp.sock");
    let settings = [
        ("Lmtp__SocketPath", socket.to_str().unwrap()),
        ("Lmtp__SocketMode", "0600"),
    ];
    let mut office = Office::open_with(&place, &settings);
    let mut mta = Mta::connect_unix(&socket);
    mta.expect("LHLO [192.0.2.1]", "250-");
    while !mta.read().starts_with("250 ") {}
    mta.to(&[ADA]);
    assert!(mta.data(b"hello\r\n", 1)[0].starts_with("250"));
    let message = String::from_utf8(office.received_with_trace_headers(0)[0].clone()).unwrap();
    assert!(
        message.contains("Received: from [192.0.2.1]\r\n"),
        "{message}"
    );
    office.daemon.signal("TERM");
    assert_eq!(office.daemon.wait(), Some(0));
    assert!(!socket.exists());
}
