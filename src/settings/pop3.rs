//! The settings of the POP3 listeners and of a session.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use pop3::{ChannelBinding, Mechanism};
use serde::{Deserialize, Serialize};

use super::duration;
use super::sasl::{AuthMechanisms, binding_as_text};
use super::value::{Domain, ExpireAfter, PlaintextAuth, Secret, read};
use crate::networks::Networks;
use crate::tls::Alpn;

/// The POP3 listeners and what a session may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pop3 {
    /// The name in the greeting.
    pub server_name: String,
    /// The address to listen on; `None` is all addresses, IPv4 and IPv6.
    #[serde(deserialize_with = "read")]
    pub bind_address: Option<IpAddr>,
    /// The port for clear text and STLS; 0 is off.
    #[serde(deserialize_with = "read")]
    pub port: u16,
    /// The port for TLS from the first octet; 0 is off.
    #[serde(deserialize_with = "read")]
    pub secure_port: u16,
    /// Whether a client must log in.
    #[serde(deserialize_with = "read")]
    pub require_authentication: bool,
    /// The files with the certificate chains.
    #[serde(deserialize_with = "read")]
    pub certificate_path: Vec<PathBuf>,
    /// The files with their private keys, in the same order; empty if the keys are beside them.
    #[serde(deserialize_with = "read")]
    pub certificate_key_path: Vec<PathBuf>,
    /// What PKCS#12 files are encrypted with.
    #[serde(deserialize_with = "read")]
    pub certificate_password: Option<Secret>,
    /// The authorities that certify clients; without them no client is asked for a certificate.
    #[serde(deserialize_with = "read")]
    pub client_ca_path: Option<PathBuf>,
    /// Whether clients' certificates are checked against revocation lists.
    #[serde(deserialize_with = "read")]
    pub check_certificate_revocation: bool,
    /// The revocation lists.
    #[serde(deserialize_with = "read")]
    pub crl_path: Vec<PathBuf>,
    /// Whether a client that asks for other protocols than POP3 in its handshake is refused.
    #[serde(deserialize_with = "read")]
    pub strict_alpn: bool,
    /// How many sessions there may be in all; 0 is no limit.
    #[serde(deserialize_with = "read")]
    pub max_connections: u32,
    /// How many sessions one client address may have; 0 is no limit. `None` is
    /// [`Pop3::MAX_CONNECTIONS_PER_ADDRESS`], and no limit for this machine itself.
    #[serde(deserialize_with = "read")]
    pub max_connections_per_address: Option<u32>,
    /// How many sessions may be not logged in, at least 1; one more ends the oldest of them.
    #[serde(deserialize_with = "read")]
    pub max_connections_before_login: u32,
    /// How many sessions a user may have at once, at least 1.
    #[serde(deserialize_with = "read")]
    pub max_connections_per_user: u32,
    /// How long a session must have been idle to make way for a new login with the same key from the
    /// same address, when the user has as many sessions as they may; 0 is never.
    #[serde(with = "duration")]
    pub evict_idle_after: Duration,
    /// How long a client may be silent, more than 0.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// How long a client may take to log in, more than 0.
    #[serde(with = "duration")]
    pub login_timeout: Duration,
    /// How long a client may read nothing of what is sent to it, more than 0. Unless it is set, it
    /// is the session timeout.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// So many lines in a row that are no command, or none of their state, end the session; at
    /// least 1.
    #[serde(deserialize_with = "read")]
    pub max_bad_commands: u32,
    /// How many octets a command line may have with its CRLF, from 255 to 64 KiB.
    #[serde(deserialize_with = "read")]
    pub max_line_octets: u32,
    /// A session that deletes more messages is told in the log; 0 is no limit. None is refused, since
    /// a client that is never gets to its QUIT, and fetches everything again.
    #[serde(deserialize_with = "read")]
    pub max_deletions_per_session: u32,
    /// The delay after the first failed login of a name from a network, doubled with each that
    /// follows; 0 is none. `None` is [`Pop3::AUTH_FAILURE_DELAY`], and none for loopback and proxies.
    #[serde(with = "duration::optional")]
    pub auth_failure_delay: Option<Duration>,
    /// The longest delay after failed logins.
    #[serde(with = "duration")]
    pub max_auth_failure_delay: Duration,
    /// How many messages a session sees, the newest; 0 is all.
    #[serde(deserialize_with = "read")]
    pub max_messages_per_session: u32,
    /// How long open sessions may go on once the server is told to stop.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// How long a deleted message can be restored.
    #[serde(with = "duration")]
    pub deleted_retention: Duration,
    /// When a message is deleted although no client asked.
    #[serde(deserialize_with = "read")]
    pub expire_after: ExpireAfter,
    /// The domain of a login name that has none.
    #[serde(deserialize_with = "read")]
    pub default_domain: Option<Domain>,
    /// From where a client may send its key without TLS.
    #[serde(deserialize_with = "read")]
    pub plaintext_auth: PlaintextAuth,
    /// The mechanisms that AUTH may offer and accept.
    #[serde(deserialize_with = "read")]
    pub auth_mechanisms: AuthMechanisms,
    /// What becomes of SCRAM-SHA-256-PLUS inside TLS.
    #[serde(deserialize_with = "read", serialize_with = "binding_as_text")]
    pub channel_binding: ChannelBinding,
    /// The proxies, which say by the PROXY protocol who their client is.
    #[serde(deserialize_with = "read")]
    pub proxy_networks: Networks,
}

