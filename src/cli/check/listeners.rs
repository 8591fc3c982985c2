//! Checks whether the server can listen where the settings say.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use pop3::Reply;

use super::super::endpoint::Endpoint;
use super::Finding;
use crate::net::{BindError, ListenerKind, ListeningSocket};
use crate::server;
use crate::settings::{
    AdminSettings, Config, HealthCheckSettings, HealthUrl, LmtpSettings, Pop3Settings,
};

/// The longest wait for the greeting of a program that listens on a port of the settings.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest greeting in octets (RFC 1939, section 3).
const GREETING_OCTETS: u64 = 512;

/// The fix for a port that is in use.
const CHOOSE_ANOTHER: &str = "stop that program, or choose another port";

/// The fix for a port below 1024 that this user may not open.
const CHECK_AS_THE_SERVICE: &str = "if the service may, check as it: systemd-run --pipe --wait \
    --uid=restante --property=AmbientCapabilities=CAP_NET_BIND_SERVICE restante check --config FILE; \
    else give it that capability, or set Pop3__Port and Pop3__SecurePort";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let pop3 = &config.pop3;
    let mut findings = Vec::new();
    if !pop3.enabled {
        findings.push(Finding::ok("pop3", "no POP3: Pop3__Enabled is false"));
        findings.extend(other_ports(config, answers(config)));
        return findings;
    }
    findings.extend(authentication(pop3));
    findings.extend(channel_binding(pop3));
    if pop3.secure_port != 0 && pop3.certificate_path.is_empty() {
        findings.push(Finding::warning(
            "pop3",
            format!(
                "no POP3S on port {}: there is no certificate",
                pop3.secure_port
            ),
            "set Pop3__CertificatePath, or Pop3__SecurePort=0",
        ));
    }
    let mut is_running = false;
    match server::listeners(pop3) {
        Ok(listeners) => {
            let admin_is_alive = admin_is_alive(config);
            for listener in listeners {
                let finding = pop3_port(pop3, listener, admin_is_alive, &mut is_running);
                findings.push(finding);
            }
        }
        Err(error) => findings.push(Finding::problem(
            "pop3",
            error.to_string(),
            "set Pop3__Port=110",
        )),
    }
    findings.extend(other_ports(config, is_running));
    findings
}

/// Checks the listeners that are not POP3's, and that no two are to have the same port.
fn other_ports(config: &Config, is_running: bool) -> Vec<Finding> {
    let mut findings = admin(&config.admin, is_running);
    findings.extend(health(&config.health_check, is_running));
    findings.extend(lmtp(&config.lmtp, is_running));
    findings.extend(collisions(config));
    findings
}

fn health(settings: &HealthCheckSettings, is_running: bool) -> Option<Finding> {
    let url = settings.url.as_ref()?;
    let address = url.address().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let place = (address, url.port());
    other_port(
        "health",
        "health checks",
        "HealthCheck__Url",
        place,
        is_running,
    )
}

fn authentication(settings: &Pop3Settings) -> Option<Finding> {
    if settings.require_authentication {
        return None;
    }
    let finding = match server::refuse_strangers(settings, settings.bind_address) {
        Ok(()) => Finding::warning(
            "pop3",
            "any key opens any maildrop: Pop3__RequireAuthentication is false",
            "set it to true, unless you alone have an account on this machine",
        ),
        Err(error) => Finding::problem(
            "pop3",
            error.to_string(),
            "set Pop3__RequireAuthentication=true",
        ),
    };
    Some(finding)
}

fn channel_binding(settings: &Pop3Settings) -> Option<Finding> {
    let locked_out = settings.locked_out_by_binding()?;
    let fix = "set Pop3__ChannelBinding=auto, unless every client of yours can bind";
    Some(Finding::warning("pop3", locked_out, fix))
}

fn pop3_port(
    settings: &Pop3Settings,
    (port, kind): (u16, ListenerKind),
    admin_is_alive: bool,
    is_running: &mut bool,
) -> Finding {
    let name = kind.title();
    let Err(error) = ListeningSocket::tcp(settings.bind_address, port, kind) else {
        return Finding::ok("pop3", format!("{name}: port {port} is free"));
    };
    let in_use = error.reason.kind() == ErrorKind::AddrInUse;
    // The greeting inside TLS can't be seen; the plain port, which is checked first, tells.
    *is_running = in_use
        && if kind.begins_with_tls() {
            *is_running || admin_is_alive
        } else {
            greets_as_we_do(settings, port) || admin_is_alive
        };
    if *is_running {
        let message = format!("{name}: port {port} is in use by a running restante, as it seems");
        return Finding::ok("pop3", message);
    }
    if in_use && settings.proxy_networks.contain(here(settings)) {
        return Finding::warning(
            "pop3",
            format!("{name}: port {port} is in use by an unknown program"),
            "ignore this if restante is running: it greets only proxies on this machine; \
             else stop that program, or choose another port",
        );
    }
    refused("pop3", &error)
}

