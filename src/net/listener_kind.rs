//! The protocols, and the listeners that speak them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A protocol, as logs and the admin endpoint name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    /// RFC 1939.
    Pop3,
    /// RFC 2033.
    Lmtp,
}

impl ProtocolName {
    /// Its name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pop3 => "pop3",
            Self::Lmtp => "lmtp",
        }
    }
}

/// A kind of listener: the protocol, and whether TLS comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// POP3, with STLS if there is a certificate.
    Pop3,
    /// POP3S: TLS from the first octet on.
    Pop3s,
    /// LMTP, on a port or a Unix socket.
    Lmtp,
}

impl ListenerKind {
    /// The name of the service, as IANA registers it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Lmtp => "lmtp",
        }
    }

    /// The name of the service in text for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pop3 => "POP3",
            Self::Pop3s => "POP3S",
            Self::Lmtp => "LMTP",
        }
    }

    /// The protocol that is spoken there.
    pub const fn protocol(self) -> ProtocolName {
        match self {
            Self::Pop3 | Self::Pop3s => ProtocolName::Pop3,
            Self::Lmtp => ProtocolName::Lmtp,
        }
    }

    /// Returns true if a connection begins with a TLS handshake.
    pub const fn begins_with_tls(self) -> bool {
        match self {
            Self::Pop3s => true,
            Self::Pop3 | Self::Lmtp => false,
        }
    }

    /// The settings that say where it listens.
    pub(super) const fn settings(self) -> &'static str {
        match self {
            Self::Pop3 | Self::Pop3s => "Pop3__Port and Pop3__SecurePort",
            Self::Lmtp => "Lmtp__Port and Lmtp__SocketPath",
        }
    }

    /// The setting of the address on which it listens.
    pub(super) const fn address_setting(self) -> &'static str {
        match self {
            Self::Pop3 | Self::Pop3s => "Pop3__BindAddress",
            Self::Lmtp => "Lmtp__BindAddress",
        }
    }
}
