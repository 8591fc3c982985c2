//! Every octet of every message.

use super::{CHUNK, assert_same, connect_with_small_buffer, on_each, top, unstuffed};
use crate::served::Wire;
use crate::support::{mail, run};

/// How much of a message TOP looks at first.
const BEGINNING: usize = 8 * 1024;

#[test]
fn a_message_of_10_megabytes_arrives_octet_for_octet() {
    let message = mail::message(7, 10_000_000);
    on_each(|served| {
        let owner = served.owner(std::slice::from_ref(&message));
        let mut wire = served.login(&owner);
        assert_eq!(wire.ok("LIST 1"), "+OK 1 10000000");
        assert_same(&wire.body("RETR 1"), &message, "in clear");
        let mut wire = served.login_tls(&owner);
        assert_same(&wire.body("RETR 1"), &message, "inside TLS");
        assert_eq!(wire.ok("STAT"), "+OK 1 10000000");
    });
}

#[test]
fn a_slow_reader_gets_every_octet() {
    let message = mail::message(8, 10_000_000);
    on_each(|served| {
        let owner = served.owner(std::slice::from_ref(&message));
        let narrow = Wire::over(connect_with_small_buffer(served.plain));
        let mut wire = narrow.greeted().logged_in(&owner);
        wire.ok("RETR 1");
        let stuffed = wire.read_stuffed(Vec::new());
        assert_same(&unstuffed(&stuffed), &message, "slowly");
    });
}

#[test]
fn long_lines_nul_8_bit_and_bare_cr_arrive_octet_for_octet() {
    let mut message = b"Subject: all\r\n\r\n".to_vec();
    message.extend([b'y'; 100 * 1024]);
    message.extend(b"\r\n");
    let first_line = message.len();
    message.extend((0..=255).filter(|octet| *octet != b'\n'));
    message.extend(b"\r\n\r\r\r\n\r.\r\n\0\r\n.\0\r\n");
    message.extend([0xff; 100 * 1024]);
    message.extend(b"\r\n");
    on_each(|served| {
        let owner = served.owner(std::slice::from_ref(&message));
        for mut wire in [served.login(&owner), served.login_tls(&owner)] {
            assert_same(&wire.body("RETR 1"), &message, "RETR");
            assert_same(&wire.body("TOP 1 1"), &message[..first_line], "TOP 1");
            assert_same(&wire.body("TOP 1 99"), &message, "TOP 99");
            assert_eq!(wire.ok("STAT"), format!("+OK 1 {}", message.len()));
        }
    });
}

#[test]
fn dots_and_line_ends_at_the_seams_of_storage_change_nothing() {
    // What stands right before the seam, and right behind it.
    let seams: [(&[u8], &[u8]); 8] = [
        (b"\r\n", b".\r\n"),
        (b"\r\n", b".x\r\n"),
        (b"\r\n", b"..\r\n"),
        (b"\r", b"\n.\r\n"),
        (b"\r\n.", b"\r\n"),
        (b"\r\n.\r", b"\n"),
        (b"\r\n\r\n", b".\r\n\r\n"),
        (b"x.", b".\r\n"),
    ];
    let mut messages = Vec::new();
    for seam in [BEGINNING, CHUNK, 2 * CHUNK, 3 * CHUNK] {
        for (before, after) in seams {
            let mut message = b"Subject: seam\r\n\r\n".to_vec();
            message.resize(seam - before.len(), b'x');
            message.extend(before);
            message.extend(after);
            message.extend(b"the end\r\n");
            messages.push(message);
        }
        // Ends that fall on the seam.
        for octets in seam - 1..=seam + 1 {
            messages.push(mail::message(octets as u64, octets));
        }
    }
    on_each(|served| {
        let owner = served.owner(&messages);
        let mut wire = served.login(&owner);
        let mut in_tls = served.login_tls(&owner);
        for (number, message) in (1..).zip(&messages) {
            for wire in [&mut wire, &mut in_tls] {
                let all = wire.body(&format!("RETR {number}"));
                assert_same(&all, message, &format!("message {number}"));
            }
            // The seam is in the first lines of the body.
            for lines in [0, 1, 2, 3, 1_000_000] {
                let part = wire.body(&format!("TOP {number} {lines}"));
                let expected = top(message, lines);
                assert_same(&part, &expected, &format!("TOP {number} {lines}"));
            }
        }
    });
}

