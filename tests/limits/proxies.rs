//! Clients behind a proxy that speaks the PROXY protocol.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::{SMALL, connect_from, metric, refusal, served};
use crate::served::{Served, Wire};
use crate::support::eventually;
use crate::support::postgres::free_port;

const REFUSED: &str = "pop3_connections_refused_total{reason=\"proxy\"}";
const PROXY: &str = "127.0.0.2";
const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 110\r\n";

/// Version 2, for 192.0.2.1 and with something more that is to be skipped.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13\xc0\x00\x02\x01\xc6\x33\x64\x01\x30\x39\x00\x6e\
    \x04\x00\x04\0\0\0\0";

/// A server behind a proxy, which has an address of its own.
fn behind_proxy(settings: &[(&str, &str)]) -> Served {
    let ours = [("Pop3__ProxyNetworks", PROXY)];
    served(&[&ours, settings].concat())
}

/// A connection of the proxy that begins with these octets.
fn proxied(to: std::net::SocketAddr, header: &[u8]) -> Wire {
    let mut wire = connect_from(PROXY, to);
    wire.send(header);
    wire
}

#[test]
fn sessions_and_policy_see_the_client_of_the_proxy() {
    for header in [V1, V2] {
        let served = behind_proxy(&[]);
        let owner = served.owner(&[SMALL.to_vec()]);
        let mut in_clear = proxied(served.plain, header).greeted();
        let report = served.sessions().remove(0);
        assert_eq!(report.peer.to_string(), "192.0.2.1:12345");
        assert_eq!(report.proxy.unwrap().to_string(), PROXY);
        // The proxy is on this machine, its client is not.
        let answer = in_clear.command(&format!("USER {}", owner.address));
        assert!(answer.starts_with("-ERR "), "{answer}");
        let in_tls = proxied(served.tls, header).start_tls().greeted();
        in_tls.logged_in(&owner).ok("STAT");
        assert_eq!(metric(&served, REFUSED), 0);
    }
}

