//! Mail that comes in by LMTP, over the wire, and goes out by POP3.

mod addresses;
mod breaking;
mod delivering;
mod limits;
mod sessions;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use restante::accounts::Accounts;

use crate::support::daemon::Daemon;
use crate::support::mail::{ADA, BOB, fill};
use crate::support::place::Place;
use crate::support::postgres::free_port;
use crate::support::{eventually, run};

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of an MTA.
pub(crate) trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// An MTA, as far as LMTP needs one.
pub(crate) struct Mta(BufReader<Box<dyn Wire>>);

impl Mta {
    /// Connects, reads the greeting and says LHLO.
    pub(crate) fn hello(port: u16) -> Self {
        let mut mta = Self::connect(port);
        mta.expect("LHLO mx.example.com", "250-");
        while !mta.read().starts_with("250 ") {}
        mta
    }

    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::greeted(Box::new(stream))
    }

    /// Connects to a server that may refuse.
    fn connect_silently(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(Box::new(stream)))
    }

    fn connect_unix(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::greeted(Box::new(stream))
    }

    fn greeted(stream: Box<dyn Wire>) -> Self {
        let mut mta = Self(BufReader::new(stream));
        let greeting = mta.read();
        assert!(greeting.starts_with("220 "), "{greeting}");
        mta
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    /// Reads a line, without its CRLF; nothing if the server has closed.
    pub(crate) fn read(&mut self) -> String {
        let mut line = String::new();
        // A connection that was reset reads nothing, too.
        drop(self.0.read_line(&mut line));
        line.trim_end_matches("\r\n").to_owned()
    }

    /// Sends a line whose reply must begin so.
    pub(crate) fn expect(&mut self, line: &str, reply: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        let got = self.read();
        assert!(got.starts_with(reply), "{line}: {got}");
        got
    }

    /// Begins a transaction.
    pub(crate) fn to(&mut self, recipients: &[&str]) {
        self.expect("MAIL FROM:<eve@example.net>", "250 2.1.0");
        for recipient in recipients {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250 2.1.5");
        }
    }

    /// Sends a message by DATA, as it must look on the wire; reads so many replies.
    pub(crate) fn data(&mut self, message: &[u8], replies: usize) -> Vec<String> {
        self.expect("DATA", "354");
        self.send(&stuffed(message));
        (0..replies).map(|_| self.read()).collect()
    }

    /// Sends a message by BDAT in pieces of this size; reads so many replies at the end.
    pub(crate) fn bdat(&mut self, message: &[u8], octets: usize, replies: usize) -> Vec<String> {
        for piece in message.chunks(octets) {
            self.send(format!("BDAT {}\r\n", piece.len()).as_bytes());
            self.send(piece);
            let taken = self.read();
            assert!(taken.starts_with("250 2.0.0"), "{taken}");
        }
        self.send(b"BDAT 0 LAST\r\n");
        (0..replies).map(|_| self.read()).collect()
    }
}

/// A message in whole lines, with the dots that DATA needs and its end.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut at_start = true;
    for (at, octet) in message.iter().enumerate() {
        if at_start && *octet == b'.' {
            stream.push(b'.');
        }
        stream.push(*octet);
        at_start = message[..=at].ends_with(b"\r\n");
    }
    // A bare LF would be no line end here.
    assert!(at_start, "the message ends within a line");
    stream.extend(b".\r\n");
    stream
}

/// A server with two users that takes mail in.
struct Office {
    daemon: Daemon,
    port: u16,
    keys: [String; 2],
}

impl Office {
    fn open(place: &Place) -> Self {
        Self::open_with(place, &[])
    }

    fn open_with(place: &Place, settings: &[(&str, &str)]) -> Self {
        let keys = [ADA, BOB].map(|user| fill(&place.url, user, &[]));
        let port = free_port();
        let (daemon, port) = (start(place, port, settings), port);
        Self { daemon, port, keys }
    }

    fn mta(&self) -> Mta {
        Mta::hello(self.port)
    }

    /// Every message of a user, the oldest first, without what delivery put in front.
    fn received(&self, user: usize) -> Vec<Vec<u8>> {
        let messages = self.received_with_trace_headers(user);
        messages
            .iter()
            .map(|message| without_head(message))
            .collect()
    }

    fn received_with_trace_headers(&self, user: usize) -> Vec<Vec<u8>> {
        let mut client = self.daemon.login([ADA, BOB][user], &self.keys[user]);
        let stat = client.ok("STAT");
        let count: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
        (1..=count)
            .map(|n| client.body(&format!("RETR {n}")))
            .collect()
    }
}

fn start(place: &Place, port: u16, settings: &[(&str, &str)]) -> Daemon {
    let lmtp = port.to_string();
    let mut all = vec![("Lmtp__Port", lmtp.as_str())];
    all.extend(settings);
    let daemon = Daemon::start_with(&place.url, &all);
    eventually("LMTP to listen", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    daemon
}

/// What stands behind Return-Path, Delivered-To and the three lines of Received.
fn without_head(message: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = message.split_inclusive(|octet| *octet == b'\n').collect();
    assert!(lines[0].starts_with(b"Return-Path: <"));
    assert!(lines[1].starts_with(b"Delivered-To: "));
    assert!(lines[2].starts_with(b"Received: from "));
    assert!(lines[4].starts_with(b"\tfor <"));
    lines[5..].concat()
}

/// How many rows are in these tables together.
fn rows(place: &Place, tables: &[&str]) -> i64 {
    run(async || {
        let sql = place.sql().await;
        let mut rows = 0;
        for table in tables {
            rows += sql.count(table).await;
        }
        sql.close().await;
        rows
    })
}

/// What to ask about users.
async fn accounts(place: &Place) -> Accounts {
    Accounts::new(place.open().await)
}
