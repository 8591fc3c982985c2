//! Users and keys as the command line and the admin endpoint tell them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::KeyId;

use super::{Key, Quota, User};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserReport {
    /// The first of their addresses.
    pub address: String,
    /// The others.
    pub aliases: Vec<String>,
    /// A disabled user gets mail and cannot log in.
    pub disabled: bool,
    /// How many messages are in the maildrop.
    pub messages: u64,
    /// How many octets they have.
    pub octets: u64,
    /// How much the maildrop may hold.
    pub quota: Quota,
}

impl From<User> for UserReport {
    fn from(user: User) -> Self {
        Self {
            address: user.address,
            aliases: user.aliases,
            disabled: user.disabled,
            messages: user.messages,
            octets: user.octets,
            quota: user.quota,
        }
    }
}

/// A key, without what makes it one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyReport {
    /// The number by which it is revoked.
    #[schema(value_type = i64)]
    pub id: KeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it begins with.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// From where it may be used; from everywhere if there is none.
    pub networks: Vec<String>,
    /// True if it opens the maildrop.
    pub state: KeyState,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last opened the maildrop, give or take a minute.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
    /// From when on it opens nothing any more.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it was revoked.
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
}

/// Whether a key opens its maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It does.
    Valid,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl KeyState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl From<Key> for KeyReport {
    fn from(key: Key) -> Self {
        let state = if key.revoked_at_ms.is_some() {
            KeyState::Revoked
        } else if key.is_expired {
            KeyState::Expired
        } else {
            KeyState::Valid
        };
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            scopes: words(&key.scopes, " "),
            networks: words(&key.networks, ", "),
            state,
            created_at: format_time(key.created_at_ms),
            last_used_at: key.last_used_at_ms.map(format_time),
            expires_at: key.expires_at_ms.map(format_time),
            revoked_at: key.revoked_at_ms.map(format_time),
        }
    }
}

fn words(text: &str, separator: &str) -> Vec<String> {
    let words = text.split(separator).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Milliseconds since 1970, to the second, as people read them.
pub fn format_time(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_second(milliseconds.div_euclid(1000));
    time.map_or_else(|_| milliseconds.to_string(), |time| time.to_string())
}
