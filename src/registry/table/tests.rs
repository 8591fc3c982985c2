use std::net::SocketAddr;

use pop3::Access;

use super::*;
use crate::net::{ListenerKind, Peer};
use crate::store::UserId;

const MAX_LMTP: u32 = 2;

fn table(limits: AdmissionLimits) -> Table {
    Table::new(limits, MAX_LMTP, Arc::new(Metrics::new().unwrap()))
}

const NONE: AdmissionLimits = AdmissionLimits {
    in_all: 0,
    per_address: 0,
    loopback_counts: true,
    before_login: 100,
    per_user: 5,
    evict_idle_after: Duration::ZERO,
};

fn session(name: &str, address: &str) -> Arc<SessionHandle> {
    let ip: IpAddr = address.parse().unwrap();
    Arc::new(SessionHandle::new(
        name.to_owned(),
        SocketAddr::from((ip, 1)),
    ))
}

fn admit(table: &Table, name: &str, address: &str) -> Result<Admission, AdmissionRefusal> {
    table.admit(session(name, address))
}

fn log_in(admission: &Admission) {
    let verified = Verified {
        user: UserId::from_row(1),
        address: "ada@example.org".into(),
        key: None,
        key_name: "test".into(),
        access: Access::Full,
    };
    admission.logged_in(&verified, LoggedInBy::Nothing, &Snapshot::default());
}

fn ending(admission: &Admission) -> Option<EndReason> {
    admission.handle().doomed()
}

#[test]
fn one_more_than_the_limit_in_all_is_refused_until_one_ends() {
    let table = table(AdmissionLimits { in_all: 2, ..NONE });
    let first = admit(&table, "1", "192.0.2.1").unwrap();
    let _second = admit(&table, "2", "192.0.2.2").unwrap();
    let third = admit(&table, "3", "192.0.2.3");
    assert_eq!(third.unwrap_err(), AdmissionRefusal::InAll);
    drop(first);
    admit(&table, "4", "192.0.2.4").unwrap();
}

#[test]
fn an_address_is_counted_by_itself_and_one_of_ipv6_by_its_network() {
    for (ours, same, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
    ] {
        let table = table(AdmissionLimits {
            per_address: 2,
            ..NONE
        });
        let first = admit(&table, "1", ours).unwrap();
        let _second = admit(&table, "2", same).unwrap();
        let third = admit(&table, "3", same);
        assert_eq!(third.unwrap_err(), AdmissionRefusal::Address, "{same}");
        let _other = admit(&table, "4", other).unwrap();
        drop(first);
        admit(&table, "5", same).unwrap();
    }
}

#[test]
fn loopback_is_not_counted_unless_the_limit_is_set() {
    let table = table(AdmissionLimits {
        per_address: 1,
        loopback_counts: false,
        ..NONE
    });
    let _first = admit(&table, "1", "127.0.0.1").unwrap();
    let _second = admit(&table, "2", "127.0.0.1").unwrap();
    let _third = admit(&table, "3", "::1").unwrap();
    let _fourth = admit(&table, "4", "::1").unwrap();
}

#[test]
fn the_client_of_a_proxy_is_counted_once_it_is_known() {
    let table = table(AdmissionLimits {
        per_address: 1,
        ..NONE
    });
    let proxied = |name: &str| {
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let handle = SessionHandle::behind_proxy(name.to_owned(), address);
        table.admit(Arc::new(handle)).unwrap()
    };
    let mut first = proxied("1");
    let mut second = proxied("2");
    for admission in [&first, &second] {
        admission
            .handle()
            .set_client(SocketAddr::from(([198, 51, 100, 7], 5)));
    }
    first.count_client().unwrap();
    assert_eq!(second.count_client(), Err(AdmissionRefusal::Address));
    drop(first);
    second.count_client().unwrap();
}

#[test]
fn one_more_before_login_ends_the_oldest_alone() {
    let table = table(AdmissionLimits {
        before_login: 3,
        ..NONE
    });
    let came: Vec<_> = ["1", "2", "3"]
        .map(|name| admit(&table, name, "192.0.2.1").unwrap())
        .into();
    assert!(came.iter().all(|admission| ending(admission).is_none()));
    // A logged-in session is not counted any more.
    log_in(&came[0]);
    let fourth = admit(&table, "4", "192.0.2.1").unwrap();
    assert!(came.iter().all(|admission| ending(admission).is_none()));
    let fifth = admit(&table, "5", "192.0.2.1").unwrap();
    assert_eq!(ending(&came[1]), Some(EndReason::Evicted));
    assert!(ending(&came[0]).is_none() && ending(&came[2]).is_none());
    // An ended session makes room too, and an evicted one is not counted any more.
    drop(fourth);
    let _sixth = admit(&table, "6", "192.0.2.1").unwrap();
    assert!(ending(&came[2]).is_none() && ending(&fifth).is_none());
}

#[test]
fn a_session_whose_key_is_being_verified_is_evicted_last() {
    let table = table(AdmissionLimits {
        before_login: 2,
        ..NONE
    });
    let first = admit(&table, "1", "192.0.2.1").unwrap();
    let second = admit(&table, "2", "192.0.2.1").unwrap();
    first.handle().set_verifying(true);
    let third = admit(&table, "3", "192.0.2.1").unwrap();
    assert!(ending(&first).is_none());
    assert_eq!(ending(&second), Some(EndReason::Evicted));
    third.handle().set_verifying(true);
    let _fourth = admit(&table, "4", "192.0.2.1").unwrap();
    assert_eq!(ending(&first), Some(EndReason::Evicted));
}

fn lmtp(table: &Table, name: &str) -> Result<Admission, AdmissionRefusal> {
    let handle = SessionHandle::new(name.to_owned(), Peer::Local).on(ListenerKind::Lmtp);
    table.admit(Arc::new(handle))
}

#[test]
fn lmtp_has_a_limit_of_its_own() {
    let limits = AdmissionLimits {
        in_all: 1,
        before_login: 1,
        per_address: 1,
        ..NONE
    };
    let table = table(limits);
    let first = lmtp(&table, "1").unwrap();
    let _second = lmtp(&table, "2").unwrap();
    assert_eq!(lmtp(&table, "3").unwrap_err(), AdmissionRefusal::InAll);
    // Neither takes a place from the other, nor is an MTA evicted for a client.
    let _client = admit(&table, "4", "192.0.2.1").unwrap();
    assert_eq!(ending(&first), None);
    assert_eq!(table.len(), 3);
    drop(first);
    let _third = lmtp(&table, "5").unwrap();
}
