//! Why TLS handshakes fail.

use std::io;

use tokio_rustls::rustls::{Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

/// Why a handshake failed, as the log and the metric's label say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// No cipher suite, group or signature that both know.
    NoSharedCipher,
    /// The client speaks neither TLS 1.2 nor 1.3.
    ProtocolVersion,
    /// What the client sent is no TLS.
    NotTls,
    /// The client refused to go on, for instance because of the server's certificate.
    ClientAlert,
    /// The client wants another protocol, and that is looked at.
    Alpn,
    /// The client asks for a server by a name that can't be one.
    ServerName,
    /// The client's certificate is not a good one.
    ClientCertificate,
    /// The client closed the connection.
    Closed,
    /// The client took too long.
    Timeout,
    /// Anything else.
    Other,
}

/// A handshake that failed: why, and what the library says.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct HandshakeError {
    /// Why it failed.
    pub failure: HandshakeFailure,
    /// What the library says.
    #[source]
    pub error: io::Error,
}

impl HandshakeFailure {
    pub(crate) const ALL: [Self; 10] = [
        Self::NoSharedCipher,
        Self::ProtocolVersion,
        Self::NotTls,
        Self::ClientAlert,
        Self::Alpn,
        Self::ServerName,
        Self::ClientCertificate,
        Self::Closed,
        Self::Timeout,
        Self::Other,
    ];

    /// As the log and the metric's label say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSharedCipher => "no_shared_cipher",
            Self::ProtocolVersion => "protocol_version",
            Self::NotTls => "not_tls",
            Self::ClientAlert => "client_alert",
            Self::Alpn => "alpn",
            Self::ServerName => "server_name",
            Self::ClientCertificate => "client_certificate",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

impl HandshakeError {
    /// The client took too long.
    pub(crate) fn timed_out() -> Self {
        io::Error::new(io::ErrorKind::TimedOut, "the client took too long").into()
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
        let failure = match of_tls {
            Some(error) => of_library(error),
            None => of_connection(error.kind()),
        };
        Self { failure, error }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may learn further errors"
)]
fn of_library(error: &Error) -> HandshakeFailure {
    match error {
        Error::PeerIncompatible(why) => of_incompatible(why),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeFailure::NotTls,
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            HandshakeFailure::ProtocolVersion
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidServerName | InvalidMessage::IllegalEmptyList("ServerNames"),
        )
        | Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName) => {
            HandshakeFailure::ServerName
        }
        Error::AlertReceived(_) => HandshakeFailure::ClientAlert,
        Error::NoApplicationProtocol => HandshakeFailure::Alpn,
        Error::InvalidCertificate(_)
        | Error::InvalidCertRevocationList(_)
        | Error::NoCertificatesPresented => HandshakeFailure::ClientCertificate,
        _ => HandshakeFailure::Other,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may learn further ones"
)]
fn of_incompatible(why: &PeerIncompatible) -> HandshakeFailure {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        // The extension came with TLS 1.2, and it is looked for before the version is.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => HandshakeFailure::ProtocolVersion,
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::UncompressedEcPointsRequired
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired => HandshakeFailure::NoSharedCipher,
        _ => HandshakeFailure::Other,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these say that the client has gone"
)]
fn of_connection(kind: io::ErrorKind) -> HandshakeFailure {
    match kind {
        io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => HandshakeFailure::Closed,
        _ => HandshakeFailure::Other,
    }
}
