//! Which keys a client may prove by SCRAM.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pop3::{Candidates, Verifier};
use restante::accounts::{Accounts, KeyOptions, NewKey, SCOPE_POP3_READ};
use wire::Secret;

use super::{accounts, new_key, opens};
use crate::support::mail::{ADA, BOB, key_options};
use crate::support::place::on_each;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn make(accounts: &Accounts, address: &str, options: KeyOptions) -> NewKey {
    accounts.create_key(address, options).await.unwrap()
}

async fn found(accounts: &Accounts, name: &str) -> Candidates {
    accounts.candidates(name, None, HERE).await.unwrap()
}

/// The numbers of the keys that this name may prove, in order.
pub(super) async fn provable(accounts: &Accounts, name: &str) -> Vec<u128> {
    let candidates = found(accounts, name).await;
    let mut keys: Vec<_> = candidates.keys().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_client_may_prove_any_key_of_its_user_or_the_one_that_it_names() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let alias = "lovelace@example.com";
        accounts.add(ADA, &[alias.into()]).await.unwrap();
        accounts.add(BOB, &[]).await.unwrap();
        let phone = make(&accounts, ADA, key_options("phone")).await;
        let laptop = make(&accounts, ADA, key_options("laptop")).await;
        let bobs = make(&accounts, BOB, key_options("phone")).await;
        let [phone_id, laptop_id, bobs_id] = [&phone, &laptop, &bobs].map(|key| key.id.get());
        for name in [ADA, "ADA@EXAMPLE.com", alias] {
            let keys = provable(&accounts, name).await;
            assert_eq!(keys, [phone_id, laptop_id], "{name}");
        }
        assert_eq!(provable(&accounts, BOB).await, [bobs_id]);
        let named = provable(&accounts, "ada@example.com#laptop").await;
        assert_eq!(named, [laptop_id]);
        for name in [
            "ada@example.com#",
            "ada@example.com#LAPTOP",
            "bob@example.com#laptop",
            "eve@example.com",
            "a\0b",
            "",
        ] {
            assert_eq!(provable(&accounts, name).await, [0; 0], "{name:?}");
        }
        let candidates = found(&accounts, ADA).await;
        let (salt, iterations) = candidates.told();
        let salt = data_encoding::BASE64.decode(salt.as_bytes()).unwrap();
        for (key, verifier) in candidates.keys() {
            let made = [&phone, &laptop].into_iter().find(|it| it.id.get() == key);
            let made = made.expect("a key of ada's");
            let secret = Secret::new(made.key.as_bytes());
            assert_eq!(*verifier, Verifier::new(&secret, &salt, iterations));
        }
    });
}

#[test]
fn a_key_that_could_not_log_in_can_not_be_proven() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let full = make(&accounts, ADA, key_options("full")).await.id.get();
        let read = KeyOptions {
            scopes: vec![SCOPE_POP3_READ.into()],
            ..key_options("read")
        };
        let read = make(&accounts, ADA, read).await.id.get();
        let near = KeyOptions {
            networks: "127.0.0.0/8".parse().unwrap(),
            ..key_options("near")
        };
        let near = make(&accounts, ADA, near).await.id.get();
        let far = KeyOptions {
            networks: "192.0.2.0/24".parse().unwrap(),
            ..key_options("far")
        };
        let far = make(&accounts, ADA, far).await.id.get();
        for name in ["expired", "scopeless", "old"] {
            new_key(&accounts, ADA, name).await;
        }
        let sql = place.sql().await;
        for change in [
            "expires_at_ms = 1 WHERE name = 'expired'",
            "scopes = 'smtp' WHERE name = 'scopeless'",
            "verifier = NULL WHERE name = 'old'",
        ] {
            sql.run(&format!("UPDATE api_keys SET {change}")).await;
        }
        let revoked = make(&accounts, ADA, key_options("revoked")).await;
        accounts.revoke_key(revoked.id).await.unwrap();

        assert_eq!(provable(&accounts, ADA).await, [full, read, near]);
        for name in ["far", "expired", "scopeless", "old", "revoked"] {
            let name = format!("{ADA}#{name}");
            assert_eq!(provable(&accounts, &name).await, [0; 0], "{name}");
        }
        let elsewhere = "192.0.2.7".parse().unwrap();
        let there = accounts.candidates(ADA, None, elsewhere).await.unwrap();
        let there: Vec<_> = there.keys().map(|(key, _)| key).collect();
        assert!(there.contains(&far) && there.contains(&full) && !there.contains(&near));
        accounts.set_disabled(ADA, true).await.unwrap();
        assert_eq!(provable(&accounts, ADA).await, [0; 0]);
    });
}

#[test]
fn of_more_keys_than_are_tried_those_used_last_are_and_others_can_be_named() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let first = make(&accounts, ADA, key_options("first")).await.id;
        for number in 0..Candidates::MAX {
            new_key(&accounts, ADA, &number.to_string()).await;
        }
        // As if the keys had been made one after the other.
        let sql = place.sql().await;
        sql.run("UPDATE api_keys SET created_at_ms = id").await;
        let keys = provable(&accounts, ADA).await;
        assert_eq!(keys.len(), Candidates::MAX);
        assert!(!keys.contains(&first.get()));
        let named = provable(&accounts, "ada@example.com#first").await;
        assert_eq!(named, [first.get()]);
        accounts
            .note_key_use(&[(first, Duration::ZERO)].into())
            .await
            .unwrap();
        let keys = provable(&accounts, ADA).await;
        assert!(keys.len() == Candidates::MAX && keys.contains(&first.get()));
    });
}

#[test]
fn keys_that_may_not_be_used_take_no_place_of_those_that_may() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let good = make(&accounts, ADA, key_options("good")).await.id.get();
        for number in 0..Candidates::MAX + 1 {
            let options = KeyOptions {
                networks: "192.0.2.0/24".parse().unwrap(),
                ..key_options(&number.to_string())
            };
            make(&accounts, ADA, options).await;
        }
        let sql = place.sql().await;
        sql.run("UPDATE api_keys SET created_at_ms = id").await;
        assert_eq!(provable(&accounts, ADA).await, [good]);
    });
}

#[test]
fn nobody_learns_from_what_scram_tells_who_has_a_key() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        new_key(&accounts, ADA, "phone").await;
        let told = found(&accounts, ADA).await.told();
        // Another server of the same database, or the same one after a restart.
        let other = super::accounts(place).await;
        for name in [
            ADA,
            "eve@example.com",
            "ada@example.com#",
            "ada@example.com#none",
            "a\0b",
        ] {
            for accounts in [&accounts, &other] {
                assert_eq!(found(accounts, name).await.told(), told, "{name:?}");
            }
        }
    });
}

#[test]
fn a_key_from_before_scram_is_still_a_key_and_has_no_verifier() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let key = new_key(&accounts, ADA, "old").await;
        let sql = place.sql().await;
        sql.run("UPDATE api_keys SET verifier = NULL, networks = NULL")
            .await;
        assert_eq!(provable(&accounts, ADA).await, [0; 0]);
        assert!(opens(&accounts, ADA, &key).await.is_some());
    });
}
