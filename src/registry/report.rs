//! A session as others are told of it.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// The state of a session, as RFC 1939 calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Not logged in.
    Authorization,
    /// A maildrop is open.
    Transaction,
    /// Deletions are being committed.
    Update,
}

/// A session at one moment, as the admin endpoint tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionReport {
    /// Its name, in the log and everywhere else.
    pub id: String,
    /// The first address of its user, once they are logged in.
    pub user: Option<String>,
    /// What the key is called that it logged in with.
    pub key: Option<String>,
    /// The number of that key.
    pub key_id: Option<i64>,
    /// The address and port of the client.
    #[schema(value_type = String)]
    pub peer: SocketAddr,
    /// The address of the proxy that it came through, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub proxy: Option<IpAddr>,
    /// Which listener it came to: `pop3` or `pop3s`.
    pub listener: &'static str,
    /// What it may do now.
    pub state: State,
    /// Is it inside TLS?
    pub tls: bool,
    /// Which version of it.
    pub tls_version: Option<&'static str>,
    /// Which cipher.
    pub tls_cipher: Option<&'static str>,
    /// The command that is being carried out; none while the client is waited for.
    pub command: Option<&'static str>,
    /// The command that came last.
    pub last_command: Option<&'static str>,
    /// When it connected.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub connected_at: SystemTime,
    /// When octets last went either way.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub last_activity_at: SystemTime,
    /// How many messages the session sees.
    pub messages: u64,
    /// How many older messages `MaxMessagesPerSession` hides from it.
    pub hidden: u64,
    /// How many octets they have.
    pub octets: u64,
    /// How many of them are marked as deleted.
    pub deleted: u64,
    /// How many were sent whole.
    pub retrieved: u64,
    /// How often TOP was asked for.
    pub tops: u64,
    /// How often RETR was asked for.
    pub retrs: u64,
    /// How often DELE was asked for.
    pub deles: u64,
    /// How often UIDL was asked for.
    pub uidls: u64,
    /// How many octets were sent to the client.
    pub octets_sent: u64,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*time) {
        Ok(time) => serializer.collect_str(&time),
        Err(error) => Err(serde::ser::Error::custom(error)),
    }
}
