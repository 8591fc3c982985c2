//! Users and their addresses.

use restante::accounts::{AccountError, Accounts, MAX_ADDRESS_OCTETS};

use super::{accounts, new_key, opens, trust};
use crate::support::mail::{ADA, BOB, add, message, store};
use crate::support::place::on_each;

#[test]
fn a_user_is_found_by_every_address_in_any_case() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let aliases = ["Lovelace@Example.com".to_owned(), "ÄDA@example.com".into()];
        let ada = accounts.add("Ada@Example.COM", &aliases).await.unwrap();
        let bob = accounts.add(BOB, &[]).await.unwrap();
        assert_ne!(ada, bob);
        for address in [
            "ada@example.com",
            "ADA@EXAMPLE.COM",
            "lovelace@example.com",
            "LoveLace@example.com",
            "äda@example.com",
            "Äda@EXAMPLE.com",
        ] {
            assert_eq!(accounts.find(address).await.unwrap(), ada, "{address}");
        }
        for address in [
            "eve@example.com",
            "ada",
            "ada@example.co",
            "",
            "%",
            "a_a@example.com",
        ] {
            let found = accounts.find(address).await;
            assert!(
                matches!(found, Err(AccountError::NoSuchUser(_))),
                "{address}"
            );
        }
    });
}

#[test]
fn users_are_listed_by_address_with_their_aliases_and_sizes() {
    on_each(async |place| {
        let database = place.open().await;
        let accounts = Accounts::new(database.clone());
        assert_eq!(accounts.list().await.unwrap(), []);
        let bob = accounts.add(BOB, &[]).await.unwrap();
        let aliases = ["Z@example.com".to_owned(), "y@example.com".into()];
        let ada = accounts.add("ADA@example.com", &aliases).await.unwrap();
        store(&database, &[ada], &[message(1, 100), message(2, 250)]).await;
        accounts.set_disabled(BOB, true).await.unwrap();

        let users = accounts.list().await.unwrap();
        assert_eq!(users.len(), 2);
        assert_eq!((users[0].id, users[1].id), (ada, bob));
        assert_eq!(
            (users[0].address.as_str(), users[1].address.as_str()),
            (ADA, BOB)
        );
        assert_eq!(users[0].aliases, ["y@example.com", "z@example.com"]);
        assert_eq!((users[0].messages, users[0].octets), (2, 350));
        assert_eq!((users[1].messages, users[1].octets), (0, 0));
        assert_eq!((users[0].disabled, users[1].disabled), (false, true));
        assert!(users[1].aliases.is_empty());
    });
}

#[test]
fn an_address_belongs_to_one_user_and_a_refused_one_leaves_nothing() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts
            .add(ADA, &["lovelace@example.com".into()])
            .await
            .unwrap();
        for (address, aliases, taken) in [
            ("ADA@EXAMPLE.com", vec![], ADA),
            ("LOVELACE@example.com", vec![], "lovelace@example.com"),
            (
                "new@example.com",
                vec!["other@example.com".to_owned(), "Ada@example.com".into()],
                ADA,
            ),
        ] {
            match accounts.add(address, &aliases).await {
                Err(AccountError::AddressTaken(which)) => assert_eq!(which, taken),
                other => panic!("{address}: {other:?}"),
            }
        }
        assert_eq!(accounts.list().await.unwrap().len(), 1);
        for address in ["new@example.com", "other@example.com"] {
            assert!(accounts.find(address).await.is_err());
        }
        // Their own address as an alias, and an alias twice, is no contradiction.
        let aliases = [
            "new@example.com".to_owned(),
            "x@example.com".into(),
            "X@example.com".into(),
        ];
        accounts.add("New@example.com", &aliases).await.unwrap();
        assert_eq!(accounts.list().await.unwrap()[1].aliases, ["x@example.com"]);
    });
}

#[test]
fn what_is_no_address_is_refused_and_the_longest_one_is_not() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let at_most = |octets: usize| format!("{}@example.com", "x".repeat(octets - 12));
        let too_long = at_most(MAX_ADDRESS_OCTETS + 1);
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "@",
            "a da@example.com",
            "ada@example.com ",
            "ada@exam\tple.com",
            "ada@example.com\n",
            "ada\0@example.com",
            "ada#1@example.com",
            "ada@\u{a0}example.com",
            too_long.as_str(),
        ] {
            for result in [
                accounts.add(bad, &[]).await,
                accounts.add("good@example.com", &[bad.to_owned()]).await,
            ] {
                assert!(
                    matches!(result, Err(AccountError::NotAnAddress(_))),
                    "{bad:?}"
                );
            }
        }
        assert_eq!(accounts.list().await.unwrap(), []);
        let longest = at_most(MAX_ADDRESS_OCTETS);
        let user = accounts.add(&longest, &[]).await.unwrap();
        assert_eq!(accounts.find(&longest.to_uppercase()).await.unwrap(), user);
    });
}

