//! The keys that open maildrops.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use restante::accounts::{AccountError, Accounts, KeyOptions};
use restante::store::{KeyId, MailStore, Proof, WrongCredentials};
use wire::Secret;

use super::{accounts, new_key, opens, trust, verify, verify_from};
use crate::support::mail::{ADA, BOB, add, key_options, message, store};
use crate::support::place::{Kind, Place, on_each};

#[test]
fn a_key_opens_its_owner_s_maildrop_by_every_address_in_any_case() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let ada = accounts
            .add(ADA, &["lovelace@example.com".into()])
            .await
            .unwrap();
        let keys = [
            accounts
                .create_key(ADA, key_options("laptop"))
                .await
                .unwrap(),
            accounts
                .create_key("LOVELACE@example.com", key_options("phone"))
                .await
                .unwrap(),
        ];
        for (new, name) in keys.iter().zip(["laptop", "phone"]) {
            for address in [ADA, "ADA@EXAMPLE.COM", "LoveLace@example.com"] {
                let verified = verify(&accounts, address, &new.key).await.unwrap();
                assert_eq!(verified.user, ada);
                assert_eq!(verified.address, ADA);
                assert_eq!(verified.key, Some(new.id));
                assert_eq!(verified.key_name, name);
            }
        }
    });
}

#[test]
fn everything_but_the_key_itself_gets_the_same_refusal() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        for user in [ADA, BOB] {
            accounts.add(user, &[]).await.unwrap();
        }
        let key = new_key(&accounts, ADA, "laptop").await;
        let other = new_key(&accounts, ADA, "phone").await;
        let bobs = new_key(&accounts, BOB, "laptop").await;
        let last = key.len() - 1;
        let changed = if key.ends_with('A') { "B" } else { "A" };
        let (prefix, secret) = key.split_at(key.rfind('_').unwrap().min(17));
        let other_prefix = &other[..prefix.len()];
        for wrong in [
            bobs.clone(),
            format!("{}{changed}", &key[..last]),
            key[..last].to_owned(),
            format!("{key}A"),
            format!("{key} A"),
            format!(" {} ", &key[..last]),
            format!("{key}\0"),
            key.to_lowercase(),
            key.to_uppercase(),
            format!("{other_prefix}{secret}"),
            format!("{prefix}_{}", "A".repeat(43)),
            format!("rst_000000000000_{}", "A".repeat(43)),
            prefix.to_owned(),
            "rst_%".to_owned(),
            "rst_____________".to_owned(),
            "password".to_owned(),
            String::new(),
        ] {
            assert_eq!(
                refusal(&accounts, ADA, &wrong).await,
                WrongCredentials,
                "{wrong:?}"
            );
        }
        // Nobody of this name, a right key of somebody else, a wrong one.
        for (address, key) in [
            ("eve@example.com", &key),
            ("eve@example.com", &bobs),
            (BOB, &key),
            ("", &key),
            ("%", &key),
            ("ada@example.com ", &key),
        ] {
            assert_eq!(
                refusal(&accounts, address, key).await,
                WrongCredentials,
                "{address:?}"
            );
        }
        assert!(opens(&accounts, ADA, &key).await.is_some());
    });
}

async fn refusal(accounts: &Accounts, address: &str, key: &str) -> WrongCredentials {
    verify(accounts, address, key).await.unwrap_err()
}

#[test]
fn blanks_around_a_key_are_no_part_of_it() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let ada = accounts.add(ADA, &[]).await.unwrap();
        let key = new_key(&accounts, ADA, "laptop").await;
        for padded in [
            format!("{key} "),
            format!("  {key}"),
            format!("\t{key}\r\n"),
            format!("\u{a0}{key}"),
        ] {
            assert_eq!(
                opens(&accounts, ADA, &padded).await,
                Some(ada),
                "{padded:?}"
            );
        }
        for other in [
            format!("{key} x"),
            format!("x {key}"),
            key.replacen('_', " _", 1),
        ] {
            assert_eq!(opens(&accounts, ADA, &other).await, None, "{other:?}");
        }
    });
}

