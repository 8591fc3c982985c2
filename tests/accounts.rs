//! What users, addresses and keys promise, on SQLite and on PostgreSQL alike.

mod keys;
mod oddities;
mod proofs;
mod scram;
mod spellings;
mod users;

use std::net::{IpAddr, Ipv4Addr};

use restante::accounts::Accounts;
use restante::store::UserId;
use restante::store::{Proof, Verified, WrongCredentials};
use wire::Secret;

use crate::support::mail::key_options;
use crate::support::place::Place;

async fn accounts(place: &Place) -> Accounts {
    Accounts::new(place.open().await)
}

/// Whose maildrop the key opens, if it does.
async fn opens(accounts: &Accounts, address: &str, key: &str) -> Option<UserId> {
    verify(accounts, address, key).await.ok().map(|it| it.user)
}

async fn verify(
    accounts: &Accounts,
    address: &str,
    key: &str,
) -> Result<Verified, WrongCredentials> {
    verify_from(Ipv4Addr::LOCALHOST.into(), accounts, address, key).await
}

async fn verify_from(
    client: IpAddr,
    accounts: &Accounts,
    name: &str,
    key: &str,
) -> Result<Verified, WrongCredentials> {
    let evidence = Proof::Secret {
        name: name.into(),
        identity: None,
        secret: Secret::new(key),
    };
    accounts
        .identify(&evidence, client)
        .await
        .unwrap()
        .map(|(user, _)| user)
}

/// Who has this address, by the word of somebody who is trusted.
async fn trust(accounts: &Accounts, address: &str) -> Result<Verified, WrongCredentials> {
    let client = Ipv4Addr::LOCALHOST.into();
    let evidence = Proof::TrustedAddress {
        addresses: vec![address.into()],
        identity: None,
    };
    accounts
        .identify(&evidence, client)
        .await
        .unwrap()
        .map(|(user, _)| user)
}

/// A usual key of a user.
async fn new_key(accounts: &Accounts, address: &str, name: &str) -> String {
    let key = accounts.create_key(address, key_options(name)).await;
    key.unwrap().key
}