#[test]
fn what_the_client_sends_in_the_same_packet_is_not_lost() {
    let served = behind_proxy(&[("Pop3__PlaintextAuth", "192.0.2.0/24")]);
    let owner = served.owner(&[SMALL.to_vec()]);
    for header in [V1, V2] {
        let login = format!(
            "USER {}\r\nPASS {}\r\nSTAT\r\nQUIT\r\n",
            owner.address, owner.key
        );
        let mut wire = proxied(served.plain, &[header, login.as_bytes()].concat());
        let said = String::from_utf8(wire.read_to_end().unwrap()).unwrap();
        assert_eq!(said.matches("+OK").count(), 5, "{said}");
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_is_the_client() {
    let served = behind_proxy(&[]);
    let owner = served.owner(&[]);
    for header in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        // What it says of a family is not heeded then, and need not be complete.
        b"\r\n\r\n\0\r\nQUIT\n\x20\x31\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x20\xff\x00\x03\0\0\0",
    ] {
        let wire = proxied(served.plain, header).greeted();
        let report = served.sessions().remove(0);
        assert_eq!(report.peer.ip().to_string(), PROXY);
        assert_eq!(report.proxy, None);
        wire.logged_in(&owner).ok("QUIT");
        served.wait_for_sessions(0);
    }
}

#[test]
fn clients_of_a_proxy_are_limited_each_for_itself() {
    let served = behind_proxy(&[("Pop3__MaxConnectionsPerAddress", "1")]);
    let other: &[u8] = b"PROXY TCP4 192.0.2.2 198.51.100.1 12345 110\r\n";
    let first = proxied(served.plain, V1).greeted();
    let _other = proxied(served.tls, other).start_tls().greeted();
    for line in [
        refusal(proxied(served.plain, V2)),
        refusal(proxied(served.tls, V2).start_tls()),
    ] {
        assert!(line.starts_with("-ERR [SYS/TEMP] too many connections from your network"));
    }
    let refused = "pop3_connections_refused_total{reason=\"address\"}";
    assert_eq!(metric(&served, refused), 2);
    drop(first);
    served.wait_for_sessions(1);
    proxied(served.plain, V2).greeted();
}

#[test]
fn a_client_of_a_proxy_hears_that_the_server_is_full() {
    let served = behind_proxy(&[("Pop3__MaxConnections", "1")]);
    let _first = proxied(served.plain, V1).greeted();
    for line in [
        refusal(proxied(served.plain, V2)),
        refusal(proxied(served.tls, V2).start_tls()),
    ] {
        assert!(line.contains("too many connections, try again"), "{line}");
    }
}

#[test]
fn wrong_keys_slow_the_client_and_not_the_proxy() {
    let served = behind_proxy(&[
        ("Pop3__PlaintextAuth", "always"),
        ("Pop3__AuthFailureDelay", "1h"),
        ("Pop3__MaxAuthFailureDelay", "1h"),
    ]);
    let owner = served.owner(&[]);
    let mut wrong = proxied(served.plain, V1).greeted();
    wrong.ok(&format!("USER {}", owner.address));
    wrong.send(b"PASS wrong\r\n");
    let failures = "pop3_auth_failures_total{reason=\"credentials\"}";
    super::wait_for_metric(&served, failures, 1);
    let other = b"PROXY TCP4 192.0.2.2 198.51.100.1 12345 110\r\n";
    let other = proxied(served.plain, other).greeted();
    other.logged_in(&owner).ok("STAT");
}

#[test]
fn a_header_from_elsewhere_is_refused() {
    let served = behind_proxy(&[]);
    for header in [V1, V2] {
        let mut wire = served.connect();
        wire.send(header);
        let line = refusal(wire);
        assert!(line.contains("PROXY header not accepted"), "{line}");
    }
    assert_eq!(metric(&served, REFUSED), 2);
    // Inside TLS nothing begins with it.
    let mut wire = Wire::connect(served.tls);
    wire.send(V1);
    let said = wire.read_to_end().unwrap_or_default();
    assert!(!said.starts_with(b"+OK"));
}

#[test]
fn a_missing_or_malformed_header_is_refused() {
    let served = behind_proxy(&[]);
    let unfinished = |sent: &[u8]| {
        let mut wire = proxied(served.plain, sent);
        wire.no_more();
        wire
    };
    let mut count = 0;
    for (wire, why) in [
        (proxied(served.plain, b"USER ada@example.com\r\n"), "PROXY header missing"),
        (proxied(served.plain, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), "PROXY header missing"),
        (proxied(served.plain, b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n"), "malformed"),
        (proxied(served.plain, &[b"PROXY ", &[b'x'; 120][..]].concat()), "malformed"),
        (proxied(served.plain, b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x30\x39\x00\x6e"), "malformed"),
        (proxied(served.plain, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"), "longer than 4096"),
        (unfinished(b"PROXY TCP4 192.0.2.1"), "connection broken"),
        (unfinished(&V2[..20]), "connection broken"),
        // It says nothing, and is not waited for.
        (proxied(served.plain, b""), "no PROXY header within"),
    ] {
        let line = refusal(wire);
        assert!(line.contains(why), "{line}");
        count += 1;
    }
    assert_eq!(metric(&served, REFUSED), count);
    // On the port for TLS nothing could be read of a reply in clear.
    let no_header = connect_from(PROXY, served.tls);
    assert!(no_header.try_start_tls().is_err());
    assert_eq!(metric(&served, REFUSED), count + 1);
}

/// HAProxy, in front of a server. It is killed when this is dropped.
struct HaProxy {
    child: Child,
    port: u16,
    secure_port: u16,
    _folder: tempfile::TempDir,
}

impl HaProxy {
    /// None if this machine has no HAProxy. `checks` says how it checks the health of servers.
    fn start(served: &Served, send: &str, checks: &str) -> Option<Self> {
        // Somebody else may take a port before it does: then it ends, and we try others.
        loop {
            let mut proxy = Self::spawn(served, send, checks)?;
            let listens = eventually("HAProxy to listen", || {
                if proxy.child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                let ports = [proxy.port, proxy.secure_port];
                let connect = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
                ports.into_iter().all(connect).then_some(true)
            });
            if listens {
                return Some(proxy);
            }
        }
    }

    fn spawn(served: &Served, send: &str, checks: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (port, secure_port) = (free_port(), free_port());
        let (plain, tls) = (served.plain, served.tls);
        let config = format!(
            "global\n maxconn 50\n\
             defaults\n mode tcp\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n{checks}\
             listen plain\n bind 127.0.0.1:{port}\n server restante {plain} {send} source {PROXY}\n\
             listen tls\n bind 127.0.0.1:{secure_port}\n server restante {tls} {send} source {PROXY}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        // Debian has it where only root looks.
        let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let child = Command::new("haproxy")
            .env("PATH", paths)
            .args(["-db", "-q", "-f"])
            .arg(file)
            .stdin(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            let skipped = b"HAProxy test skipped: no haproxy found (install haproxy to run it)\n";
            std::io::stderr().write_all(skipped).unwrap();
            return None;
        };
        Some(Self {
            child,
            port,
            secure_port,
            _folder: folder,
        })
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn behind_haproxy_the_real_client_is_seen() {
    for send in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
    ] {
        let served = behind_proxy(&[]);
        let owner = served.owner(&[SMALL.to_vec()]);
        let Some(proxy) = HaProxy::start(&served, send, "") else {
            return;
        };
        // Those that only looked whether it listens.
        served.wait_for_sessions(0);
        let in_clear = connect_from("127.0.0.9", ([127, 0, 0, 1], proxy.port).into());
        let mut in_clear = in_clear.greeted().logged_in(&owner);
        let in_tls = connect_from("127.0.0.10", ([127, 0, 0, 1], proxy.secure_port).into());
        let mut in_tls = in_tls.start_tls().greeted().logged_in(&owner);
        let mut seen: Vec<_> = served.sessions();
        seen.sort_by_key(|report| report.peer.ip());
        let clients: Vec<_> = seen
            .iter()
            .map(|report| report.peer.ip().to_string())
            .collect();
        assert_eq!(clients, ["127.0.0.9", "127.0.0.10"], "{send}");
        assert!(
            seen.iter()
                .all(|report| report.proxy.unwrap().to_string() == PROXY)
        );
        for wire in [&mut in_clear, &mut in_tls] {
            assert_eq!(wire.body("RETR 1"), SMALL);
            wire.ok("QUIT");
        }
    }
}

#[test]
fn health_checks_of_haproxy_are_answered_and_count_for_the_proxy() {
    let checks = " option tcp-check\n\
        \x20tcp-check expect rstring ^[+]OK\n\
        \x20tcp-check send QUIT\\r\\n\n\
        \x20tcp-check expect rstring ^[+]OK\n\
        \x20default-server inter 50ms fall 1\n";
    for send in ["send-proxy", "send-proxy-v2"] {
        let served = behind_proxy(&[]);
        let owner = served.owner(&[SMALL.to_vec()]);
        let send = format!("{send} check check-send-proxy");
        // On the port for TLS a check would need a handshake.
        let Some(proxy) = HaProxy::start(&served, &send, checks) else {
            return;
        };
        let answered = "pop3_sessions_ended_total{ending=\"quit\"}";
        eventually("three checks", || {
            (metric(&served, answered) >= 3).then_some(())
        });
        let client = connect_from("127.0.0.9", ([127, 0, 0, 1], proxy.port).into());
        client.greeted().logged_in(&owner).ok("QUIT");
        assert_eq!(metric(&served, REFUSED), 0);
    }
}
