//! Why handshakes fail, as the log and the metric tell it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::{self, cipher_suite};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::authority::Authority;
use super::{Folder, anybody, anybody_with, is_here};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::place::{Place, sqlite};
use crate::support::postgres::free_port;

/// A server as a process of its own, with a port for TLS, clients' certificates and a log in JSON.
struct Stage {
    daemon: Daemon,
    secure: SocketAddr,
    admin: Http,
    _folder: Folder,
    _place: Place,
}

impl Stage {
    fn new(settings: &[(&str, &str)]) -> Self {
        let (folder, place) = (Folder::new(), sqlite());
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let certificate = folder.write("local.pem", servers.server(&["localhost"]).both());
        let authority = folder.write("clients.pem", &clients.pem);
        let [secure, admin] = [free_port(), free_port()];
        let ports = [secure, admin].map(|port| port.to_string());
        let ours = [
            ("Log__Format", "json"),
            ("Pop3__CertificatePath", &certificate),
            ("Pop3__SecurePort", &ports[0]),
            ("Admin__Port", &ports[1]),
            ("Pop3__ClientCaPath", &authority),
            ("Pop3__CheckCertificateRevocation", "false"),
        ];
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            daemon: Daemon::start_with(&place.url, &[&ours, settings].concat()),
            secure: here(secure),
            admin: Http::new(here(admin)),
            _folder: folder,
            _place: place,
        }
    }

    /// Two connections on which TLS is next: after STLS, and on the port for TLS.
    fn before_tls(&self) -> [TcpStream; 2] {
        let mut plain = TcpStream::connect(self.daemon.address).unwrap();
        plain.write_all(b"STLS\r\n").unwrap();
        let mut said = Vec::new();
        while said.iter().filter(|octet| **octet == b'\n').count() < 2 {
            let mut octet = [0];
            plain.read_exact(&mut octet).unwrap();
            said.extend(octet);
        }
        [plain, TcpStream::connect(self.secure).unwrap()]
    }

    /// The last lines of so many sessions.
    fn ended(&self, sessions: usize) -> Vec<Value> {
        eventually(&format!("{sessions} sessions to end"), || {
            let log = self.daemon.log();
            let lines = log.lines().filter_map(|it| serde_json::from_str(it).ok());
            let ended = lines.filter(|it: &Value| it["message"] == "session ended");
            Some(ended.collect::<Vec<_>>()).filter(|it| it.len() >= sessions)
        })
    }

    fn failed(&self, cause: &str) -> u64 {
        let metrics = self.admin.get("/metrics").text;
        let series = format!("pop3_tls_handshakes_failed_total{{cause=\"{cause}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap().parse().unwrap()
    }
}

/// Shakes hands as far as it goes, and lets the server say why it does not go on.
fn shake(mut tcp: TcpStream, config: ClientConfig, name: &str) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() && connection.complete_io(&mut tcp).is_ok() {}
    // In TLS 1.3 the client is through before the server has seen its certificate.
    drop(connection.complete_io(&mut tcp));
    drop(tcp.read_to_end(&mut Vec::new()));
}

/// A `ClientHello` that asks for this name, which is as long as `localhost`.
fn hello_for(name: &[u8; 9]) -> Vec<u8> {
    let localhost = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(anybody()), localhost).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    let at = hello.windows(9).position(|it| it == b"localhost").unwrap();
    hello[at..at + 9].copy_from_slice(name);
    hello
}

/// Sends these octets, and reads to the end.
fn send(mut tcp: TcpStream, octets: &[u8]) {
    tcp.write_all(octets).unwrap();
    drop(tcp.read_to_end(&mut Vec::new()));
}

fn with_alpn(protocols: &[&str]) -> ClientConfig {
    let mut config = anybody();
    let names = protocols.iter().map(|name| name.as_bytes().to_vec());
    config.alpn_protocols = names.collect();
    config
}

