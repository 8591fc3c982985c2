//! Moving over from another server, without one message that a client fetches again.

mod dovecot;
mod hostile;
mod lists;
mod maildirs;
mod mbox;
mod server;

use restante::accounts::Accounts;

use crate::support::cli::{Cli, Outcome};
use crate::support::mail::{ADA, octets};
use crate::support::place::Place;
use crate::support::run;

/// Imports for Ada.
fn import(place: &Place, source: &str, further: &[&str]) -> Outcome {
    Cli::new(&place.url)
        .args(["import", ADA, source])
        .args(further)
        .run()
}

/// What an import says that has skipped nothing: how many it has imported, known, found deleted, and
/// how many would be fetched again.
fn said(outcome: Outcome) -> [usize; 4] {
    let text = outcome.ok();
    let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    // What was in subfolders is told in a further line.
    let [imported, known, deleted, 0, again, ..] = numbers[..] else {
        panic!("{text}");
    };
    [imported, known, deleted, again]
}

/// Ada's messages, the oldest first: unique-ids and octets.
fn maildrop(place: &Place) -> Vec<(String, Vec<u8>)> {
    run(async || {
        let database = place.open().await;
        let user = Accounts::new(database.clone()).find(ADA).await.unwrap();
        let store = place.server().await;
        let maildrop = store.open(user, 0).await.unwrap();
        let mut messages = Vec::new();
        for number in (1..).map_while(pop3::MessageNumber::new) {
            let Some(stored) = maildrop.stored(number) else {
                break;
            };
            let unique_id = maildrop.snapshot.unique_id_of(number).unwrap();
            messages.push((unique_id.to_owned(), octets(&store, stored).await));
        }
        messages
    })
}

/// Deletes those of Ada's messages that have these unique-ids.
fn delete(place: &Place, unique_ids: &[&str]) {
    run(async || {
        let database = place.open().await;
        let user = Accounts::new(database.clone()).find(ADA).await.unwrap();
        let store = place.server().await;
        let maildrop = store.open(user, 0).await.unwrap();
        let all = (1..=maildrop.snapshot.len() as u64).filter_map(pop3::MessageNumber::new);
        let named = all.filter(|number| {
            let unique_id = maildrop.snapshot.unique_id_of(*number).unwrap();
            unique_ids.contains(&unique_id)
        });
        let messages: Vec<_> = named.filter_map(|n| maildrop.message(n)).collect();
        assert_eq!(messages.len(), unique_ids.len());
        store.delete(user, &messages, "a-session").await.unwrap();
    });
}
