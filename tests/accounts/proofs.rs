//! What a key allows, from where, and how it is proven by SCRAM.

use std::net::IpAddr;

use pop3::{Access, Secret, Verifier};
use restante::accounts::{Authentication, Evidence, KeyOptions, SCOPE_POP3_READ};

use super::{accounts, new_key, opens, trust, verify, verify_from};
use crate::support::mail::{ADA, BOB, key_options};
use crate::support::place::on_each;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_key_for_reading_opens_the_maildrop_for_reading() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        for (name, scopes, access) in [
            ("backup", &[SCOPE_POP3_READ][..], Access::Read),
            ("phone", &["pop3"], Access::Full),
            ("both", &[SCOPE_POP3_READ, "pop3"], Access::Full),
        ] {
            let mut options = key_options(name);
            options.scopes = scopes.iter().map(|scope| (*scope).into()).collect();
            let key = accounts.create_key(ADA, options).await.unwrap().key;
            assert_eq!(verify(&accounts, ADA, &key).await.unwrap().access, access);
        }
    });
}

#[test]
fn a_key_with_networks_opens_nothing_from_elsewhere() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let options = KeyOptions {
            networks: "192.0.2.0/24, 2001:db8::/32".parse().unwrap(),
            ..key_options("office")
        };
        let new = accounts.create_key(ADA, options).await.unwrap();
        for (client, opens) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("2001:db8::7", true),
            ("192.0.3.7", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            let client = address(client);
            let by_secret = verify_from(client, &accounts, ADA, &new.key).await;
            assert_eq!(by_secret.is_ok(), opens, "{client}");
            let by_proof = accounts.identify(&Evidence::Key(new.id), client).await;
            assert_eq!(by_proof.unwrap().is_ok(), opens, "{client}");
        }
        let listed = accounts.keys(ADA).await.unwrap();
        assert_eq!(listed[0].networks, "192.0.2.0/24, 2001:db8::/32");
    });
}

#[test]
fn a_name_may_tell_which_key_is_meant_and_must_tell_the_truth() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let phone = new_key(&accounts, ADA, "phone").await;
        assert!(
            opens(&accounts, "ADA@example.com#phone", &phone)
                .await
                .is_some()
        );
        for wrong in [
            "ada@example.com#laptop",
            "ada@example.com#PHONE",
            "ada@example.com#",
        ] {
            assert!(opens(&accounts, wrong, &phone).await.is_none(), "{wrong}");
        }
    });
}

#[test]
fn the_verifier_of_a_key_is_found_by_its_name_or_by_being_the_only_one() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts
            .add(ADA, &["lovelace@example.com".into()])
            .await
            .unwrap();
        accounts.add(BOB, &[]).await.unwrap();
        let found = async |name: &str| accounts.verifier(name).await.unwrap();
        let phone = accounts
            .create_key(ADA, key_options("phone"))
            .await
            .unwrap();
        for name in [
            ADA,
            "ADA@EXAMPLE.com",
            "lovelace@example.com",
            "ada@example.com#phone",
        ] {
            assert_eq!(found(name).await.key, Some(phone.id), "{name}");
        }
        let verifier = found(ADA).await.verifier.to_string();
        let salt = verifier.split(['$', ':']).nth(2).unwrap();
        let salt = data_encoding::BASE64.decode(salt.as_bytes()).unwrap();
        let secret = Secret::new(phone.key.as_bytes());
        let again = Verifier::new(&secret, &salt, 4096.try_into().unwrap());
        assert_eq!(again.to_string(), verifier);

        let laptop = accounts
            .create_key(ADA, key_options("laptop"))
            .await
            .unwrap();
        assert_eq!(found("ada@example.com#laptop").await.key, Some(laptop.id));
        for name in [
            ADA,
            "ada@example.com#",
            BOB,
            "bob@example.com#phone",
            "eve@example.com",
            "",
        ] {
            assert_eq!(found(name).await.key, None, "{name}");
        }
        accounts.revoke_key(phone.id).await.unwrap();
        assert_eq!(found(ADA).await.key, Some(laptop.id));
        accounts.set_disabled(ADA, true).await.unwrap();
        assert_eq!(found(ADA).await.key, None);
    });
}

#[test]
fn nobody_learns_from_a_verifier_who_has_a_key() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        new_key(&accounts, ADA, "phone").await;
        // What the client sees of it: the iterations and the salt.
        let seen = |verifier: &Verifier| {
            let text = verifier.to_string();
            text.rsplit_once('$').unwrap().0.to_owned()
        };
        let real = accounts.verifier(ADA).await.unwrap();
        assert!(real.key.is_some());
        // Another server of the same database, or the same one after a restart.
        let other = super::accounts(place).await;
        for name in [
            "eve@example.com",
            "ada@example.com#",
            "ada@example.com#none",
            "ADA@example.com#PHONE",
            "a\0b",
        ] {
            for accounts in [&accounts, &other] {
                let mock = accounts.verifier(name).await.unwrap();
                assert_eq!(mock.key, None, "{name}");
                assert_eq!(seen(&mock.verifier), seen(&real.verifier), "{name}");
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
        assert_eq!(accounts.verifier(ADA).await.unwrap().key, None);
        assert!(opens(&accounts, ADA, &key).await.is_some());
    });
}

#[test]
fn a_word_for_an_address_is_for_no_other() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add("kate@example.com", &[]).await.unwrap();
        assert!(trust(&accounts, "KATE@example.com").await.is_ok());
        // The second begins with the Kelvin sign, which is a k in lower case.
        for other in ["kate@example.com#x@evil.example", "\u{212a}ate@example.com"] {
            assert!(trust(&accounts, other).await.is_err(), "{other}");
        }
    });
}
