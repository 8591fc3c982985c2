//! Octets that a client has not acknowledged yet.
//!
//! `SIOCOUTQ` would tell it of one socket, but there is no safe API for it. Linux lists all sockets in
//! a file, which is read only while the server stops, at most once a second for all sessions.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;

/// The sockets of this process's network, of IPv4 and of IPv6.
const LISTS: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The time for which the list is used before it is read again.
const FRESH: Duration = Duration::from_secs(1);

/// The unacknowledged octets of each connection, by its two ends.
type Unacknowledged = HashMap<(SocketAddr, SocketAddr), u64>;

static LAST: LazyLock<Mutex<Option<(Instant, Unacknowledged)>>> = LazyLock::new(Mutex::default);

/// Whether the client has yet to acknowledge octets that were sent to it; false if the system does
/// not tell.
pub(super) fn has_unread(stream: &TcpStream) -> bool {
    let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) else {
        return false;
    };
    let ends = (canonical(ours), canonical(theirs));
    let mut last = LAST.lock();
    let (_, unread) = match last.take() {
        Some((at, unread)) if at.elapsed() < FRESH => last.insert((at, unread)),
        Some(_) | None => last.insert((Instant::now(), read())),
    };
    unread.contains_key(&ends)
}

fn read() -> Unacknowledged {
    let mut unread = Unacknowledged::new();
    for list in LISTS {
        // Without such a list, everything counts as acknowledged.
        let list = std::fs::read_to_string(list).unwrap_or_default();
        unread.extend(list.lines().skip(1).filter_map(socket));
    }
    unread
}

/// A line of the list, if octets are unacknowledged: `0: 0100007F:1F90 0100007F:9C40 01
/// 00000010:00000000 …`, which are number, our end, their end, state and the octets that wait to be sent and
/// to be read.
fn socket(line: &str) -> Option<((SocketAddr, SocketAddr), u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (ours, theirs) = (end(fields.next()?)?, end(fields.next()?)?);
    let (unread, _) = fields.nth(1)?.split_once(':')?;
    let unread = u64::from_str_radix(unread, 16).ok()?;
    (unread > 0).then_some(((ours, theirs), unread))
}

fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Each four octets are a number of this machine.
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let octets: [u8; 16] = words.try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn what_a_client_does_not_read_is_unread_until_it_does() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(here).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (connected, accepted) =
                tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut client, (server, _)) = (connected.unwrap(), accepted.unwrap());
            let now = |stream: &TcpStream| {
                LAST.lock().take();
                has_unread(stream)
            };
            assert!(!now(&server));
            // More than the client's side takes by itself.
            while server.try_write(&[b'x'; 65_536]).is_ok() {}
            assert!(now(&server));
            assert!(!now(&client));
            let mut taken = vec![0; 1 << 20];
            let read = async {
                while now(&server) {
                    assert!(client.read(&mut taken).await.unwrap() > 0);
                }
            };
            tokio::time::timeout(Duration::from_secs(60), read)
                .await
                .unwrap();
        }
    }

    #[test]
    fn a_line_that_is_none_is_left_out() {
        for line in [
            "",
            "0: x y",
            "0: 0100007F:1F90 0100007F:9C40 01 zz:00",
            "0: 01:1 02:2 01 1:0",
        ] {
            assert_eq!(socket(line), None, "{line}");
        }
    }
}
