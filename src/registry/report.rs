//! The report of a session at one moment.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::store::KeyId;

use crate::net::{ListenerKind, Peer, ProtocolName};

/// The state of a session, as RFC 1939 calls it.
///
/// A session of LMTP is in TRANSACTION, and in UPDATE while messages are being stored.
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

/// A session at one moment, as the admin endpoint reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionReport {
    /// Its unique name, in the log and everywhere else.
    pub id: String,
    /// The protocol: `pop3` or `lmtp`.
    pub protocol: ProtocolName,
    /// The first address of its user, once logged in; `null` for LMTP.
    pub user: Option<String>,
    /// The name of the key of the login.
    pub key: Option<String>,
    /// The number of that key.
    #[schema(value_type = Option<i64>)]
    pub key_id: Option<KeyId>,
    /// The address and port of the client; `local` on a Unix socket.
    #[schema(value_type = String)]
    pub peer: Peer,
    /// The address of the proxy that it came through, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub proxy: Option<IpAddr>,
    /// The listener that accepted it: `pop3`, `pop3s` or `lmtp`.
    pub listener: &'static str,
    /// The present state.
    pub state: State,
    /// True if it is inside TLS.
    pub tls: bool,
    /// The version of TLS.
    pub tls_version: Option<&'static str>,
    /// The cipher of TLS.
    pub tls_cipher: Option<&'static str>,
    /// The command that is being executed; `null` while the client is waited for.
    pub command: Option<&'static str>,
    /// The last command.
    pub last_command: Option<&'static str>,
    /// The time of the connection.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub connected_at: SystemTime,
    /// The time of the last octets in either direction.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub last_activity_at: SystemTime,
    /// The number of messages that the session sees.
    pub messages: u64,
    /// The number of older messages that `MaxMessagesPerSession` hides from it.
    pub hidden: u64,
    /// The octets of the messages that it sees.
    pub octets: u64,
    /// The number of messages that are marked as deleted.
    pub deleted: u64,
    /// The number of messages that were sent whole.
    pub retrieved: u64,
    /// The number of TOP commands.
    pub tops: u64,
    /// The number of RETR commands.
    pub retrs: u64,
    /// The number of DELE commands.
    pub deles: u64,
    /// The number of UIDL commands.
    pub uidls: u64,
    /// The number of copies of messages that LMTP has delivered.
    pub delivered: u64,
    /// The octets that were sent to the client.
    pub octets_sent: u64,
}

impl SessionReport {
    /// The report of a session that has done nothing yet.
    pub(super) fn new(id: String, listener: ListenerKind, peer: Peer) -> Self {
        Self {
            id,
            protocol: listener.protocol(),
            user: None,
            key: None,
            key_id: None,
            peer,
            proxy: None,
            listener: listener.as_str(),
            state: State::Authorization,
            tls: false,
            tls_version: None,
            tls_cipher: None,
            command: None,
            last_command: None,
            connected_at: SystemTime::UNIX_EPOCH,
            last_activity_at: SystemTime::UNIX_EPOCH,
            messages: 0,
            hidden: 0,
            octets: 0,
            deleted: 0,
            retrieved: 0,
            tops: 0,
            retrs: 0,
            deles: 0,
            uidls: 0,
            delivered: 0,
            octets_sent: 0,
        }
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*time) {
        Ok(time) => serializer.collect_str(&time),
        Err(error) => Err(serde::ser::Error::custom(error)),
    }
}
