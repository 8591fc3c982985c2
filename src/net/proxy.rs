//! The PROXY protocol, versions 1 and 2, by which a proxy names its client.
//!
//! A header is peeked at before it is taken from the socket, so the octets behind it stay there for
//! TLS or the protocol.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest time until the header of a proxy, which sends it at once.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest line of version 1, with its CRLF.
const MAX_V1_OCTETS: usize = 107;

/// The longest accepted header of version 2, with the extensions that a proxy may add.
const MAX_V2_OCTETS: usize = 4096;

/// The first octets of version 1.
const V1: &[u8] = b"PROXY ";

/// The first octets of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2: the signature, version, family and length.
const V2_FIXED_OCTETS: usize = 16;

/// Version 2 and the command LOCAL: the proxy has no client, as in a health check.
const V2_LOCAL: u8 = 0x20;

/// The lower half of the family for datagrams, which no protocol here uses.
const V2_DATAGRAM: u8 = 0x02;

/// A connection of a proxy that can't be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("PROXY header missing")]
    Missing,
    #[error("malformed PROXY header")]
    Malformed,
    #[error("PROXY header longer than {MAX_V2_OCTETS} octets")]
    TooLong,
    #[error("no PROXY header within {} s", HEADER_TIMEOUT.as_secs())]
    TimedOut,
    #[error("connection broken in the PROXY header: {0}")]
    Broken(#[from] io::Error),
}

/// Returns true if a connection that begins so comes through a proxy.
pub(super) fn begins_header(octets: &[u8]) -> bool {
    octets.starts_with(V1) || octets.starts_with(V2)
}

/// Takes the header off the connection; returns the client, if the proxy names one.
pub(crate) async fn read_header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let header = tokio::time::timeout(HEADER_TIMEOUT, take_header(stream)).await;
    parse(&header.map_err(|_| HeaderError::TimedOut)??)
}

async fn take_header(stream: &mut TcpStream) -> Result<Vec<u8>, HeaderError> {
    let mut header = Vec::new();
    let mut ahead = [0; MAX_V1_OCTETS];
    loop {
        let wanted = match missing(&header)? {
            Missing::Nothing => return Ok(header),
            Missing::Octets(octets) => octets.min(ahead.len()),
            Missing::RestOfLine => MAX_V1_OCTETS - header.len(),
        };
        let seen = stream
            .peek(ahead.get_mut(..wanted).unwrap_or_default())
            .await?;
        let seen = ahead.get(..seen).unwrap_or_default();
        if seen.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let line_end = seen.iter().position(|octet| *octet == b'\n');
        let of_line = line_end.filter(|_| header.starts_with(V1));
        let take = of_line.map_or(seen.len(), |end| end + 1);
        let begun = header.len();
        header.resize(begun + take, 0);
        let taken = header.get_mut(begun..).unwrap_or_default();
        stream.read_exact(taken).await?;
    }
}

/// The missing part of an incomplete header.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    Octets(usize),
    RestOfLine,
}

fn missing(header: &[u8]) -> Result<Missing, HeaderError> {
    if V1.starts_with(header) || V2.starts_with(header) {
        let short = V1.len().min(V2.len());
        return Ok(match header.len() {
            begun if begun < short => Missing::Octets(short - begun),
            begun if V2.starts_with(header) => Missing::Octets(V2_FIXED_OCTETS - begun),
            _ => Missing::RestOfLine,
        });
    }
    if header.starts_with(V1) {
        return match header.last() {
            Some(b'\n') => Ok(Missing::Nothing),
            Some(_) | None if header.len() >= MAX_V1_OCTETS => Err(HeaderError::Malformed),
            Some(_) | None => Ok(Missing::RestOfLine),
        };
    }
    if !header.starts_with(V2) {
        return Err(HeaderError::Missing);
    }
    let Some([high, low]) = header.get(V2_FIXED_OCTETS - 2..V2_FIXED_OCTETS) else {
        return Ok(Missing::Octets(V2_FIXED_OCTETS - header.len()));
    };
    let whole = V2_FIXED_OCTETS + usize::from(u16::from_be_bytes([*high, *low]));
    match whole.checked_sub(header.len()) {
        _ if whole > MAX_V2_OCTETS => Err(HeaderError::TooLong),
        Some(0) => Ok(Missing::Nothing),
        Some(octets) => Ok(Missing::Octets(octets)),
        None => Err(HeaderError::Malformed),
    }
}

/// Reads a complete header, with nothing behind it.
fn parse(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    match header.strip_prefix(V2) {
        // The receiver discards the rest, "including the family which is ignored" (section 2.2).
        Some([V2_LOCAL, _, _, _, ..]) => return Ok(None),
        Some([_, family, ..]) if family & 0x0f == V2_DATAGRAM => {
            return Err(HeaderError::Malformed);
        }
        Some(_) | None => {}
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    match ProxyHeader::parse(header, config) {
        // A client on a Unix socket of the proxy has no address; the proxy's own is used.
        Ok((parsed, octets)) if octets == header.len() => {
            Ok(parsed.proxied_address().map(|client| client.source))
        }
        // The header is complete, so one that is too short contradicts its own length.
        Ok(_) | Err(_) => Err(HeaderError::Malformed),
    }
}

/// Reads a header off any octets, as [`take_header`] does off a connection.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(octets: &[u8]) {
    let mut taken = 0;
    loop {
        let (header, ahead) = octets.split_at_checked(taken).unwrap_or((octets, &[]));
        let wanted = match missing(header) {
            Ok(Missing::Nothing) => {
                drop(parse(header));
                return;
            }
            Ok(Missing::Octets(octets)) => octets,
            Ok(Missing::RestOfLine) => {
                let line = ahead.iter().position(|octet| *octet == b'\n');
                let wanted = MAX_V1_OCTETS.checked_sub(header.len());
                wanted.map_or(0, |wanted| line.map_or(wanted, |end| wanted.min(end + 1)))
            }
            Err(_) => return,
        };
        assert!(wanted > 0, "it waits for nothing");
        if ahead.len() < wanted {
            return;
        }
        taken += wanted;
        assert!(taken <= MAX_V2_OCTETS, "it reads without end");
    }
}

#[cfg(test)]
mod tests;
