//! The spellings of one address: capitals, `xn--`, one character or two for an accented letter.

use restante::accounts::{AccountError, Accounts};

use super::scram::provable;
use super::{accounts, new_key, opens, trust};
use crate::support::mail::{BOB, key_options};
use crate::support::place::on_each;

/// The form in which it is stored.
const STORED: &str = "jos\u{e9}@b\u{fc}cher.example";

const SPELLINGS: [&str; 6] = [
    STORED,
    "JOS\u{c9}@B\u{dc}CHER.EXAMPLE",
    "jose\u{301}@bu\u{308}cher.example",
    "jos\u{e9}@xn--bcher-kva.example",
    "Jose\u{301}@XN--BCHER-KVA.Example",
    "jos\u{e9}@b\u{fc}cher.example.",
];

/// Addresses that only look like it, or that letters fold into elsewhere.
const OTHERS: [&str; 6] = [
    "jose@b\u{fc}cher.example",
    "jos\u{e9}@bucher.example",
    "jos\u{e9}@buecher.example",
    "jos\u{e9}@xn--bcher-kvb.example",
    "jos\u{e9}\u{200b}@b\u{fc}cher.example",
    "jos\u{e9}@b\u{fc}cher.example..",
];

#[test]
fn an_address_is_stored_in_one_form_however_it_is_spelled() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        for spelling in SPELLINGS {
            let aliases = [spelling.replace('@', ".x@")];
            let user = accounts.add(spelling, &aliases).await.unwrap();
            let listed = accounts.list().await.unwrap();
            assert_eq!(listed[0].address, STORED, "{spelling}");
            assert_eq!(
                listed[0].aliases,
                [STORED.replace('@', ".x@")],
                "{spelling}"
            );
            for other in SPELLINGS {
                assert_eq!(accounts.find(other).await.unwrap(), user);
                let taken = accounts.add(other, &[]).await;
                assert!(matches!(taken, Err(AccountError::AddressTaken(it)) if it == STORED));
                let taken = accounts.add(BOB, &[other.to_owned()]).await;
                assert!(matches!(taken, Err(AccountError::AddressTaken(it)) if it == STORED));
            }
            for other in OTHERS {
                assert!(accounts.find(other).await.is_err(), "{other}");
            }
            accounts.remove(SPELLINGS[4]).await.unwrap();
            assert_eq!(accounts.list().await.unwrap(), []);
        }
    });
}

#[test]
fn every_spelling_logs_in_and_no_other() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        let user = accounts.add(SPELLINGS[4], &[]).await.unwrap();
        let new = accounts
            .create_key(SPELLINGS[2], key_options("phone"))
            .await;
        let new = new.unwrap();
        for spelling in SPELLINGS {
            assert_eq!(opens(&accounts, spelling, &new.key).await, Some(user));
            let named = format!("{spelling}#phone");
            assert_eq!(opens(&accounts, &named, &new.key).await, Some(user));
            for name in [spelling, &named] {
                assert_eq!(provable(&accounts, name).await, [new.id.get()], "{name}");
            }
        }
        for other in OTHERS {
            assert_eq!(opens(&accounts, other, &new.key).await, None, "{other}");
            assert!(provable(&accounts, other).await.is_empty(), "{other}");
        }
    });
}

#[test]
fn a_trusted_address_is_that_of_nobody_whose_letters_fold_into_it() {
    on_each(async |place| {
        let accounts = accounts(place).await;
        accounts.add("kay@b\u{fc}cher.example", &[]).await.unwrap();
        for (address, known) in [
            ("Kay@xn--bcher-kva.example", true),
            ("kay@b\u{fc}cher.example", true),
            ("\u{212a}ay@b\u{fc}cher.example", false),
            ("\u{212a}ay@xn--bcher-kva.example", false),
            ("kay@B\u{dc}CHER.example", false),
        ] {
            assert_eq!(trust(&accounts, address).await.is_ok(), known, "{address}");
        }
    });
}

#[test]
fn of_two_users_whose_spellings_were_told_apart_each_keeps_their_own() {
    on_each(async |place| {
        let accounts = Accounts::new(place.open().await);
        let spellings = ["ada@xn--bcher-kva.example", "ada@b\u{fc}cher.example"];
        let mut users = Vec::new();
        for spelling in spellings {
            let user = accounts.add("new@example.com", &[]).await.unwrap();
            let key = new_key(&accounts, "new@example.com", "phone").await;
            let sql = place.sql().await;
            for (table, column) in [("addresses", "user_id"), ("users", "id")] {
                let set = format!("UPDATE {table} SET address = '{spelling}'");
                sql.run(&format!("{set} WHERE {column} = {}", user.row()))
                    .await;
            }
            sql.close().await;
            users.push((user, key));
        }
        for (spelling, (user, key)) in spellings.iter().zip(&users) {
            assert_eq!(accounts.find(spelling).await.unwrap(), *user);
            assert_eq!(accounts.addressee(spelling).await.unwrap().user, *user);
            assert_eq!(opens(&accounts, spelling, key).await, Some(*user));
        }
    });
}