/// A client that knows no suite for the key of the server's certificate.
fn other_suites() -> ClientConfig {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    anybody_with(provider, None)
}

/// A client that believes in another authority.
fn believer() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let other = CertificateDer::from_pem_slice(Authority::new("others").pem.as_bytes());
    roots.add(other.unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client whose certificate is of an authority that the server does not know.
fn stranger() -> ClientConfig {
    let issued = Authority::new("others").client(&[], 1);
    let signing = ring::default_provider().key_provider;
    let signing = signing.load_private_key(issued.key_der()).unwrap();
    let pair = CertifiedKey::new(vec![issued.der()], signing);
    let mut config = anybody();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
    config
}

#[test]
fn the_cause_of_a_failed_handshake_is_in_the_log_and_a_label() {
    let stage = Stage::new(&[("Pop3__StrictAlpn", "true")]);
    type Client = dyn Fn(TcpStream);
    let clients: [(&str, &str, &Client); 8] = [
        ("not_tls", "InvalidContentType", &|tcp| {
            send(tcp, b"USER ada@example.com\r\n")
        }),
        ("closed", "", &|tcp| drop(tcp)),
        ("closed", "", &|mut tcp| {
            tcp.write_all(&hello_for(b"localhost")[..50]).unwrap()
        }),
        ("no_shared_cipher", "NoCipherSuitesInCommon", &|tcp| {
            shake(tcp, other_suites(), "localhost");
        }),
        ("alpn", "", &|tcp| {
            shake(tcp, with_alpn(&["imap"]), "localhost")
        }),
        ("client_alert", "UnknownCA", &|tcp| {
            shake(tcp, believer(), "localhost")
        }),
        ("client_certificate", "UnknownIssuer", &|tcp| {
            shake(tcp, stranger(), "localhost");
        }),
        ("server_name", "", &|tcp| {
            send(tcp, &hello_for(b"local  st"))
        }),
    ];
    let mut sessions = 0;
    for (cause, text, client) in clients {
        let before = stage.failed(cause);
        for tcp in stage.before_tls() {
            client(tcp);
            sessions += 1;
            let line = stage.ended(sessions).pop().unwrap();
            assert_eq!(line["ending"], "TLS handshake failed", "{cause}: {line}");
            assert_eq!(line["tls_failure"], cause, "{line}");
            let told = line["tls_error"].as_str().unwrap();
            assert!(told.contains(text), "{cause}: {told}");
        }
        assert_eq!(stage.failed(cause), before + 2, "{cause}");
    }
    // One that goes well has no cause.
    for tcp in stage.before_tls() {
        let mut tcp = tcp;
        let name = ServerName::try_from("localhost").unwrap();
        let config = with_alpn(&["imap", "pop3"]);
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).unwrap();
        }
        assert_eq!(connection.alpn_protocol(), Some(&b"pop3"[..]));
        drop(tcp);
        sessions += 1;
        let line = stage.ended(sessions).pop().unwrap();
        assert_eq!(line["tls_failure"], Value::Null, "{line}");
        assert_eq!(line["ending"], "disconnected", "{line}");
    }
}

#[test]
fn a_client_that_is_too_old_or_too_slow_is_told_apart() {
    if !is_here("openssl") {
        return;
    }
    let stage = Stage::new(&[("Pop3__LoginTimeout", "2s")]);
    let old = Command::new("openssl")
        .args(["s_client", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
        .args(["-connect", &stage.secure.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!old.unwrap().success());
    let line = stage.ended(1).pop().unwrap();
    assert_eq!(line["tls_failure"], "protocol_version", "{line}");
    let silent = stage.before_tls();
    for line in &stage.ended(3)[1..] {
        assert_eq!(line["tls_failure"], "timeout", "{line}");
    }
    assert_eq!(
        (stage.failed("protocol_version"), stage.failed("timeout")),
        (1, 2)
    );
    drop(silent);
}
