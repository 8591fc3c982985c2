//! The settings of the POP3 listeners and of a session.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::value::{Domain, ExpireAfter, PlaintextAuth, Secret, read};
use crate::networks::Networks;

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
    /// How long a client may be silent, more than 0.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// How long a client may take to log in, more than 0.
    #[serde(with = "duration")]
    pub login_timeout: Duration,
    /// How long a client may read nothing of what is sent to it, more than 0.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// So many lines in a row that are no command, or none of their state, end the session; at
    /// least 1.
    #[serde(deserialize_with = "read")]
    pub max_bad_commands: u32,
    /// How many octets a command line may have with its CRLF, from 255 to 64 KiB.
    #[serde(deserialize_with = "read")]
    pub max_line_octets: u32,
    /// How many messages a session may mark as deleted at once; 0 is no limit.
    #[serde(deserialize_with = "read")]
    pub max_deletions_per_session: u32,
    /// How long the first wrong key keeps its client's address waiting; 0 is not at all. It
    /// doubles with each that follows.
    #[serde(with = "duration")]
    pub auth_failure_delay: Duration,
    /// The longest that wrong keys keep an address waiting.
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
    /// The proxies, which say by the PROXY protocol who their client is.
    #[serde(deserialize_with = "read")]
    pub proxy_networks: Networks,
}

impl Pop3 {
    /// How many sessions one client address may have unless it is set.
    pub const MAX_CONNECTIONS_PER_ADDRESS: u32 = 100;
}

impl Pop3 {
    /// What is set and does nothing, because something else is not set.
    pub(super) fn idle(&self) -> impl Iterator<Item = &'static str> {
        let asks = self.client_ca_path.is_some();
        let lists = !self.crl_path.is_empty();
        [
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
        .filter_map(|(idle, why)| idle.then_some(why))
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
            max_connections: 20_000,
            max_connections_per_address: None,
            max_connections_before_login: 2000,
            max_connections_per_user: 5,
            session_timeout: Duration::from_secs(10 * 60),
            login_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            max_bad_commands: 20,
            max_line_octets: 255,
            max_deletions_per_session: 10_000,
            auth_failure_delay: Duration::from_secs(2),
            max_auth_failure_delay: Duration::from_secs(15),
            max_messages_per_session: 1000,
            shutdown_timeout: Duration::from_secs(30),
            deleted_retention: Duration::ZERO,
            expire_after: ExpireAfter::Never,
            default_domain: None,
            plaintext_auth: PlaintextAuth::Loopback,
            proxy_networks: Networks::default(),
        }
    }
}
