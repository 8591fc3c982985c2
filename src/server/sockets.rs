//! The sockets of POP3 that the settings ask for.

use std::net::IpAddr;

use crate::net::{ListenerKind, ListeningSocket};
use crate::settings::Pop3Settings;

/// Binds the sockets that the settings ask for.
///
/// # Errors
/// If one can't be bound, there would be none although POP3 is on, or other machines could open
/// maildrops without a key.
pub fn bind(settings: &Pop3Settings) -> anyhow::Result<Vec<ListeningSocket>> {
    if !settings.enabled {
        tracing::warn!("no POP3: Pop3__Enabled is false");
        return Ok(Vec::new());
    }
    let address = settings.bind_address;
    refuse_strangers(settings, address)?;
    let listeners = listeners(settings)?.into_iter();
    let sockets = listeners.map(|(port, kind)| ListeningSocket::tcp(address, port, kind));
    let sockets = sockets.collect::<Result<_, _>>()?;
    if settings.secure_port != 0 && settings.certificate_path.is_empty() {
        tracing::warn!(
            "no POP3S on port {}: Pop3__CertificatePath is not set",
            settings.secure_port
        );
    }
    Ok(sockets)
}

/// Returns the ports that the settings ask for, with their protocols.
///
/// # Errors
/// If there is none although POP3 is on.
pub fn listeners(settings: &Pop3Settings) -> anyhow::Result<Vec<(u16, ListenerKind)>> {
    if !settings.enabled {
        return Ok(Vec::new());
    }
    let has_certificate = !settings.certificate_path.is_empty();
    let secure_port = settings.secure_port * u16::from(has_certificate);
    let listeners: Vec<_> = [
        (settings.port, ListenerKind::Pop3),
        (secure_port, ListenerKind::Pop3s),
    ]
    .into_iter()
    .filter(|(port, _)| *port != 0)
    .collect();
    anyhow::ensure!(
        !listeners.is_empty(),
        "nothing to listen on: set Pop3__Port, or Pop3__SecurePort and Pop3__CertificatePath"
    );
    Ok(listeners)
}

/// Refuses to serve other machines where maildrops need no key.
///
/// # Errors
/// If any key will do, and this address is not one of loopback.
pub fn refuse_strangers(settings: &Pop3Settings, address: Option<IpAddr>) -> anyhow::Result<()> {
    if settings.require_authentication {
        return Ok(());
    }
    anyhow::ensure!(
        address.is_some_and(|address| address.is_loopback()),
        "Pop3__RequireAuthentication=false opens every maildrop to every client, \
         so it needs Pop3__BindAddress=127.0.0.1 (or ::1)"
    );
    tracing::warn!("any key opens any maildrop: Pop3__RequireAuthentication is false");
    Ok(())
}
