//! Why TLS handshakes fail.

use std::io;

use tokio_rustls::rustls::{Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

/// The cause of a failed handshake, as the log and the metric's label name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// There is no cipher suite, group or signature scheme that both support.
    NoSharedCipher,
    /// The client speaks neither TLS 1.2 nor 1.3.
    ProtocolVersion,
    /// The client did not send TLS.
    NotTls,
    /// The client refused to go on, for instance because of the server's certificate.
    ClientAlert,
    /// The client asks for another protocol, and `StrictAlpn` is on.
    Alpn,
    /// The client asks for an impossible server name.
    ServerName,
    /// The client's certificate is refused.
    ClientCertificate,
    /// The client closed the connection.
    Closed,
    /// The client took too long.
    Timeout,
    /// Another cause.
    Other,
}

/// An error of a handshake.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct HandshakeError {
    /// Its cause.
    pub failure: HandshakeFailure,
    /// The error of the library.
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

    /// Returns the name in the log and in the metric's label.
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