#[test]
fn top_of_a_large_message_ends_exactly_where_it_should() {
    let line = |n: usize| format!("{n:07}\r\n").into_bytes();
    let mut many_lines = b"Subject: many lines\r\n\r\n".to_vec();
    many_lines.extend((0..50_000).flat_map(line));
    let mut large_header = Vec::new();
    large_header.extend((0..30_000).flat_map(|n| [b"X: ", line(n).as_slice()].concat()));
    large_header.extend(b"\r\none\r\ntwo\r\n");
    let all_header = mail::message(3, 300_000)
        .split_inclusive(|octet| *octet == b'\n')
        .filter(|line| *line != b"\r\n")
        .collect::<Vec<_>>()
        .concat();
    let messages = [many_lines, large_header, all_header];
    on_each(|served| {
        let owner = served.owner(&messages);
        let mut wire = served.login(&owner);
        let around = |octets: usize| (octets / 9).saturating_sub(5)..octets / 9 + 5;
        let counts = [0, 8192, CHUNK, 2 * CHUNK, 3 * CHUNK].into_iter();
        let counts = counts.flat_map(around).chain([49_999, 50_000, 50_001]);
        for lines in counts {
            let part = wire.body(&format!("TOP 1 {lines}"));
            let expected = top(&messages[0], lines);
            assert_same(&part, &expected, &format!("TOP 1 {lines}"));
        }
        for number in [2, 3] {
            for lines in 0..4 {
                let part = wire.body(&format!("TOP {number} {lines}"));
                let expected = top(&messages[number - 1], lines);
                assert_same(&part, &expected, &format!("TOP {number} {lines}"));
            }
        }
    });
}

#[test]
fn messages_fetched_ahead_are_the_ones_asked_for() {
    let octets = |n: u64| match n {
        100 => CHUNK,
        101 => CHUNK - 1,
        102 => CHUNK + 1,
        120 => 3 * CHUNK,
        _ => usize::try_from(100 + n * 37 % 4000).unwrap(),
    };
    let messages: Vec<_> = (1..=200).map(|n| mail::message(n, octets(n))).collect();
    on_each(|served| {
        let owner = served.owner(&messages);
        let mut wire = served.login(&owner);
        let mut check = |number: usize| {
            let message = wire.body(&format!("RETR {number}"));
            let what = format!("message {number}");
            assert_same(&message, &messages[number - 1], &what);
        };
        (1..=200).for_each(&mut check);
        (1..=200).rev().step_by(7).for_each(&mut check);
        // Runs that break off, skip, come again and go on.
        for run in [
            1..=30,
            20..=60,
            58..=58,
            58..=125,
            90..=130,
            199..=200,
            1..=2,
        ] {
            run.for_each(&mut check);
        }
        (1..=200).step_by(2).for_each(&mut check);
    });
}

#[test]
fn pipelined_retrievals_are_answered_in_order() {
    let messages: Vec<_> = (1..=150)
        .map(|n| mail::message(n, usize::try_from(50 + n * 13).unwrap()))
        .collect();
    on_each(|served| {
        let owner = served.owner(&messages);
        let mut wire = served.login(&owner);
        let mut said = String::new();
        for number in 1..=150 {
            said += &format!("RETR {number}\r\nDELE {number}\r\nTOP {number} 0\r\n");
        }
        wire.send((said + "STAT\r\n").as_bytes());
        for (number, message) in (1..).zip(&messages) {
            assert!(wire.line().starts_with("+OK"));
            assert_same(&wire.read_body(), message, &format!("message {number}"));
            assert!(wire.line().starts_with("+OK"));
            assert!(wire.line().starts_with("-ERR"));
        }
        assert_eq!(wire.line(), "+OK 0 0");
    });
}

#[test]
fn a_message_that_lost_its_middle_breaks_the_connection_and_does_not_pass_for_whole() {
    on_each(|served| {
        for lost in 1..6 {
            let owner = served.owner(&[mail::message(lost, 6 * CHUNK - 100)]);
            let mut wire = served.login(&owner);
            run(async || {
                let sql = served.place.sql().await;
                let of_owner = format!(
                    "SELECT content_id FROM messages WHERE user_id = {}",
                    owner.id.row()
                );
                sql.run(&format!(
                    "DELETE FROM chunks WHERE number = {lost} AND content_id IN ({of_owner})"
                ))
                .await;
            });
            wire.ok("RETR 1");
            wire.no_more();
            let reply = wire.read_to_end().unwrap();
            assert!(!reply.ends_with(b"\r\n.\r\n"), "without chunk {lost}");
        }
    });
}

#[test]
fn top_and_retr_of_a_message_whose_first_chunk_is_too_short_break_the_connection() {
    on_each(|served| {
        for command in ["TOP 1 99999", "RETR 1"] {
            let owner = served.owner(&[mail::message(1, 2 * CHUNK)]);
            run(async || {
                let sql = served.place.sql().await;
                sql.run(&format!(
                    "UPDATE chunks SET data = SUBSTR(data, 1, 5000) WHERE number = 0 \
                     AND content_id IN (SELECT content_id FROM messages WHERE user_id = {})",
                    owner.id.row()
                ))
                .await;
            });
            let mut wire = served.login(&owner);
            wire.send(format!("{command}\r\n").as_bytes());
            wire.no_more();
            let reply = wire.read_to_end().unwrap();
            assert!(!reply.ends_with(b"\r\n.\r\n"), "{command}");
        }
    });
}