#[test]
fn a_key_that_is_revoked_expired_or_without_the_scope_opens_nothing() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let key = |name: &str, lifetime, scopes: &[&str]| {
            let options = KeyOptions {
                name: name.into(),
                scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
                lifetime,
                networks: Default::default(),
                short: false,
            };
            let accounts = accounts.clone();
            async move { accounts.create_key(ADA, options).await.unwrap() }
        };
        let hour = Duration::from_secs(3600);
        let good = key("good", Some(hour), &["pop3"]).await;
        let expired = key("expired", Some(hour), &["pop3"]).await;
        let scopeless = key("scopeless", None, &["pop3"]).await;
        let sql = place.sql().await;
        for made in [
            "expires_at_ms = 1 WHERE name = 'expired'",
            "scopes = '' WHERE name = 'scopeless'",
        ] {
            sql.run(&format!("UPDATE api_keys SET {made}")).await;
        }
        let revoked = key("revoked", None, &["pop3"]).await;
        assert!(opens(&accounts, ADA, &revoked.key).await.is_some());
        accounts.revoke_key(revoked.id).await.unwrap();

        for opened in [&good.key] {
            assert!(opens(&accounts, ADA, opened).await.is_some());
        }
        for refused in [&expired.key, &scopeless.key, &revoked.key] {
            assert_eq!(opens(&accounts, ADA, refused).await, None);
        }
        for id in [revoked.id, KeyId::from_row(4711)] {
            let again = accounts.revoke_key(id).await;
            assert!(matches!(again, Err(AccountError::NoSuchKey(it)) if it == id));
        }
    });
}

#[test]
fn a_scope_must_be_the_whole_word() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let new = accounts
            .create_key(ADA, key_options("laptop"))
            .await
            .unwrap();
        let sql = place.sql().await;
        // As another version of the program may have written them.
        for (scopes, opened) in [
            ("pop3", true),
            ("smtp pop3", true),
            ("pop3 smtp", true),
            ("imap pop3 smtp", true),
            ("", false),
            ("pop", false),
            ("pop33", false),
            ("xpop3", false),
            ("pop3s imap", false),
            ("POP3", false),
        ] {
            sql.run(&format!("UPDATE api_keys SET scopes = '{scopes}'"))
                .await;
            let opens = opens(&accounts, ADA, &new.key).await.is_some();
            assert_eq!(opens, opened, "{scopes:?}");
        }
    });
}

#[test]
fn keys_are_listed_with_what_became_of_them_and_without_their_secret() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        accounts.add(BOB, &[]).await.unwrap();
        assert_eq!(accounts.keys(ADA).await.unwrap(), []);
        new_key(&accounts, BOB, "laptop").await;
        let first = accounts
            .create_key(ADA, key_options("laptop"))
            .await
            .unwrap();
        let mut options = key_options("phone");
        options.lifetime = Some(Duration::from_secs(3600));
        let second = accounts.create_key(ADA, options).await.unwrap();
        accounts.revoke_key(first.id).await.unwrap();

        let keys = accounts.keys("Ada@example.com").await.unwrap();
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        assert_eq!(ids, [first.id, second.id]);
        assert_eq!(
            (keys[0].name.as_str(), keys[1].name.as_str()),
            ("laptop", "phone")
        );
        assert!(keys[0].revoked_at_ms.is_some() && keys[1].revoked_at_ms.is_none());
        assert!(keys[0].expires_at_ms.is_none());
        assert!(
            keys[1]
                .expires_at_ms
                .is_some_and(|at| at > keys[1].created_at_ms)
        );
        assert!(
            keys.iter()
                .all(|key| key.scopes == "pop3" && key.last_used_at_ms.is_none())
        );
        for (key, new) in keys.iter().zip([first, second]) {
            assert!(new.key.starts_with(&key.prefix), "{}", key.prefix);
            assert!(!format!("{key:?}").contains(&new.key[new.key.len() - 43..]));
        }
        assert!(accounts.keys("eve@example.com").await.is_err());
    });
}

#[test]
fn nothing_in_the_table_of_keys_is_a_key() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let key = new_key(&accounts, ADA, "laptop").await;
        let secret = &key[key.len() - 43..];
        assert!(key.starts_with("rst_") && secret.len() == 43);
        let sql = place.sql().await;
        let hash = "CAST(LENGTH(hash) AS BIGINT)";
        assert_eq!(
            sql.number(&format!("SELECT {hash} FROM api_keys")).await,
            32
        );
        // All columns but the hash as text, and the hash as octets.
        let text = format!(
            "api_keys WHERE name LIKE '%{secret}%' OR prefix LIKE '%{secret}%' \
             OR scopes LIKE '%{secret}%' OR hash = {}",
            octets_literal(place, secret.as_bytes())
        );
        assert_eq!(sql.count(&text).await, 0);
        // The hash itself opens nothing.
        let prefix = &key[..17];
        for guess in [prefix.to_owned(), format!("{prefix}{secret}x")] {
            assert_eq!(opens(&accounts, ADA, &guess).await, None);
        }
    });
}

