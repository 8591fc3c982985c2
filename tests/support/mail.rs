//! Users with mail.

use std::time::{Duration, SystemTime};

use restante::accounts::{Accounts, KeyOptions, SCOPE_POP3};
use restante::store::{
    Database, MessageWriter, SqlStore, StagedMessage, StoreError, Stored, UserId,
};

/// Who most tests are about.
pub(crate) const ADA: &str = "ada@example.com";

/// Who else there is.
pub(crate) const BOB: &str = "bob@example.com";

/// Adds a user with a key and these messages, oldest first; returns the key.
///
/// For tests that are not async themselves.
pub(crate) fn fill(url: &str, address: &str, messages: &[Vec<u8>]) -> String {
    super::run(async || {
        let database = Database::open(url).await.unwrap();
        database.migrate().await.unwrap();
        let user = add(&database, address).await;
        store(&database, &[user], messages).await;
        let key = key(&database, address).await;
        database.close().await.unwrap();
        key
    })
}

/// Adds a user.
pub(crate) async fn add(database: &Database, address: &str) -> UserId {
    Accounts::new(database.clone())
        .add(address, &[])
        .await
        .unwrap()
}

/// Makes a key that opens a user's maildrop.
pub(crate) async fn key(database: &Database, address: &str) -> String {
    let accounts = Accounts::new(database.clone());
    let key = accounts.create_key(address, key_options("test")).await;
    key.unwrap().key
}

/// What a usual key is made with.
pub(crate) fn key_options(name: &str) -> KeyOptions {
    KeyOptions {
        name: name.into(),
        scopes: vec![SCOPE_POP3.into()],
        lifetime: None,
        networks: Default::default(),
        short: false,
    }
}

/// Takes a message in, in pieces that fit into nothing.
pub(crate) async fn prepare(database: &Database, message: &[u8]) -> StagedMessage {
    let mut delivery = MessageWriter::new(database.clone());
    for piece in message.chunks(60_001) {
        delivery.write(piece).await.unwrap();
    }
    delivery.finish()
}

/// Gives messages to users, a second apart, the oldest first.
pub(crate) async fn store(database: &Database, users: &[UserId], messages: &[Vec<u8>]) {
    let mut received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut prepared = Vec::new();
    for message in messages {
        prepared.push((prepare(database, message).await, received_at));
        received_at += Duration::from_secs(1);
    }
    database.store(users, prepared).await.unwrap();
}

/// A message of exactly so many octets, with lines, dots and 8-bit in it, different for each seed.
///
/// It is in canonical form, so it comes back as it is.
pub(crate) fn message(seed: u64, octets: usize) -> Vec<u8> {
    let mut message = format!("Subject: {seed}\r\n\r\n").into_bytes();
    // Short lines as people write them; a large message of these would take long to make.
    let width = if octets < 100_000 { 60 } else { 900 };
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while message.len() < octets {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let line = match state % 7 {
            0 => "\r\n".to_owned(),
            1 => format!(".{state}\r\n"),
            2 => format!("..\r\n{state}\r\n"),
            _ => format!("{state:x}{:a<width$}\r\n", "é"),
        };
        message.extend(line.bytes());
    }
    // Wherever it is cut, and also between CR and LF, it ends as every message does.
    message.truncate(octets.saturating_sub(2));
    if message.last() == Some(&b'\r') {
        *message.last_mut().unwrap() = b'x';
    }
    message.extend(b"\r\n");
    message
}

/// All octets of a message; none if it is not there.
pub(crate) async fn octets(store: &SqlStore, message: Stored) -> Vec<u8> {
    let head = match store.beginning(message, 0).await {
        Ok(beginning) => beginning.trace_headers.to_vec(),
        Err(StoreError::Gone) => return Vec::new(),
        Err(error) => panic!("{error}"),
    };
    let chunks = store.chunks(message.content, 0..u32::MAX).await.unwrap();
    [head, chunks.concat()].concat()
}
