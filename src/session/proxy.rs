//! The PROXY protocol, versions 1 and 2: who the client of a proxy is.
//!
//! A header is looked at before it is taken from the socket, so what follows it stays there for
//! TLS or POP3.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a proxy may take to send its header, which it does at once.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest line of version 1, with its CRLF.
const MAX_V1_OCTETS: usize = 107;

/// The longest header of version 2 that is taken: addresses, and what a proxy may add to them.
const MAX_V2_OCTETS: usize = 4096;

/// How version 1 begins.
const V1: &[u8] = b"PROXY ";

/// How version 2 begins.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What of version 2 says how long the header is: the signature, version, family and length.
const V2_FIXED_OCTETS: usize = 16;

/// The version 2 and the command LOCAL: the proxy speaks for itself, as when it checks our health.
const V2_LOCAL: u8 = 0x20;

/// What the lower half of the family is if the client sends datagrams, which is not POP3.
const V2_DATAGRAM: u8 = 0x02;

/// Why a connection of a proxy can't be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the connection begins without a header of the PROXY protocol")]
    Missing,
    #[error("the header of the PROXY protocol is malformed")]
    Malformed,
    #[error("the header of the PROXY protocol is longer than {MAX_V2_OCTETS} octets")]
    TooLong,
    #[error("the header of the PROXY protocol did not come within {} s", HEADER_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the connection broke off in the header of the PROXY protocol: {0}")]
    Broken(#[from] io::Error),
}

/// Could this be how a connection through a proxy begins?
pub(super) fn begins_header(octets: &[u8]) -> bool {
    octets.starts_with(V1) || octets.starts_with(V2)
}

/// Takes the header off the connection. The client, unless the proxy speaks for itself.
pub(super) async fn read_header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
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

/// What is missing of a header of which this has come.
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

