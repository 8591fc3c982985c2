//! A POP3 client with timeouts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long it waits for a reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session, as a client sees it.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// What the server said first.
    pub(crate) greeting: String,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream: BufReader::new(stream),
            greeting: String::new(),
        };
        client.greeting = client.read_line();
        assert!(client.greeting.starts_with("+OK"), "{}", client.greeting);
        client
    }

    /// Connects and logs in.
    pub(crate) fn login(address: SocketAddr, user: &str, key: &str) -> Self {
        let mut client = Self::connect(address);
        client.ok(&format!("USER {user}"));
        client.ok(&format!("PASS {key}"));
        client
    }

    /// Sends a line and reads a line of reply, both without their CRLF.
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.send(line);
        self.read_line()
    }

    /// Sends a line whose reply must be positive, and returns its first line.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let reply = self.command(line);
        assert!(reply.starts_with("+OK"), "{line}: {reply}");
        reply
    }

    /// Sends a line whose reply must be positive and of several lines; returns these as they were
    /// before byte-stuffing.
    pub(crate) fn body(&mut self, line: &str) -> Vec<u8> {
        self.ok(line);
        self.read_body()
    }

    /// Sends a line; CRLF is added.
    pub(crate) fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\r\n").as_bytes());
    }

    /// Sends octets.
    pub(crate) fn send_raw(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).unwrap();
    }

    /// Reads one line, without its CRLF.
    pub(crate) fn read_line(&mut self) -> String {
        self.try_read_line().unwrap()
    }

    /// Reads one line, without its CRLF, from a server that may be gone.
    pub(crate) fn try_read_line(&mut self) -> std::io::Result<String> {
        let line = self.read_raw_line()?;
        let line = line.strip_suffix(b"\r\n");
        let line = line.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// Reads lines up to the final dot, and takes the byte-stuffing off.
    pub(crate) fn read_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.read_raw_line().unwrap();
            assert!(line.ends_with(b"\r\n"), "a line has no end");
            if line == b".\r\n" {
                return body;
            }
            body.extend(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// Reads what the server sends until it closes the connection.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    /// Goes without a word, so that the server's next octets are refused.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn read_raw_line(&mut self) -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok(line)
    }
}