#[test]
fn a_removed_user_is_gone_with_all_keys_and_mail_and_comes_back_as_another() {
    on_each(async |place| {
        let database = place.open().await;
        let accounts = Accounts::new(database.clone());
        let ada = accounts
            .add(ADA, &["lovelace@example.com".into()])
            .await
            .unwrap();
        let bob = add(&database, BOB).await;
        let [adas, bobs] = [
            new_key(&accounts, ADA, "laptop").await,
            new_key(&accounts, BOB, "laptop").await,
        ];
        store(&database, &[ada, bob], &[message(1, 100)]).await;

        accounts.remove("LOVELACE@example.com").await.unwrap();
        for address in [ADA, "lovelace@example.com"] {
            assert!(matches!(
                accounts.find(address).await,
                Err(AccountError::NoSuchUser(_))
            ));
            assert!(matches!(
                accounts.keys(address).await,
                Err(AccountError::NoSuchUser(_))
            ));
            assert_eq!(opens(&accounts, address, &adas).await, None);
        }
        assert!(matches!(
            accounts.remove(ADA).await,
            Err(AccountError::NoSuchUser(_))
        ));

        let again = accounts.add(ADA, &[]).await.unwrap();
        assert_ne!(again, ada);
        assert_eq!(opens(&accounts, ADA, &adas).await, None);
        let server = place.server().await;
        assert!(server.open(again, 0).await.unwrap().snapshot.is_empty());
        // The others keep theirs.
        assert_eq!(opens(&accounts, BOB, &bobs).await, Some(bob));
        assert_eq!(server.open(bob, 0).await.unwrap().snapshot.len(), 1);
    });
}

#[test]
fn a_disabled_user_gets_mail_and_cannot_log_in_until_enabled() {
    on_each(async |place| {
        let database = place.open().await;
        let accounts = Accounts::new(database.clone());
        let ada = accounts
            .add(ADA, &["lovelace@example.com".into()])
            .await
            .unwrap();
        let key = new_key(&accounts, ADA, "laptop").await;
        for _ in 0..2 {
            accounts
                .set_disabled("LOVELACE@example.com", true)
                .await
                .unwrap();
            assert_eq!(opens(&accounts, ADA, &key).await, None);
            assert!(trust(&accounts, ADA).await.is_err());
        }
        store(
            &database,
            &[accounts.find(ADA).await.unwrap()],
            &[message(1, 100)],
        )
        .await;
        accounts.set_disabled(ADA, false).await.unwrap();
        assert_eq!(opens(&accounts, ADA, &key).await, Some(ada));
        assert_eq!(accounts.list().await.unwrap()[0].messages, 1);
        let nobody = accounts.set_disabled("eve@example.com", true).await;
        assert!(matches!(nobody, Err(AccountError::NoSuchUser(_))));
    });
}

#[test]
fn mail_for_a_sub_address_reaches_its_user_unless_that_is_an_address_of_its_own() {
    on_each(async |place| {
        let accounts = Accounts::new(place.open().await);
        let aliases = ["ada+Lists@example.com".into(), "a.l@example.com".into()];
        let ada = accounts.add(ADA, &[]).await.unwrap();
        let bob = accounts.add(BOB, &aliases).await.unwrap();
        for (address, user, main) in [
            ("ada@example.com", ada, ADA),
            ("ADA@Example.COM", ada, ADA),
            ("ada+tag@example.com", ada, ADA),
            ("Ada+a+b@example.com", ada, ADA),
            ("ada+@example.com", ada, ADA),
            ("ada+lists@example.com", bob, BOB),
            ("ADA+LISTS@example.com", bob, BOB),
            ("ada+lists+more@example.com", ada, ADA),
            ("A.L+x@example.com", bob, BOB),
        ] {
            let found = accounts.addressee(address).await.unwrap();
            assert_eq!(
                (found.user, found.address.as_str()),
                (user, main),
                "{address}"
            );
        }
        for address in [
            "+tag@example.com",
            "ada+tag",
            "eve+ada@example.com",
            "+",
            "",
        ] {
            let nobody = accounts.addressee(address).await;
            assert!(
                matches!(nobody, Err(AccountError::NoSuchUser(_))),
                "{address}"
            );
        }
    });
}
