//! systemd: inherited sockets, and notifications.
//!
//! Without systemd there are no sockets to inherit and nothing to notify, and all of this does
//! nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::net::{ListenerKind, ListeningSocket};
use crate::server::{Liveness, listeners, refuse_strangers};
use crate::settings::Pop3Settings;

/// How often the line of `systemctl status` is written anew.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a stop may take beside the time that sessions get.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// The ports of POP3 and POP3S, as IANA has registered them.
const REGISTERED: (u16, u16) = (110, 995);

/// Takes the sockets that listen already (`LISTEN_FDS`).
///
/// Call it before there is a second thread: it takes the variables out of the environment, so that
/// no child takes the sockets for its own.
///
/// # Errors
/// If one is not a listening TCP socket, or neither its name nor its port tells the protocol.
pub(super) fn inherited(settings: &Pop3Settings) -> anyhow::Result<Vec<ListeningSocket>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<_> = names.split(':').collect();
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    if !settings.enabled {
        if given.len() != 0 {
            tracing::warn!(
                "Pop3__Enabled is false: stop the socket units, as clients would wait there in vain"
            );
        }
        return Ok(sockets);
    }
    for at in 0..given.len() {
        let socket = given.take_tcp_listener(at);
        let socket = socket.with_context(|| format!("socket {at} of LISTEN_FDS can't be used"))?;
        let socket = socket.with_context(|| format!("there is no socket {at} of LISTEN_FDS"))?;
        let address = socket.local_addr()?;
        refuse_strangers(settings, Some(address.ip()))?;
        let name = names.get(at).copied().unwrap_or_default();
        let kind = kind(name, address, settings)?;
        if kind == ListenerKind::Pop3s && settings.certificate_path.is_empty() {
            tracing::warn!(
                "no POP3S on {address}: Pop3__CertificatePath is not set; \
                 stop the socket unit, as clients would wait there in vain"
            );
            continue;
        }
        sockets.push(ListeningSocket::inherited(socket, kind)?);
    }
    Ok(sockets)
}

/// Adds a socket for each kind that the settings ask for and systemd has not passed.
///
/// # Errors
/// If one can't be had for another reason than that this user may not.
pub(super) fn with_the_others(
    mut sockets: Vec<ListeningSocket>,
    settings: &Pop3Settings,
) -> anyhow::Result<Vec<ListeningSocket>> {
    for (port, kind) in listeners(settings).unwrap_or_default() {
        if sockets.iter().any(|socket| socket.kind() == kind) {
            continue;
        }
        refuse_strangers(settings, settings.bind_address)?;
        match ListeningSocket::tcp(settings.bind_address, port, kind) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.reason.kind() == ErrorKind::PermissionDenied => {
                let (unit, setting) = if kind.begins_with_tls() {
                    ("restante-tls.socket", "Pop3__SecurePort")
                } else {
                    ("restante.socket", "Pop3__Port")
                };
                let name = kind.title();
                tracing::warn!(
                    "no {name} on {}: this user may not listen there; \
                     enable {unit}, or set {setting}=0",
                    error.place
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sockets)
}

/// Returns the protocol of an inherited socket: its name tells it, or else its port.
fn kind(name: &str, address: SocketAddr, settings: &Pop3Settings) -> anyhow::Result<ListenerKind> {
    let port = address.port();
    match name {
        "pop3" => Ok(ListenerKind::Pop3),
        "pop3s" => Ok(ListenerKind::Pop3s),
        _ if port == settings.port => Ok(ListenerKind::Pop3),
        _ if port == settings.secure_port => Ok(ListenerKind::Pop3s),
        _ if port == REGISTERED.0 => Ok(ListenerKind::Pop3),
        _ if port == REGISTERED.1 => Ok(ListenerKind::Pop3s),
        _ => anyhow::bail!(
            "what to speak on {address}? Write FileDescriptorName=pop3 or pop3s in its socket \
             unit, or set Pop3__Port or Pop3__SecurePort to {port}"
        ),
    }
}

/// Notifies systemd that all sockets listen.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Asks systemd for more time, since the database is not available yet.
pub(super) fn waiting(more_time: Duration) {
    tell(&[
        NotifyState::Status("waiting for the database"),
        NotifyState::ExtendTimeoutUsec(u32::try_from(more_time.as_micros()).unwrap_or(u32::MAX)),
    ]);
}

/// Notifies systemd that settings and certificates are being read again, until [`ready`].
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now().ok();
    let states = std::iter::once(NotifyState::Reloading).chain(now);
    tell(&states.collect::<Vec<_>>());
}

/// Notifies systemd that the server stops and gives its sessions this time.
pub(super) fn stopping(timeout: Duration) {
    let all = (timeout + STOP_GRACE).as_micros();
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("waiting for sessions to QUIT"),
        // A larger number does not fit into the message.
        NotifyState::ExtendTimeoutUsec(u32::try_from(all).unwrap_or(u32::MAX)),
    ]);
}

/// Feeds the watchdog of systemd while the server is alive.
///
/// If the registry or a thread does not answer, the watchdog is not fed and restarts the server.
pub(super) async fn watch(pulse: Liveness) {
    let watchdog = sd_notify::watchdog_enabled();
    // Each is followed by a pause of the same length, and an answer may take as long: so it is told
    // at least once in two thirds of the limit.
    let interval = watchdog.map_or(STATUS_INTERVAL, |limit| STATUS_INTERVAL.min(limit / 3));
    loop {
        match tokio::time::timeout(interval, pulse.probe()).await {
            Ok(Some(sessions)) => {
                let status = format!("{sessions} sessions");
                let alive = watchdog.map(|_| NotifyState::Watchdog);
                let status = NotifyState::Status(&status);
                tell(&alive.into_iter().chain([status]).collect::<Vec<_>>());
            }
            Ok(None) | Err(_) => {
                tracing::error!("a thread or the registry of the server does not answer");
            }
        }
        tokio::time::sleep(interval).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = %error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_speaks_what_its_name_says_or_else_its_port() {
        let settings = Pop3Settings {
            port: 1110,
            secure_port: 1995,
            ..Pop3Settings::default()
        };
        let kind = |name, port| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            kind(name, address, &settings).ok()
        };
        let (plain, tls) = (Some(ListenerKind::Pop3), Some(ListenerKind::Pop3s));
        assert_eq!([kind("pop3", 995), kind("pop3s", 110)], [plain, tls]);
        for name in ["", "unknown", "restante.socket"] {
            assert_eq!([kind(name, 110), kind(name, 995)], [plain, tls]);
            assert_eq!([kind(name, 1110), kind(name, 1995)], [plain, tls]);
            assert_eq!(kind(name, 143), None);
        }
    }
}
