//! What users, addresses and keys promise, on SQLite and on PostgreSQL alike.

mod keys;
mod oddities;
mod users;

use pop3::Secret;
use restante::accounts::{Accounts, Authentication, Verified, WrongCredentials};
use restante::store::UserId;

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
    accounts.verify(address, &Secret::new(key)).await.unwrap()
}

/// A usual key of a user.
async fn new_key(accounts: &Accounts, address: &str, name: &str) -> String {
    let key = accounts.create_key(address, key_options(name)).await;
    key.unwrap().key
}
