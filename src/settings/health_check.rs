//! The settings of the listener for health checks alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value as Json;

use super::section::section;
use super::value::SettingValue;

section! {
    /// A further listener, which answers `/healthz` and nothing else.
    pub struct HealthCheckSettings in "health_check" {
        /// Where it listens; `None` is off.
        restart url: Option<HealthUrl> = None;
    }
}

/// A URL to listen on, as ASP.NET writes it: `http://+:8082`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthUrl {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// `+` or `*`.
    Everywhere,
    /// `localhost`.
    Localhost,
    Address(IpAddr),
}

/// The port of a URL that has none.
const HTTP_PORT: u16 = 80;

impl HealthUrl {
    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address to listen on; `None` is all addresses, IPv4 and IPv6.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Everywhere => None,
            Host::Localhost => Some(Ipv4Addr::LOCALHOST.into()),
            Host::Address(address) => Some(address),
        }
    }

    /// Returns a second address to listen on, where the machine has it.
    pub fn second_address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Localhost => Some(Ipv6Addr::LOCALHOST.into()),
            Host::Everywhere | Host::Address(_) => None,
        }
    }
}

impl SettingValue for HealthUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        let examples = "such as http://+:8082, http://127.0.0.1:8082 or http://localhost:8082";
        let (scheme, rest) = text.trim().split_once("://").unwrap_or_default();
        if scheme.eq_ignore_ascii_case("https") {
            return Err(format!("health checks have no TLS: write http, {examples}"));
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("this is not a URL to listen on, {examples}"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(format!(
                "the path is always /healthz: write the URL without one, {examples}"
            ));
        }
        let (host, port) = split(authority).ok_or_else(|| {
            format!("the port is not a number from 1 to 65535; write a URL {examples}")
        })?;
        let host = Host::named(host).ok_or_else(|| {
            format!("the host is neither + nor *, nor localhost or an IP address; write a URL {examples}")
        })?;
        Ok(Self { host, port })
    }

    fn to_json(&self) -> Json {
        let port = self.port;
        match self.host {
            Host::Everywhere => format!("http://+:{port}"),
            Host::Localhost => format!("http://localhost:{port}"),
            Host::Address(IpAddr::V4(address)) => format!("http://{address}:{port}"),
            Host::Address(IpAddr::V6(address)) => format!("http://[{address}]:{port}"),
        }
        .into()
    }
}

impl Host {
    fn named(name: &str) -> Option<Self> {
        match name {
            "+" | "*" => Some(Self::Everywhere),
            _ if name.eq_ignore_ascii_case("localhost") => Some(Self::Localhost),
            _ => match name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                Some(inner) => Some(Self::Address(IpAddr::V6(inner.parse().ok()?))),
                None => Some(Self::Address(IpAddr::V4(name.parse().ok()?))),
            },
        }
    }
}

/// Returns the host and the port.
fn split(authority: &str) -> Option<(&str, u16)> {
    // In [::1] the last colon belongs to the address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        Some(_) | None => return Some((authority, HTTP_PORT)),
    };
    let is_number = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port != 0)?;
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_listen() {
        let all_v6: IpAddr = Ipv6Addr::UNSPECIFIED.into();
        let here: IpAddr = Ipv4Addr::LOCALHOST.into();
        for (text, address, port) in [
            ("http://+:8082", None, 8082),
            ("http://*:8082/", None, 8082),
            (
                "HTTP://0.0.0.0:8082",
                Some(Ipv4Addr::UNSPECIFIED.into()),
                8082,
            ),
            ("http://[::]:8082", Some(all_v6), 8082),
            ("http://[::]", Some(all_v6), 80),
            (" http://LocalHost:65535 ", Some(here), 65535),
            ("http://127.0.0.1", Some(here), 80),
        ] {
            let url = HealthUrl::from_text(text).unwrap();
            assert_eq!((url.address(), url.port()), (address, port), "{text}");
            let shown = url.to_json();
            assert_eq!(HealthUrl::from_text(shown.as_str().unwrap()), Ok(url));
        }
    }

    #[test]
    fn localhost_is_both_addresses_of_loopback() {
        let second = |text| HealthUrl::from_text(text).unwrap().second_address();
        assert_eq!(
            second("http://localhost:1"),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        assert_eq!(second("http://127.0.0.1:1"), None);
        assert_eq!(second("http://+:1"), None);
    }

    #[test]
    fn what_is_no_such_url_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("https://+:8082", "no TLS"),
            ("http://+:8082/healthz", "without one"),
            ("http://+:8082//", "without one"),
            ("http://+:8082?x", "without one"),
            ("http://+:0", "the port"),
            ("http://+:65536", "the port"),
            ("http://+:+82", "the port"),
            ("http://+:", "the port"),
            ("http://[::1]:x", "the port"),
            ("http://", "the host"),
            ("http://:8082", "the host"),
            ("http://pop3.example.org:8082", "the host"),
            ("http://u:hunter2@localhost:8082", "the host"),
            ("http://::1:8082", "the host"),
            ("http://+:1;http://+:2", "without one"),
            ("+:8082", "not a URL"),
            ("8082", "not a URL"),
            ("tcp://+:8082", "not a URL"),
        ] {
            let error = HealthUrl::from_text(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