fn octets_literal(place: &Place, octets: &[u8]) -> String {
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    match place.kind {
        Kind::Sqlite => format!("X'{hex}'"),
        Kind::Postgres => format!("'\\x{hex}'::bytea"),
    }
}

#[test]
fn a_short_key_opens_the_maildrop_from_its_network_however_it_is_typed() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let ada = accounts.add(ADA, &[]).await.unwrap();
        accounts.add(BOB, &[]).await.unwrap();
        let options = KeyOptions {
            networks: "127.0.0.0/8".parse().unwrap(),
            short: true,
            ..key_options("printer")
        };
        let new = accounts.create_key(ADA, options.clone()).await.unwrap();
        let key = new.key.as_str();
        assert!(key.len() <= 30 && key.bytes().all(|c| c.is_ascii_alphanumeric()));
        for typed in [key.to_owned(), key.to_uppercase(), format!(" {key} ")] {
            let verified = verify(&accounts, ADA, &typed).await.unwrap();
            assert_eq!((verified.user, verified.key), (ada, Some(new.id)));
        }
        let elsewhere = "192.0.2.7".parse().unwrap();
        assert!(verify_from(elsewhere, &accounts, ADA, key).await.is_err());
        let last = if key.ends_with('7') { "8" } else { "7" };
        for wrong in [
            &key[..26],
            &key[3..],
            &format!("{}{last}", &key[..26]),
            "rst",
        ] {
            assert_eq!(refusal(&accounts, ADA, wrong).await, WrongCredentials);
        }
        assert_eq!(refusal(&accounts, BOB, key).await, WrongCredentials);
        let candidates = accounts.candidates(ADA, None, "127.0.0.1".parse().unwrap());
        let candidates = candidates.await.unwrap();
        assert_eq!(
            candidates.keys().next().map(|(key, _)| key),
            Some(new.id.get())
        );

        // Nothing in the table is the key, or a part of it.
        let sql = place.sql().await;
        let part = &key[3..9];
        let holding = format!("api_keys WHERE prefix LIKE '%{part}%' OR verifier LIKE '%{part}%'");
        assert_eq!(sql.count(&holding).await, 0);
        let listed = accounts.keys(ADA).await.unwrap();
        assert_eq!(listed[0].prefix, "rst");
        accounts.revoke_key(new.id).await.unwrap();
        assert_eq!(refusal(&accounts, ADA, key).await, WrongCredentials);

        for networks in ["", "0.0.0.0/0", "192.0.2.7, ::/0"] {
            let everywhere = KeyOptions {
                networks: networks.parse().unwrap(),
                ..options.clone()
            };
            let refused = accounts.create_key(ADA, everywhere).await;
            assert!(matches!(refused, Err(AccountError::ShortWithoutNetwork)));
        }
    });
}

#[test]
fn keys_differ() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let mut keys = Vec::new();
        for name in 0..50 {
            keys.push(new_key(&accounts, ADA, &name.to_string()).await);
        }
        for position in [..17, ..60] {
            let mut parts: Vec<_> = keys.iter().map(|key| &key[position]).collect();
            parts.sort_unstable();
            parts.dedup();
            assert_eq!(parts.len(), 50);
        }
        assert!(
            keys.iter()
                .all(|key| key.bytes().all(|octet| octet.is_ascii_graphic()))
        );
        // `PASS key` fits into a command line of 255 octets.
        assert!(keys.iter().all(|key| key.len() <= 240));
    });
}

#[test]
fn two_keys_of_a_user_do_not_have_the_same_name_unless_one_is_revoked() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        accounts.add(BOB, &[]).await.unwrap();
        let first = accounts
            .create_key(ADA, key_options("laptop"))
            .await
            .unwrap();
        new_key(&accounts, BOB, "laptop").await;
        match accounts.create_key(ADA, key_options("laptop")).await {
            Err(AccountError::KeyNameTaken { address, name }) => {
                assert_eq!((address.as_str(), name.as_str()), (ADA, "laptop"));
            }
            other => panic!("{other:?}"),
        }
        accounts.revoke_key(first.id).await.unwrap();
        new_key(&accounts, ADA, "laptop").await;
    });
}

