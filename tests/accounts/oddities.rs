//! Odd input of clients.

use std::net::Ipv4Addr;

use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use restante::store::Proof;
use wire::Secret;

use super::{accounts, new_key, trust, verify};
use crate::support::mail::ADA;
use crate::support::place::on_each;

#[test]
fn odd_names_and_keys_are_wrong_and_no_fault() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let key = new_key(&accounts, ADA, "laptop").await;
        let long = "x".repeat(100_000);
        for odd in [
            "",
            " ",
            "\0",
            "ada\0@example.com",
            "ada@example.com\0",
            "'",
            "' OR ''='",
            "\"",
            ";",
            "\\",
            "$1",
            "%",
            "_",
            "\u{fffd}",
            "\u{10ffff}",
            "İ@example.com",
            "\r\n",
            &long,
        ] {
            assert!(verify(&accounts, odd, &key).await.is_err(), "{odd:?}");
            assert!(verify(&accounts, ADA, odd).await.is_err(), "{odd:?}");
            assert!(verify(&accounts, odd, odd).await.is_err(), "{odd:?}");
            assert!(trust(&accounts, odd).await.is_err(), "{odd:?}");
            let prefixed =
                format!("rst_{odd}{odd}{odd}{odd}{odd}{odd}{odd}{odd}{odd}{odd}{odd}{odd}_");
            assert!(verify(&accounts, ADA, &prefixed).await.is_err(), "{odd:?}");
        }
    });
}

#[test]
fn no_octets_at_all_are_a_fault() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let key = new_key(&accounts, ADA, "laptop").await;
        let starts = ["", "rst_", &key[..17]].map(|start| start.as_bytes().to_vec());
        let cases = (
            any::<String>(),
            proptest::sample::select(starts.to_vec()),
            proptest::collection::vec(any::<u8>(), 0..60),
        );
        let mut runner = TestRunner::deterministic();
        for _ in 0..300 {
            let (address, start, rest) = cases.new_tree(&mut runner).unwrap().current();
            let secret = Secret::new([start, rest].concat());
            for address in [ADA, &address] {
                let evidence = Proof::Secret {
                    name: address.into(),
                    identity: Some(address.into()),
                    secret: secret.clone(),
                };
                let verified = accounts
                    .identify(&evidence, Ipv4Addr::LOCALHOST.into())
                    .await;
                let refused = verified.is_ok_and(|it| it.is_err());
                assert!(refused, "{address:?} {:?}", secret.expose());
            }
        }
    });
}
