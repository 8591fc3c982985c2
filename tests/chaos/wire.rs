//! A client of POP3 or LMTP whose server may be gone at any moment.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take to answer. A frozen one takes longer than that.
const PATIENCE: Duration = Duration::from_secs(70);

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects and reads the greeting.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut wire = Self(BufReader::new(stream));
        wire.line()?;
        Ok(wire)
    }

    /// Sends a line and reads the first line of the reply.
    pub(crate) fn command(&mut self, line: &str) -> io::Result<String> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.line()
    }

    /// Sends a line whose reply must begin so.
    pub(crate) fn expect(&mut self, line: &str, reply: &str) -> io::Result<String> {
        let got = self.command(line)?;
        if got.starts_with(reply) {
            return Ok(got);
        }
        Err(Error::other(format!("{line}: {got}")))
    }

    pub(crate) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(octets)
    }

    /// Sends a message with the dots that it needs, and its end.
    pub(crate) fn send_stuffed(&mut self, message: &[u8]) -> io::Result<()> {
        let mut stuffed = Vec::with_capacity(message.len() + 100);
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend(line);
        }
        stuffed.extend(b".\r\n");
        self.send(&stuffed)
    }

    /// Reads a line, without its CRLF.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let line = self.raw_line()?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Reads lines up to the final dot, and takes the byte-stuffing off.
    pub(crate) fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.raw_line()?;
            if line == b".\r\n" {
                return Ok(body);
            }
            body.extend(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    fn raw_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        if line.ends_with(b"\r\n") {
            return Ok(line);
        }
        Err(ErrorKind::UnexpectedEof.into())
    }
}
