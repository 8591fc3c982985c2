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

/// The client and the rest, after a connection that was sent in pieces of this size.
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
fn a_proxy_may_name_no_client() {
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        b"PROXY UNKNOWN anything at all\r\n".to_vec(),
        v2(0x21, 0x00, b""),
        v2(0x21, 0x00, b"\x04\x00\x03abc"),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x31, &[&[0; 216][..], b"\x04\x00\x03abc"].concat()),
    ] {
        assert_eq!(read(&header), Ok(None), "{}", header.escape_ascii());
    }
}

#[test]
fn a_proxy_without_a_client_is_accepted_with_any_family_and_addresses() {
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
    // The octets behind it stay on the socket.
    for (family, payload) in [(0x00, &b""[..]), (0x41, b"\x01"), (0x31, V4_PAYLOAD)] {
        let sent = [&v2(0x20, family, payload)[..], b"QUIT\r\n"].concat();
        for pieces in [1, 3, 10_000] {
            let expected = (Ok(None), b"QUIT\r\n".to_vec());
            assert_eq!(read_in(pieces, &sent), expected);
        }
    }
}

#[test]
fn octets_behind_the_header_stay_on_the_socket() {
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
            assert!(said.contains("broken"), "{length}: {said}");
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