impl Pop3 {
    /// How many sessions one client address may have unless it is set.
    pub const MAX_CONNECTIONS_PER_ADDRESS: u32 = 100;

    /// The delay after the first failed login unless it is set.
    pub const AUTH_FAILURE_DELAY: Duration = Duration::from_secs(2);
}

impl Pop3 {
    /// What is made of a client that asks for other protocols in its handshake.
    pub(crate) fn alpn(&self) -> Alpn {
        if self.strict_alpn {
            Alpn::Strict
        } else {
            Alpn::Lenient
        }
    }

    /// What is set and does nothing, because something else is not set.
    pub(super) fn idle(&self) -> impl Iterator<Item = &'static str> {
        let asks = self.client_ca_path.is_some();
        let lists = !self.crl_path.is_empty();
        [
            // The default is no mistake of anyone who has set a shorter session timeout.
            (
                !self.evict_idle_after.is_zero()
                    && self.evict_idle_after >= self.session_timeout
                    && self.evict_idle_after != Self::default().evict_idle_after,
                "Pop3.EvictIdleAfter does nothing: Pop3.SessionTimeout ends idle sessions before",
            ),
            (
                self.strict_alpn && self.certificate_path.is_empty(),
                "Pop3.StrictAlpn does nothing without Pop3.CertificatePath: there is no TLS",
            ),
            (
                asks && self.certificate_path.is_empty(),
                "Pop3.ClientCaPath does nothing without Pop3.CertificatePath: there is no TLS",
            ),
            (
                lists && !asks,
                "Pop3.CrlPath does nothing without Pop3.ClientCaPath: no client is asked for a \
                 certificate",
            ),
            (
                lists && asks && !self.check_certificate_revocation,
                "Pop3.CrlPath does nothing while Pop3.CheckCertificateRevocation is false",
            ),
        ]
        .into_iter()
        .chain(self.idle_auth())
        .filter_map(|(idle, why)| idle.then_some(why))
    }

    /// What is set about AUTH and does nothing.
    fn idle_auth(&self) -> [(bool, &'static str); 7] {
        let names = |mechanism| self.auth_mechanisms.names(mechanism);
        let allowed = self.auth_mechanisms.allowed();
        let has_tls = !self.certificate_path.is_empty();
        let (plus, scram) = (Mechanism::ScramSha256Plus, Mechanism::ScramSha256);
        let offers = self.channel_binding == ChannelBinding::Offer;
        let never = self.channel_binding == ChannelBinding::Never;
        let sends_secret = names(Mechanism::Plain) || names(Mechanism::Login);
        let any_key_will_do = !self.require_authentication;
        [
            (
                offers && !allowed.contains(plus),
                "Pop3.ChannelBinding=offer does nothing while Pop3.AuthMechanisms is without \
                 SCRAM-SHA-256-PLUS",
            ),
            (
                offers && allowed.contains(plus) && !has_tls,
                "Pop3.ChannelBinding=offer does nothing without Pop3.CertificatePath: there is no \
                 TLS",
            ),
            (
                never && names(plus),
                "SCRAM-SHA-256-PLUS in Pop3.AuthMechanisms does nothing while Pop3.ChannelBinding \
                 is never",
            ),
            (
                !offers && !never && names(plus) && !has_tls,
                "SCRAM-SHA-256-PLUS in Pop3.AuthMechanisms does nothing without \
                 Pop3.CertificatePath: there is no TLS",
            ),
            (
                any_key_will_do && (offers || names(plus) || names(scram)),
                "SCRAM does nothing while Pop3.RequireAuthentication is false: there is no key to \
                 prove",
            ),
            (
                names(Mechanism::External) && self.client_ca_path.is_none(),
                "EXTERNAL in Pop3.AuthMechanisms does nothing without Pop3.ClientCaPath: no client \
                 is asked for a certificate",
            ),
            (
                sends_secret && !has_tls && self.plaintext_auth == PlaintextAuth::Never,
                "PLAIN and LOGIN in Pop3.AuthMechanisms do nothing without Pop3.CertificatePath \
                 while Pop3.PlaintextAuth is never",
            ),
        ]
    }

    /// Which clients can't log in because SCRAM-SHA-256-PLUS is announced, if it is.
    pub fn locked_out_by_binding(&self) -> Option<&'static str> {
        let announced = self.channel_binding == ChannelBinding::Offer
            && self
                .auth_mechanisms
                .allowed()
                .contains(Mechanism::ScramSha256Plus)
            && self.require_authentication
            && !self.certificate_path.is_empty();
        announced.then_some(
            "clients that choose SCRAM-SHA-256-PLUS and can't bind to TLS are locked out: mutt and \
             NeoMutt as Debian builds them, async-pop and others (Pop3__ChannelBinding is offer)",
        )
    }
}

