//! How many connections there may be: in all, of an address, of a user, before login.

use super::{SMALL, connect_from, metric, refusal, served};
use crate::served::Wire;

const IN_ALL: &str = "pop3_connections_refused_total{reason=\"total\"}";
const ADDRESS: &str = "pop3_connections_refused_total{reason=\"address\"}";
const BEFORE_LOGIN: &str = "pop3_connections_refused_total{reason=\"before_login\"}";

#[test]
fn one_more_than_there_may_be_in_all_is_refused_until_one_has_gone() {
    let served = served(&[("Pop3__MaxConnections", "3")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut first = served.login(&owner);
    let mut others = [served.connect(), served.connect_tls()];
    assert_eq!(metric(&served, IN_ALL), 0);
    let expected = "-ERR [SYS/TEMP] too many connections, try again later";
    assert_eq!(refusal(Wire::connect(served.plain)), expected);
    assert_eq!(refusal(Wire::connect(served.tls).start_tls()), expected);
    assert_eq!(metric(&served, IN_ALL), 2);
    for wire in &mut others {
        wire.ok("CAPA");
        wire.read_body();
    }
    first.ok("QUIT");
    served.wait_for_sessions(2);
    served.login(&owner).ok("STAT");
}

#[test]
fn one_more_than_an_address_may_have_is_refused_and_another_address_is_not() {
    let served = served(&[("Pop3__MaxConnectionsPerAddress", "2")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let mut logged_in = served.login_tls(&owner);
    let _greeted = served.connect();
    let expected = "-ERR [SYS/TEMP] too many connections from your network: close some of them";
    assert_eq!(refusal(Wire::connect(served.plain)), expected);
    assert_eq!(refusal(Wire::connect(served.tls).start_tls()), expected);
    assert_eq!(metric(&served, ADDRESS), 2);
    let _elsewhere = connect_from("127.0.0.2", served.plain).greeted();
    logged_in.ok("QUIT");
    served.wait_for_sessions(2);
    served.connect();
}

#[test]
fn many_refused_at_once_neither_wait_nor_stay() {
    let served = served(&[("Pop3__MaxConnections", "1")]);
    let mut kept = served.connect();
    // More than are told why: nobody of them shakes hands.
    let silent: Vec<Wire> = (0..150).map(|_| Wire::connect(served.tls)).collect();
    crate::support::eventually("all to be refused", || {
        (metric(&served, IN_ALL) == 150).then_some(())
    });
    for mut wire in silent {
        assert_eq!(wire.read_to_end().unwrap_or_default(), b"");
    }
    kept.ok("QUIT");
    served.wait_for_sessions(0);
    served.connect();
}

#[test]
fn one_more_than_a_user_may_have_is_refused_on_every_listener() {
    let served = served(&[("Pop3__MaxConnectionsPerUser", "2")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    let other = served.owner(&[]);
    let mut in_clear = served.login(&owner);
    let _in_tls = served.login_tls(&owner);
    for mut wire in [served.connect(), served.connect_tls()] {
        let answer = wire.try_login(&owner);
        assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    }
    served.login(&other);
    in_clear.ok("QUIT");
    served.login_tls(&owner);
}

#[test]
fn one_more_before_login_ends_the_oldest_which_is_told() {
    let served = served(&[("Pop3__MaxConnectionsBeforeLogin", "3")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    // Who is logged in is in nobody's way.
    let mut logged_in = served.login(&owner);
    let oldest = served.connect();
    let in_tls = served.connect_tls();
    let mut third = served.connect();
    third.ok(&format!("USER {}", owner.address));
    assert_eq!(metric(&served, BEFORE_LOGIN), 0);
    let expected = "-ERR [SYS/TEMP] too many clients are waiting to log in, try again later";
    let fourth = served.connect();
    assert_eq!(refusal(oldest), expected);
    let _fifth = served.connect();
    assert_eq!(refusal(in_tls), expected);
    assert_eq!(metric(&served, BEFORE_LOGIN), 2);
    third.ok(&format!("PASS {}", owner.key));
    logged_in.ok("STAT");
    drop(fourth);
    served.wait_for_sessions(3);
}

#[test]
fn the_oldest_before_login_that_has_not_shaken_hands_is_closed_without_a_word() {
    let served = served(&[("Pop3__MaxConnectionsBeforeLogin", "1")]);
    let mut silent = Wire::connect(served.tls);
    served.wait_for_sessions(1);
    let owner = served.owner(&[]);
    served.login(&owner).ok("STAT");
    assert_eq!(silent.read_to_end().unwrap(), b"");
}
