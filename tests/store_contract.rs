//! What `MailStore` and delivery promise, on SQLite and on PostgreSQL alike.

mod database;
mod deleting;
mod delivery;
mod every_store;
mod intake;
mod keeping;
mod large;
mod leases;
mod octets;
mod opening;

use pop3::MessageNumber;
use restante::store::{CHUNK_OCTETS, MaildropVersion, MessageId, SqlMaildrop, Stored, UserId};

use crate::support::place::Sql;

/// From this size on, a delivery writes while the message still arrives.
const WRITTEN_EARLY: usize = 8 * CHUNK_OCTETS;

fn number(number: u64) -> MessageNumber {
    MessageNumber::new(number).unwrap()
}

fn numbers(maildrop: &SqlMaildrop) -> impl Iterator<Item = MessageNumber> {
    (1..=maildrop.snapshot.len() as u64).map(number)
}

/// Who deletes.
const SESSION: &str = "a-session";

fn messages(maildrop: &SqlMaildrop) -> Vec<MessageId> {
    numbers(maildrop)
        .filter_map(|n| maildrop.message(n))
        .collect()
}

fn all_stored(maildrop: &SqlMaildrop) -> Vec<Stored> {
    numbers(maildrop)
        .filter_map(|n| maildrop.stored(n))
        .collect()
}

fn unique_ids(maildrop: &SqlMaildrop) -> Vec<String> {
    let unique_id = |n| maildrop.snapshot.unique_id_of(n).unwrap().to_owned();
    numbers(maildrop).map(unique_id).collect()
}

async fn version(sql: &Sql, user: UserId) -> MaildropVersion {
    let version = format!(
        "SELECT maildrop_version FROM users WHERE id = {}",
        user.row()
    );
    MaildropVersion(sql.number(&version).await)
}

/// Gives a user so many messages of 7 octets, past the program.
pub(crate) async fn insert_messages(sql: &Sql, user: UserId, count: usize) {
    sql.run("INSERT INTO contents (id, octets, digest) VALUES (1000000, 7, 'digest')")
        .await;
    sql.run(&format!(
        "INSERT INTO messages (user_id, content_id, octets, unique_id, received_at_ms) \
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
         SELECT {}, 1000000, 7, 'bulk' || CAST(n AS TEXT), n FROM numbers",
        user.row()
    ))
    .await;
}
