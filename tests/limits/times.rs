//! How long a client may take.

use super::{SMALL, refusal, served};
use crate::served::Wire;
use crate::support::{eventually, pause};
use std::time::Duration;

#[test]
fn a_client_that_does_not_log_in_in_time_is_told_so_whatever_it_does() {
    let served = served(&[("Pop3__LoginTimeout", "1500ms")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut logged_in = served.login(&owner);
    let silent = served.connect();
    let in_tls = served.connect_tls();
    let mut half = served.connect();
    half.ok(&format!("USER {}", owner.address));
    let mut responding = served.connect_tls();
    assert_eq!(responding.command("AUTH PLAIN"), "+ ");
    let mut half_line = served.connect();
    half_line.send(b"USER ad");
    for wire in [silent, in_tls, half, responding, half_line] {
        let expected = "-ERR no login within 1.5 seconds, goodbye";
        assert_eq!(refusal(wire), expected);
    }
    logged_in.ok("STAT");
    served.wait_for_sessions(1);
}

#[test]
fn during_a_handshake_the_time_to_log_in_ends_without_a_word() {
    let served = served(&[("Pop3__LoginTimeout", "700ms")]);
    let no_handshake = Wire::connect(served.tls);
    let mut stls = served.connect();
    stls.ok("STLS");
    let mut half_hello = Wire::connect(served.tls);
    half_hello.send(b"\x16\x03\x01\x02\x00\x01");
    for mut wire in [no_handshake, stls, half_hello] {
        assert_eq!(wire.read_to_end().unwrap(), b"");
    }
    served.wait_for_sessions(0);
}

#[test]
fn a_client_that_has_always_one_more_command_must_log_in_in_time_too() {
    let served = served(&[("Pop3__LoginTimeout", "700ms")]);
    for reads in [true, false] {
        let mut wire = served.connect();
        let mut replies = wire.tcp().try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            if reads {
                drop(std::io::copy(&mut replies, &mut std::io::sink()));
            }
        });
        let commands = b"CAPA\r\n".repeat(10_000);
        eventually("the server to close", || {
            wire.try_send(&commands).is_err().then_some(())
        });
        reader.join().unwrap();
    }
    served.wait_for_sessions(0);
}

#[test]
fn a_client_that_has_logged_in_may_be_silent_for_longer_than_a_login_may_take() {
    let served = served(&[("Pop3__LoginTimeout", "700ms")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut logged_in = served.login(&owner);
    refusal(served.connect());
    logged_in.ok("STAT");
}

#[test]
fn a_slow_reader_is_not_cut_off_however_large_the_buffers_between_are() {
    let served = served(&[("Pop3__WriteTimeout", "3s")]);
    let message = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let message = message.repeat(300_000);
    let owner = served.owner(std::slice::from_ref(&message));
    let mut wire = served.login(&owner);
    wire.ok("RETR 1");
    let mut read = 0;
    // Longer than the timeout, and never more than a tenth of it without reading, since others are
    // busy on the machine, too; but all the while less than what may wait in the system, of which
    // much must be read before there is room for more.
    for _ in 0..12 {
        pause(Duration::from_millis(300));
        read += wire.exactly(100_000).unwrap().len();
    }
    let rest = wire.read_stuffed(Vec::new());
    assert_eq!(read + rest.len(), message.len() + b".\r\n".len());
}

#[test]
fn a_client_may_read_nothing_for_as_long_as_it_may_say_nothing() {
    let served = served(&[("Pop3__SessionTimeout", "2s")]);
    let owner = served.owner(&[vec![b'x'; 20_000_000]]);
    let mut deaf = served.login(&owner);
    deaf.send(b"RETR 1\r\n");
    assert!(deaf.line().starts_with("+OK"));
    served.wait_for_sessions(0);
}
