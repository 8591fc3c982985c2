//! What a key allows, from where, and how it is proven by SCRAM.

use std::net::IpAddr;

use pop3::Access;
use restante::accounts::{KeyOptions, SCOPE_POP3_READ};
use restante::store::Proof;
use wire::Secret;

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
            let by_proof = accounts.identify(&Proof::Key(new.id), client).await;
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
fn an_identity_is_an_address_of_the_same_user_in_any_form() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let alias = "lovelace@example.com";
        accounts.add(ADA, &[alias.into()]).await.unwrap();
        accounts.add(BOB, &[]).await.unwrap();
        let key = accounts
            .create_key(ADA, key_options("phone"))
            .await
            .unwrap();
        let client = address("127.0.0.1");
        for (name, identity, good) in [
            (ADA, Some(ADA), true),
            (ADA, Some("ADA@example.com"), true),
            (ADA, Some("LoveLace@example.com"), true),
            (ADA, Some("lovelace@example.com#phone"), true),
            (alias, Some(ADA), true),
            ("ada@example.com#phone", Some(alias), true),
            (ADA, None, true),
            (ADA, Some(BOB), false),
            (alias, Some(BOB), false),
            (ADA, Some("eve@example.com"), false),
            (ADA, Some("ada"), false),
            (ADA, Some("#phone"), false),
            (ADA, Some(""), false),
            (ADA, Some("a\0b"), false),
            (BOB, Some(ADA), false),
        ] {
            let evidence = Proof::Secret {
                name: name.into(),
                identity: identity.map(Into::into),
                secret: Secret::new(key.key.as_bytes()),
            };
            let by_secret = accounts.identify(&evidence, client).await.unwrap();
            assert_eq!(by_secret.is_ok(), good, "{name} {identity:?}");
            let candidates = accounts.candidates(name, identity, client).await.unwrap();
            let keys: Vec<_> = candidates.keys().map(|(key, _)| key).collect();
            assert_eq!(keys.contains(&key.id.get()), good, "{name} {identity:?}");
        }
    });
}

#[test]
fn somebody_trusted_may_tell_several_addresses_and_the_client_whom_it_means() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let alias = "lovelace@example.com";
        let ada = accounts.add(ADA, &[alias.into()]).await.unwrap();
        let bob = accounts.add(BOB, &[]).await.unwrap();
        accounts.add("eve@example.com", &[]).await.unwrap();
        let meant = async |addresses: &[&str], identity: Option<&str>| {
            let evidence = Proof::TrustedAddress {
                addresses: addresses.iter().map(|it| (*it).into()).collect(),
                identity: identity.map(Into::into),
            };
            let verified = accounts.identify(&evidence, address("::1")).await.unwrap();
            verified.ok().map(|(verified, _)| verified.user)
        };
        let both = [BOB, "Lovelace@example.com"];
        for (addresses, identity, user) in [
            (&[ADA][..], None, Some(ada)),
            (&[ADA], Some("ADA@example.com"), Some(ada)),
            (&[ADA], Some(alias), Some(ada)),
            (&[alias], Some(ADA), Some(ada)),
            (&[ADA], Some(BOB), None),
            (&both, None, Some(bob)),
            (&both, Some(BOB), Some(bob)),
            (&both, Some(ADA), Some(ada)),
            (&both, Some("eve@example.com"), None),
            (&["nobody@example.com", ADA], None, None),
            (&["nobody@example.com", ADA], Some(ADA), Some(ada)),
            (&[ADA], Some(""), None),
            (&[ADA], Some("a\0b"), None),
            (&["a\0b"], None, None),
            (&[], None, None),
            (&[], Some(ADA), None),
        ] {
            let found = meant(addresses, identity).await;
            assert_eq!(found, user, "{addresses:?} {identity:?}");
        }
        accounts.set_disabled(ADA, true).await.unwrap();
        assert_eq!(meant(&[ADA], Some(alias)).await, None);
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