/// Reads a header that is there as a whole; it must have nothing behind it.
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
        // A client on a Unix socket of the proxy has no address, and the proxy's counts.
        Ok((parsed, octets)) if octets == header.len() => {
            Ok(parsed.proxied_address().map(|client| client.source))
        }
        // Too short is too short for what it says is in it: all of it is there.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(version: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [V2, &[version, family], &length, payload].concat()
    }

    const V4_PAYLOAD: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0, 110];

    fn v6_payload() -> Vec<u8> {
        let mut payload = vec![0x20, 1, 0xd, 0xb8];
        payload.extend([0; 11]);
        payload.push(1);
        payload.extend([0; 16]);
        payload.extend([0x30, 0x39, 0, 110]);
        payload
    }

    /// What a server makes of a connection that begins so and then ends, in pieces of this size.
    fn read_in(pieces: usize, sent: &[u8]) -> (Result<Option<SocketAddr>, String>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = async {
                use tokio::io::AsyncWriteExt;
                let mut client = TcpStream::connect(address).await.unwrap();
                client.set_nodelay(true).unwrap();
                for piece in sent.chunks(pieces) {
                    // The server may have closed already.
                    drop(client.write_all(piece).await);
                    tokio::task::yield_now().await;
                }
                drop(client.shutdown().await);
                client
            };
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let header = read_header(&mut stream).await;
                let mut rest = Vec::new();
                drop(stream.read_to_end(&mut rest).await);
                (header.map_err(|error| error.to_string()), rest)
            };
            let (_client, read) = tokio::join!(client, server);
            read
        })
    }

    fn read(sent: &[u8]) -> Result<Option<SocketAddr>, String> {
        read_in(sent.len().max(1), sent).0
    }

    fn is(address: &str) -> Result<Option<SocketAddr>, String> {
        Ok(Some(address.parse().unwrap()))
    }

    #[test]
    fn version_1_names_the_client() {
        let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 110\r\n";
        assert_eq!(read(header), is("192.0.2.1:12345"));
        let header = b"PROXY TCP6 2001:db8::1 ::1 12345 110\r\n";
        assert_eq!(read(header), is("[2001:db8::1]:12345"));
    }

    #[test]
    fn version_2_names_the_client_and_what_else_it_says_is_skipped() {
        let header = v2(0x21, 0x11, V4_PAYLOAD);
        assert_eq!(read(&header), is("192.0.2.1:12345"));
        let header = v2(0x21, 0x21, &v6_payload());
        assert_eq!(read(&header), is("[2001:db8::1]:12345"));
        let more = [V4_PAYLOAD, b"\x02\x00\x03abc\xff\xff\xff"].concat();
        assert_eq!(read(&v2(0x21, 0x11, &more)), is("192.0.2.1:12345"));
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            b"PROXY UNKNOWN whatever it is\r\n".to_vec(),
            v2(0x21, 0x00, b""),
            v2(0x21, 0x00, b"\x04\x00\x03abc"),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x31, &[&[0; 216][..], b"\x04\x00\x03abc"].concat()),
        ] {
            assert_eq!(read(&header), Ok(None), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_is_taken_whatever_family_and_addresses_it_tells() {
        for family in 0..=u8::MAX {
            for payload in [
                &b""[..],
                b"\x04",
                b"\x04\x00\x03abc",
                V4_PAYLOAD,
                &[0xff; 300],
            ] {
                assert_eq!(parse(&v2(0x20, family, payload)).unwrap(), None, "{family}");
            }
        }
        // Nor is anything behind it taken for a part of it.
        for (family, payload) in [(0x00, &b""[..]), (0x41, b"\x01"), (0x31, V4_PAYLOAD)] {
            let sent = [&v2(0x20, family, payload)[..], b"QUIT\r\n"].concat();
            for pieces in [1, 3, 10_000] {
                let expected = (Ok(None), b"QUIT\r\n".to_vec());
                assert_eq!(read_in(pieces, &sent), expected);
            }
        }
    }

    #[test]
    fn what_stands_behind_the_header_is_left_to_others() {
        let behind = b"USER ada\r\nPASS key\r\n\x16\x03\x01";
        for header in [
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 110\r\n".to_vec(),
            v2(0x21, 0x11, V4_PAYLOAD),
            v2(0x21, 0x11, &[V4_PAYLOAD, &[4; 500]].concat()),
        ] {
            let sent = [&header, &behind[..]].concat();
            for pieces in [1, 2, 7, 16, 10_000] {
                let (client, rest) = read_in(pieces, &sent);
                assert_eq!(client, is("192.0.2.1:12345"), "pieces of {pieces}");
                assert_eq!(rest, behind, "pieces of {pieces}");
            }
        }
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for sent in [
            &b"PROXY\r\n"[..],
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 110\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 123456 110\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 12345 110\r\n",
            b"PROXY TCP6 192.0.2.1 10.0.0.1 12345 110\r\n",
            b"PROXY UDP4 192.0.2.1 10.0.0.1 12345 110\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 110 x\r\n",
            &[b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat(),
            &v2(0x31, 0x11, V4_PAYLOAD),
            &v2(0x22, 0x11, V4_PAYLOAD),
            &v2(0x21, 0x11, &V4_PAYLOAD[..11]),
            &v2(0x21, 0x21, V4_PAYLOAD),
            &v2(0x21, 0x41, V4_PAYLOAD),
            &v2(0x21, 0x12, V4_PAYLOAD),
            &v2(0x21, 0x22, &v6_payload()),
            &v2(0x21, 0x32, &[0; 216]),
            &v2(0x21, 0x31, &[0; 215]),
            &v2(0x30, 0x00, b""),
        ] {
            let said = read(sent).unwrap_err();
            let expected = [HeaderError::Malformed, HeaderError::Missing].map(|it| it.to_string());
            assert!(expected.contains(&said), "{}: {said}", sent.escape_ascii());
        }
    }

    #[test]
    fn a_missing_header_is_seen_before_anything_is_waited_for() {
        for sent in [
            &b"USER ada\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01",
            b"QUIT\r\n",
        ] {
            assert_eq!(read(sent).unwrap_err(), HeaderError::Missing.to_string());
        }
    }

    #[test]
    fn a_header_that_ends_too_early_is_refused() {
        for whole in [
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 110\r\n".to_vec(),
            v2(0x21, 0x11, V4_PAYLOAD),
        ] {
            for length in 0..whole.len() {
                let said = read(&whole[..length]).unwrap_err();
                assert!(said.contains("broke off"), "{length}: {said}");
            }
        }
    }

    #[test]
    fn a_header_of_version_2_may_have_4096_octets_and_no_more() {
        let most = vec![0; MAX_V2_OCTETS - V2_FIXED_OCTETS];
        let header = |octets| v2(0x21, 0x00, &most[..octets]);
        assert_eq!(read(&header(most.len())), Ok(None));
        let mut too_long = header(most.len());
        too_long[14..16].copy_from_slice(&4081_u16.to_be_bytes());
        assert_eq!(
            read(&too_long).unwrap_err(),
            HeaderError::TooLong.to_string()
        );
    }

    proptest! {
        #[test]
        fn no_octets_break_it(octets: Vec<u8>, cut in 0_usize..16) {
            drop(missing(&octets));
            drop(parse(&octets));
            for begin in [V1, V2] {
                let sent = [&begin[..cut.min(begin.len())], &octets].concat();
                drop(missing(&sent));
                drop(parse(&sent));
            }
        }
    }
}