impl Default for Pop3 {
    fn default() -> Self {
        Self {
            server_name: "localhost".to_owned(),
            bind_address: None,
            port: 110,
            secure_port: 995,
            require_authentication: true,
            certificate_path: Vec::new(),
            certificate_key_path: Vec::new(),
            certificate_password: None,
            client_ca_path: None,
            check_certificate_revocation: true,
            crl_path: Vec::new(),
            strict_alpn: false,
            max_connections: 20_000,
            max_connections_per_address: None,
            max_connections_before_login: 2000,
            max_connections_per_user: 5,
            evict_idle_after: Duration::from_secs(2 * 60),
            session_timeout: Duration::from_secs(10 * 60),
            login_timeout: Duration::from_secs(180),
            write_timeout: Duration::from_secs(10 * 60),
            max_bad_commands: 20,
            max_line_octets: 255,
            max_deletions_per_session: 0,
            auth_failure_delay: None,
            max_auth_failure_delay: Duration::from_secs(15),
            max_messages_per_session: 0,
            shutdown_timeout: Duration::from_secs(30),
            deleted_retention: Duration::ZERO,
            expire_after: ExpireAfter::Never,
            default_domain: None,
            plaintext_auth: PlaintextAuth::Loopback,
            auth_mechanisms: AuthMechanisms::All,
            channel_binding: ChannelBinding::Auto,
            proxy_networks: Networks::default(),
        }
    }
}
