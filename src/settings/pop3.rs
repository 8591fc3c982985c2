//! The settings of POP3.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use pop3::{ChannelBinding, Limits, Mechanism, Reply};

use super::sasl::AuthMechanisms;
use super::section::section;
use super::types::{Domain, ExpireAfter, PlaintextAuth, SecretText};
use crate::networks::Networks;
use crate::tls::Alpn;

const SECOND: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_secs(60);

/// CAPA tells in days how long messages are kept.
const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

section! {
    /// The POP3 listeners, and what a session may do.
    pub struct Pop3Settings in "pop3" {
        /// Whether there are POP3 listeners.
        restart enabled: bool = true;
        /// The name in the greeting.
        reload server_name: String = "localhost".to_owned(),
            refuse |name| name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic()) =>
                "a server name is one word in ASCII, such as mail.example.org",
            refuse |name| name.contains(['<', '>']) =>
                "clients take <...> in the greeting for the timestamp of APOP, which is not \
                 offered; write the name alone, such as mail.example.org",
            refuse |name| name.starts_with('[') =>
                "clients take [...] at the start of the greeting for a response code (RFC 2449, \
                 section 8); write the name or the address without brackets",
            refuse |name| Reply::greeting(name).as_bytes().len() > Reply::MAX_LINE_OCTETS =>
                "the greeting would have more than 512 octets (RFC 2449, section 4); give a name \
                 of at most 488";
        /// The address to listen on; `None` is all addresses, IPv4 and IPv6.
        restart bind_address: Option<IpAddr> = None;
        /// The port for clear text and STLS; 0 is off.
        restart port: u16 = 110;
        /// The port for TLS from the first octet; 0 is off.
        restart secure_port: u16 = 995;
        /// True if a client must log in.
        restart require_authentication: bool = true;
        /// The files with the certificate chains.
        restart certificate_path: Vec<PathBuf> = Vec::new();
        /// The files with their private keys, in the same order; empty if the keys are beside them.
        restart certificate_key_path: Vec<PathBuf> = Vec::new();
        /// The password of PKCS#12 files and encrypted keys.
        restart certificate_password: Option<SecretText> = None;
        /// The authorities that certify clients; without them no client is asked for a certificate.
        restart client_ca_path: Option<PathBuf> = None;
        /// True if clients' certificates are checked against revocation lists.
        restart check_certificate_revocation: bool = true;
        /// The revocation lists.
        restart crl_path: Vec<PathBuf> = Vec::new();
        /// True if a client that asks for other protocols than POP3 in its handshake is refused.
        reload strict_alpn: bool = false;
        /// The largest number of sessions; 0 is no limit.
        reload max_connections: u32 = 20_000;
        /// The largest number of sessions of one client address; 0 is no limit. `None` is
        /// [`Pop3Settings::MAX_CONNECTIONS_PER_ADDRESS`], and no limit for this machine itself.
        reload max_connections_per_address: Option<u32> = None;
        /// The largest number of sessions before login; one more ends the oldest of them.
        reload max_connections_before_login: u32 = 2000,
            refuse |most| *most == 0 => "0 would allow no login; the least is 1";
        /// The largest number of sessions of one user.
        reload max_connections_per_user: u32 = 5,
            refuse |most| *most == 0 => "0 would allow no login; the least is 1";
        /// How long a session must have been idle before a new login with the same key from the same
        /// address may end it, when the user has no session left; 0 is never.
        reload evict_idle_after: Duration = 2 * MINUTE;
        /// How long a client may be silent.
        reload session_timeout: Duration = 10 * MINUTE,
            refuse Duration::is_zero =>
                "0 would end every session at once; RFC 1939 asks for 10m or more";
        /// How long a client may take to log in.
        reload login_timeout: Duration = 180 * SECOND,
            refuse Duration::is_zero => "0 would allow no login; give a time such as 180s";
        /// How long a client may read nothing of what is sent to it.
        reload write_timeout: Duration = 10 * MINUTE, follows session_timeout,
            refuse Duration::is_zero => "0 would let no client read a message; give a time such as 10m";
        /// The number of bad commands in a row that ends a session.
        reload max_bad_commands: u32 = 20,
            refuse |most| *most == 0 => "0 would end every session at once; the least is 1";
        /// The longest command line in octets, with its CRLF.
        reload max_line_octets: u32 = 255,
            refuse |most| !(255..=65_536).contains(most) =>
                "a command line has 255 octets (RFC 2449, section 4), or up to 65536";
        /// A session that deletes more messages gets a warning in the log; 0 is no limit. Nothing is
        /// refused: many clients do not QUIT after a refusal, and fetch everything again.
        reload max_deletions_per_session: u32 = 0;
        /// The delay after the first failed login of a name from a network, doubled with each that
        /// follows; 0 is none. `None` is [`Pop3Settings::AUTH_FAILURE_DELAY`], and none for loopback
        /// and proxies.
        restart auth_failure_delay: Option<Duration> = None;
        /// The longest delay after failed logins.
        restart max_auth_failure_delay: Duration = 15 * SECOND;
        /// How many messages a session sees, the newest; 0 is all. `None` is as many as the store
        /// shows by default: all of our own schema, and 1000 of Relate Mail's.
        restart max_messages_per_session: Option<u32> = None;
        /// How long open sessions may go on when the server stops.
        reload shutdown_timeout: Duration = 30 * SECOND;
        /// How long a deleted message can be restored.
        restart deleted_retention: Duration = Duration::ZERO;
        /// The age at which a message is deleted although no client asked.
        restart expire_after: ExpireAfter = ExpireAfter::Never;
        /// The domain of a login name that has none.
        reload default_domain: Option<Domain> = None;
        /// From where a client may send its key without TLS.
        reload plaintext_auth: PlaintextAuth = PlaintextAuth::Loopback;
        /// The mechanisms that AUTH may offer and accept.
        reload auth_mechanisms: AuthMechanisms = AuthMechanisms::All;
        /// Whether SCRAM-SHA-256-PLUS is announced, and whether it is accepted.
        reload channel_binding: ChannelBinding = ChannelBinding::Auto;
        /// The proxies, which say by the PROXY protocol who their client is.
        restart proxy_networks: Networks = Networks::default();
    }
}

impl Pop3Settings {
    /// The largest number of sessions of one client address unless it is set.
    pub const MAX_CONNECTIONS_PER_ADDRESS: u32 = 100;

    /// The delay after the first failed login unless it is set.
    pub const AUTH_FAILURE_DELAY: Duration = Duration::from_secs(2);

    /// Returns how much a client may do in a session.
    pub fn limits(&self) -> Limits {
        Limits {
            bad_commands: self.max_bad_commands,
            line_octets: usize::try_from(self.max_line_octets).unwrap_or(usize::MAX),
        }
    }

    /// Returns after how many days a message expires, as CAPA tells it.
    pub fn expire_days(&self) -> Option<u64> {
        // A message is kept for a part of a day more, and never for less than is told.
        let kept = self.expire_after.duration();
        kept.map(|kept| kept.as_secs() / SECONDS_OF_A_DAY)
    }

    /// Returns how a client is treated that asks for other protocols in its handshake.
    pub(crate) fn alpn(&self) -> Alpn {
        if self.strict_alpn {
            Alpn::Strict
        } else {
            Alpn::Lenient
        }
    }

    /// Returns a warning if SCRAM-SHA-256-PLUS is announced, which some clients can't use.
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