#[test]
fn a_key_is_refused_to_nobody_and_with_an_impossible_name_or_scope() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let nobody = accounts
            .create_key("eve@example.com", key_options("laptop"))
            .await;
        assert!(matches!(nobody, Err(AccountError::NoSuchUser(_))));
        let long = "ä".repeat(101);
        for name in [
            "",
            " ",
            " a",
            "a ",
            "a#b",
            "a\nb",
            "a\0b",
            "\u{1b}[31m",
            &long,
        ] {
            let bad = accounts.create_key(ADA, key_options(name)).await;
            assert!(matches!(bad, Err(AccountError::BadKeyName)), "{name:?}");
        }
        for scope in ["imap", "POP3", "", "pop3 imap"] {
            let mut options = key_options("laptop");
            options.scopes.push(scope.into());
            let bad = accounts.create_key(ADA, options).await;
            assert!(matches!(bad, Err(AccountError::UnknownScope(it)) if it == scope));
        }
        let mut options = key_options("laptop");
        options.scopes.clear();
        let bad = accounts.create_key(ADA, options).await;
        assert!(matches!(bad, Err(AccountError::NoScope)));
        let mut options = key_options("laptop");
        options.lifetime = Some(Duration::ZERO);
        let bad = accounts.create_key(ADA, options).await;
        assert!(matches!(bad, Err(AccountError::AlreadyExpired)));
        assert_eq!(accounts.keys(ADA).await.unwrap(), []);
        new_key(&accounts, ADA, &"ä".repeat(100)).await;
    });
}

#[test]
fn the_last_use_of_many_keys_is_noted_at_once_and_never_goes_back() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add(ADA, &[]).await.unwrap();
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            ids.push(
                accounts
                    .create_key(ADA, key_options(name))
                    .await
                    .unwrap()
                    .id,
            );
        }
        let used = async || {
            let keys = accounts.keys(ADA).await.unwrap();
            keys.iter()
                .map(|key| key.last_used_at_ms)
                .collect::<Vec<_>>()
        };
        accounts.note_key_use(&HashMap::new()).await.unwrap();
        assert_eq!(used().await, [None, None, None]);
        let ago = Duration::from_secs;
        let first = [
            (ids[0], ago(10)),
            (ids[1], ago(9)),
            (KeyId::from_row(4711), ago(9)),
        ];
        accounts.note_key_use(&first.into()).await.unwrap();
        let noted = used().await;
        assert!(noted[1].unwrap() >= noted[0].unwrap() + 999, "{noted:?}");
        assert_eq!(noted[2], None);
        // Another server may write its batch later, with older times in it.
        let second = [(ids[0], ago(20)), (ids[1], ago(5))];
        accounts.note_key_use(&second.into()).await.unwrap();
        let later = used().await;
        assert_eq!(later[0], noted[0]);
        assert!(later[1].unwrap() >= noted[1].unwrap() + 3999, "{later:?}");
    });
}

#[test]
fn where_any_key_is_taken_only_users_that_exist_are() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let ada = accounts
            .add(ADA, &["lovelace@example.com".into()])
            .await
            .unwrap();
        for address in ["ADA@example.com", "LOVELACE@example.com"] {
            let trusted = trust(&accounts, address).await.unwrap();
            assert_eq!((trusted.user, trusted.key), (ada, None));
            assert_eq!(trusted.address, ADA);
        }
        for address in ["eve@example.com", "", "%"] {
            assert!(trust(&accounts, address).await.is_err());
        }
    });
}

#[test]
fn the_revision_of_the_maildrop_comes_with_the_login() {
    on_each(async |place| {
        let (database, server) = (place.open().await, place.server().await);
        let accounts = Accounts::new(database.clone());
        let ada = add(&database, ADA).await;
        let key = new_key(&accounts, ADA, "laptop").await;
        let secret = Proof::Secret {
            name: ADA.into(),
            identity: None,
            secret: Secret::new(key),
        };
        let trusted = Proof::TrustedAddress {
            addresses: vec![ADA.into()],
            identity: None,
        };
        let revision = async |proof: &Proof| {
            let identified = server.identify(proof, Ipv4Addr::LOCALHOST.into()).await;
            identified.unwrap().unwrap().revision.unwrap()
        };
        let before = revision(&secret).await;
        assert_eq!(revision(&secret).await, before);
        assert_eq!(revision(&trusted).await, before);
        store(&database, &[ada], &[message(1, 100)]).await;
        assert_ne!(revision(&secret).await, before);
    });
}
