//! The offers of a session and the limits of a client.

use crate::sasl::{ChannelBinding, Mechanism, Mechanisms};

/// The offers of a session on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// True if STLS is possible: there is a certificate, and no TLS yet.
    pub stls_offered: bool,
    /// True if a client may send its secret: inside TLS, or where plaintext is allowed.
    pub secrets_allowed: bool,
    /// True if a client may prove its key by SCRAM.
    pub scram_offered: bool,
    /// True if SCRAM can be bound to the TLS connection.
    pub channel_bound: bool,
    /// The mechanisms that the operator allows.
    pub mechanisms: Mechanisms,
    /// Whether the bound form of SCRAM is announced, and whether it is accepted.
    pub channel_binding: ChannelBinding,
    /// True if the client has presented a valid certificate with an address in it.
    pub certified: bool,
    /// The number of whole days after which messages expire; `None` if they never do.
    pub expire_days: Option<u64>,
    /// The limits of a client.
    pub limits: Limits,
}

impl Policy {
    /// Returns true if the operator allows this mechanism, possible on the connection or not.
    pub(crate) fn allows(&self, mechanism: Mechanism) -> bool {
        let binds = mechanism == Mechanism::ScramSha256Plus;
        let never = binds && self.channel_binding == ChannelBinding::Never;
        self.mechanisms.contains(mechanism) && !never
    }

    /// Whether a client that has seen no bound form of SCRAM was deceived: it is announced on this
    /// connection, or would be inside TLS.
    pub(crate) fn announces_binding(&self) -> bool {
        let has_tls = self.stls_offered || self.channel_bound;
        let offers = self.channel_binding == ChannelBinding::Offer;
        has_tls && offers && self.allows(Mechanism::ScramSha256Plus)
    }
}

/// The limits of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of consecutive bad commands that ends a session.
    pub bad_commands: u32,
    /// The longest command line in octets, with its CRLF.
    pub line_octets: usize,
}

impl Limits {
    /// Returns true if so many consecutive bad commands end the session.
    pub(crate) fn are_exceeded_by(&self, bad_commands: u32) -> bool {
        bad_commands >= self.bad_commands
    }
}
