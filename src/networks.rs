//! Lists of networks, for settings and keys.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// Networks of IPv4 and IPv6: `192.0.2.0/24, 2001:db8::/32, 198.51.100.7`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Returns whether this address is in one of them. An IPv4-mapped address counts as IPv4.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Reads the networks of a limit, of which there is at least one: none would mean all.
    ///
    /// # Errors
    /// If it names none, or something else.
    pub fn limit(text: &str) -> Result<Self, String> {
        let networks: Self = text
            .parse()
            .map_err(|error: NotANetwork| error.to_string())?;
        if networks.is_empty() {
            return Err("it names no network, and without one there would be no limit".into());
        }
        Ok(networks)
    }

    /// Returns whether one of them is all of IPv4 or of IPv6.
    pub fn are_everywhere(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns the network that a client counts for: an address of IPv4, or the 64 bits of IPv6 that
/// one customer has and can choose a new address from for each connection.
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

impl FromIterator<Self> for Networks {
    fn from_iter<T: IntoIterator<Item = Self>>(lists: T) -> Self {
        Self(lists.into_iter().flat_map(|list| list.0).collect())
    }
}

/// An error in a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 192.0.2.0/24 or 2001:db8::/32, and no IP address")]
pub struct NotANetwork(String);

impl FromStr for Networks {
    type Err = NotANetwork;

    /// Reads networks and addresses that are separated by commas or spaces.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        words.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(word: &str) -> Result<IpNet, NotANetwork> {
    let address = || word.parse::<IpAddr>().map(|it| it.to_canonical().into());
    let network: Result<IpNet, _> = word.parse().or_else(|_| address());
    let network = network.map_err(|_| NotANetwork(word.to_owned()))?;
    // Clients are compared in the form of IPv4, so ::ffff:192.0.2.0/120 would never fit.
    let mapped = matches!(network, IpNet::V6(it) if it.addr().to_ipv4_mapped().is_some());
    if mapped {
        return Err(NotANetwork(word.to_owned()));
    }
    Ok(network.trunc())
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{network}")?;
        }
        Ok(())
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_its_networks_and_no_others() {
        let networks = networks("192.0.2.0/24, 198.51.100.7 2001:db8::/32,");
        for inside in ["192.0.2.0", "192.0.2.255", "198.51.100.7", "2001:db8::1"] {
            assert!(networks.contain(address(inside)), "{inside}");
        }
        for outside in ["192.0.3.0", "198.51.100.8", "2001:db9::1", "::1"] {
            assert!(!networks.contain(address(outside)), "{outside}");
        }
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client() {
        assert!(networks("192.0.2.0/24").contain(address("::ffff:192.0.2.1")));
        assert!(networks("::ffff:192.0.2.1").contain(address("192.0.2.1")));
    }

    #[test]
    fn a_client_is_counted_by_its_ipv4_address_or_its_64_bits_of_ipv6() {
        for (client, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(client_network(address(client)), address(network));
        }
    }

    #[test]
    fn none_contain_nobody() {
        assert!(networks("").is_empty());
        assert!(!networks(" , ").contain(address("127.0.0.1")));
        assert!(Networks::limit(" , ").is_err());
        assert_eq!(Networks::limit("::1"), Ok(networks("::1")));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in [
            "10.0.0.0/33",
            "ten",
            "10.0.0",
            "10.0.0.0/8/8",
            "::ffff:1.2.3.0/120",
        ] {
            let error = format!("192.0.2.1,{text}").parse::<Networks>().unwrap_err();
            assert_eq!(error, NotANetwork(text.to_owned()));
        }
    }

    #[test]
    fn they_are_shown_as_they_are_read() {
        let text = "192.0.2.0/24, 198.51.100.7/32, 2001:db8::/32";
        assert_eq!(networks(text).to_string(), text);
        assert_eq!(networks("192.0.2.9/24").to_string(), "192.0.2.0/24");
    }
}
