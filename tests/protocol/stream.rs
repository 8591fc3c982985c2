//! Much at once, and bit by bit.

use super::{SMALL, assert_same, huge, sqlite};
use crate::served::Served;
use crate::support::mail;

#[test]
fn thousands_of_pipelined_commands_are_answered_in_order_and_in_few_pieces() {
    let served = sqlite();
    let owner = served.owner(&[SMALL.to_vec(), mail::message(1, 999)]);
    let ids = served.stored(&owner);
    let mut wire = served.login(&owner);
    let mut commands = String::new();
    let mut expected = String::new();
    for n in 0..2000 {
        commands += &format!("LIST {}\r\nUIDL 2\r\nNOOP\r\nXYZZY\r\n", n % 3);
        expected += match n % 3 {
            0 => "-ERR no such message\r\n",
            1 => "+OK 1 24\r\n",
            _ => "+OK 2 999\r\n",
        };
        expected += &format!(
            "+OK 2 {}\r\n+OK nothing done\r\n-ERR unknown command\r\n",
            ids[1]
        );
    }
    wire.send(commands.as_bytes());
    let mut answers = Vec::new();
    let mut pieces = 0;
    while answers.len() < expected.len() {
        answers.extend(wire.more());
        pieces += 1;
    }
    assert_same(&answers, expected.as_bytes(), "8000 answers");
    // One for each would be 8000.
    assert!(pieces < 200, "{pieces} pieces");
}

#[test]
fn the_answers_are_the_same_wherever_the_stream_is_cut() {
    for connect in [Served::connect, Served::connect_tls] {
        let served = sqlite();
        let owner = served.owner(&[SMALL.to_vec(), b".\r\n\r\n..\r\n".to_vec()]);
        let (address, key) = (&owner.address, &owner.key);
        let said = format!(
            "USER {address}\r\nPASS {key}\r\nLIST\r\nRETR 2\r\nDELE 1\r\nTOP 2 1\r\nRSET\r\nQUIT\r\n"
        );
        let said = said.as_bytes();
        let mut whole = connect(&served);
        whole.send(said);
        let whole = whole.read_to_end().unwrap();
        assert!(whole.ends_with(b"+OK goodbye\r\n"));
        for at in 1..said.len() {
            let mut wire = connect(&served);
            let (before, after) = said.split_at(at);
            wire.send(before);
            // The answers to whole lines come, so the server has read that far.
            let lines = before.iter().filter(|octet| **octet == b'\n').count();
            let mut answers = Vec::new();
            for line in 0..lines {
                answers.extend(wire.raw_line().unwrap());
                // LIST, RETR and TOP.
                if [2, 3, 5].contains(&line) {
                    while !answers.ends_with(b"\r\n.\r\n") {
                        answers.extend(wire.raw_line().unwrap());
                    }
                }
            }
            // After QUIT there is nobody to send to.
            drop(wire.try_send(after));
            answers.extend(wire.read_to_end().unwrap());
            assert_same(&answers, &whole, &format!("cut at {at}"));
        }
    }
}

#[test]
fn a_session_may_come_octet_by_octet() {
    let served = sqlite();
    for connect in [Served::connect, Served::connect_tls] {
        let owner = served.owner(&[SMALL.to_vec()]);
        let (address, key) = (&owner.address, &owner.key);
        let said = format!("USER {address}\r\nPASS {key}\r\nDELE 1\r\nQUIT\r\n");
        let mut wire = connect(&served);
        for octet in said.bytes() {
            wire.send(&[octet]);
        }
        let answers = String::from_utf8(wire.read_to_end().unwrap()).unwrap();
        assert_eq!(answers.matches("+OK").count(), 4, "{answers}");
        assert_eq!(served.stored(&owner).len(), 0);
    }
}

#[test]
fn a_client_that_sends_all_and_closes_its_side_gets_every_answer() {
    let served = sqlite();
    let owner = served.owner(&[huge(1_000_000)]);
    let (address, key) = (&owner.address, &owner.key);
    let mut wire = served.connect();
    let said = format!("USER {address}\r\nPASS {key}\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n");
    wire.send(said.as_bytes());
    let answers = wire.finish().unwrap();
    assert!(answers.len() > 1_000_000);
    assert!(answers.ends_with(b"+OK 1 messages deleted, 0 left (0 octets)\r\n"));
    assert_eq!(served.stored(&owner).len(), 0);
}