/// Turns the error of `serve`, whose fix stands behind a semicolon, into a problem. Ports that need
/// a right differ: the service may have it although this user has not.
fn refused(about: &'static str, error: &BindError) -> Finding {
    if error.reason.kind() == ErrorKind::PermissionDenied {
        let message = format!("cannot listen on {}: this user may not", error.place);
        return Finding::problem(about, message, CHECK_AS_THE_SERVICE);
    }
    let message = error.to_string();
    let (message, fix) = message
        .split_once("; ")
        .unwrap_or((&message, CHOOSE_ANOTHER));
    Finding::problem(about, message, fix)
}

/// Whether a server of the same settings listens there.
fn greets_as_we_do(settings: &Pop3Settings, port: u16) -> bool {
    let greeting = greeting(SocketAddr::new(here(settings), port));
    greeting.is_ok_and(|line| line == Reply::greeting(&settings.server_name).as_bytes())
}

/// The address at which this machine reaches the listeners.
fn here(settings: &Pop3Settings) -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    settings.bind_address.unwrap_or(loopback)
}

/// Whether the admin endpoint tells that the server runs where a listener for proxies does not.
fn admin_is_alive(config: &Config) -> bool {
    let silent = config.pop3.proxy_networks.contain(here(&config.pop3));
    silent && answers(config)
}

/// Whether the admin endpoint of the settings answers.
fn answers(config: &Config) -> bool {
    Endpoint::without_token(config)
        .and_then(|endpoint| endpoint.get("/livez"))
        .is_ok_and(|answer| answer.status.is_success())
}

fn greeting(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&address, GREETING_TIMEOUT)?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(GREETING_OCTETS)).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn admin(settings: &AdminSettings, is_running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.port != 0
        && let Err(error) = settings.token()
    {
        let fix = "set Admin__Token or Admin__TokenPath, or neither: then the server makes a token";
        findings.push(Finding::problem("admin", format!("{error:#}"), fix));
    }
    findings.extend(other_port(
        "admin",
        "the admin endpoint",
        "Admin__Port",
        (settings.bind_address, settings.port),
        is_running,
    ));
    findings
}

fn lmtp(settings: &LmtpSettings, is_running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.port != 0 && !settings.bind_address.is_loopback() {
        findings.push(Finding::warning(
            "lmtp",
            format!(
                "any host that reaches {} may deliver mail",
                settings.bind_address
            ),
            "set Lmtp__BindAddress=127.0.0.1, or let only the MTA reach it",
        ));
    }
    if let Some(path) = &settings.socket_path {
        if path.parent().is_some_and(Path::is_dir) {
            findings.push(socket(path, is_running));
        } else {
            findings.push(Finding::problem(
                "lmtp",
                format!("the folder of the socket {} is missing", path.display()),
                "make the folder, or set Lmtp__SocketPath",
            ));
        }
    }
    findings.extend(other_port(
        "lmtp",
        "LMTP",
        "Lmtp__Port",
        (settings.bind_address, settings.port),
        is_running,
    ));
    findings
}

fn socket(path: &Path, is_running: bool) -> Finding {
    let place = path.display();
    match crate::net::probe(path) {
        Ok(()) => Finding::ok("lmtp", format!("LMTP: {place} is free")),
        Err(error) if is_running && error.kind() == ErrorKind::AddrInUse => Finding::ok(
            "lmtp",
            format!("LMTP: {place} is in use, as restante runs already"),
        ),
        Err(error) => Finding::problem(
            "lmtp",
            format!("LMTP can't listen at {place}: {error}"),
            "set Lmtp__SocketPath to another path",
        ),
    }
}

/// Finds settings that ask for the same port.
fn collisions(config: &Config) -> Vec<Finding> {
    let pop3 = |port: u16| port * u16::from(config.pop3.enabled);
    let health = config.health_check.url.as_ref();
    let ports = [
        ("Pop3__Port", pop3(config.pop3.port)),
        ("Pop3__SecurePort", pop3(config.pop3.secure_port)),
        ("HealthCheck__Url", health.map_or(0, HealthUrl::port)),
        ("Admin__Port", config.admin.port),
        ("Lmtp__Port", config.lmtp.port),
    ];
    let mut findings = Vec::new();
    for (at, (name, port)) in ports.iter().enumerate() {
        let same = ports.iter().take(at).find(|(_, other)| other == port);
        if let (Some((other, _)), true) = (same, *port != 0) {
            findings.push(Finding::problem(
                "settings",
                format!("{other} and {name} are both {port}"),
                "give each a port of its own",
            ));
        }
    }
    findings
}

fn other_port(
    about: &'static str,
    name: &str,
    setting: &str,
    (address, port): (IpAddr, u16),
    is_running: bool,
) -> Option<Finding> {
    if port == 0 {
        return None;
    }
    let place = SocketAddr::new(address, port);
    let finding = match ListeningSocket::tcp(Some(address), port, ListenerKind::Lmtp) {
        Ok(_) => Finding::ok(about, format!("{name}: {place} is free")),
        Err(error) if is_running && error.reason.kind() == ErrorKind::AddrInUse => Finding::ok(
            about,
            format!("{name}: {place} is in use, as restante runs already"),
        ),
        Err(error) => Finding::problem(
            about,
            format!("{name} can't listen on {place}: {}", error.reason),
            format!("{CHOOSE_ANOTHER} as {setting}"),
        ),
    };
    Some(finding)
}
