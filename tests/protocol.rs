//! What goes over the wire and a transcript can't say: much at once, bit by bit, slowly, at the
//! same time, and at the end of the server.

mod another_store;
mod elsewhere;
mod octets;
mod patience;
mod sessions;
mod stopping;
mod stream;

use std::net::{SocketAddr, TcpStream};

use crate::served::Served;
use crate::support::{place, run};

/// More than the buffers of a connection hold.
const HUGE: usize = 20_000_000;

/// How large the pieces are in which a message is stored.
const CHUNK: usize = restante::store::CHUNK_OCTETS;

const SMALL: &[u8] = b"Subject: small\r\n\r\nbody\r\n";

/// Runs a test on a server over each kind of database, all at the same time.
fn on_each(test: impl Fn(&Served) + Sync) {
    let places = place::everywhere();
    std::thread::scope(|scope| {
        for place in places {
            let thread = std::thread::Builder::new().name(format!("{:?}", place.kind));
            let test = &test;
            let serve = move || test(&Served::start(place, &[]));
            thread.spawn_scoped(scope, serve).unwrap();
        }
    });
}

fn sqlite() -> Served {
    sqlite_with(&[])
}

fn sqlite_with(settings: &[(&str, &str)]) -> Served {
    Served::start(place::sqlite(), settings)
}

/// A message of so many octets that is quickly made.
fn huge(octets: usize) -> Vec<u8> {
    let lines = b"0123456789 abcdefghijklmnopqrstuvwxyz\r\n..a line with dots.\r\n\r\n";
    let mut message = b"Subject: huge\r\n\r\n".to_vec();
    message.extend(lines.repeat(octets / lines.len()));
    message
}

/// The header, the blank line and so many lines of a message, as simply as it can be said.
fn top(message: &[u8], lines: usize) -> Vec<u8> {
    let mut all = message.split_inclusive(|octet| *octet == b'\n');
    let mut top = Vec::new();
    for line in all.by_ref() {
        top.extend(line);
        if line == b"\r\n" {
            break;
        }
    }
    top.extend(all.take(lines).flatten());
    top
}

/// Compares without printing megabytes.
fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    let at = got.iter().zip(expected).position(|(a, b)| a != b);
    let (got, expected) = (got.len(), expected.len());
    assert!(
        at.is_none() && got == expected,
        "{what}: {got} octets instead of {expected}, different at {at:?}"
    );
}

/// The receiver's window stays small, so the server can never send much at once.
fn connect_with_small_buffer(address: SocketAddr) -> TcpStream {
    run(async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    })
}

/// The message in a reply of several lines, whose first line has been read.
fn unstuffed(reply: &[u8]) -> Vec<u8> {
    let lines = reply.strip_suffix(b".\r\n").unwrap();
    let lines = lines.split_inclusive(|octet| *octet == b'\n');
    let unstuffed = lines.map(|line| line.strip_prefix(b".").unwrap_or(line));
    unstuffed.flatten().copied().collect()
}
