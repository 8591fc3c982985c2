//! A client of SMTP and LMTP that does one thing after the other.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long it waits for a reply.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session, as a client sees it.
pub(super) struct Smtp(BufReader<TcpStream>);

impl Smtp {
    /// Connects by TCP and says EHLO.
    pub(super) fn hello(port: u16) -> Self {
        Self::greet(port, "EHLO").unwrap()
    }

    /// Connects by TCP and says LHLO, if anybody is there.
    pub(super) fn lmtp(port: u16) -> std::io::Result<Self> {
        Self::greet(port, "LHLO")
    }

    fn greet(port: u16, verb: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut session = Self(BufReader::new(stream));
        session.reply()?;
        session.ask(&format!("{verb} client.example.net"))?;
        Ok(session)
    }

    /// Sends a command; returns its reply.
    pub(super) fn ask(&mut self, line: &str) -> std::io::Result<String> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends a command whose reply must begin like this.
    pub(super) fn expect(&mut self, line: &str, reply: &str) -> String {
        let said = self.ask(line).unwrap();
        assert!(said.starts_with(reply), "{line}: {said}");
        said
    }

    /// Gives a message to a mail server, which takes it.
    pub(super) fn submit(&mut self, sender: &str, recipients: &[&str], message: &[u8]) {
        self.expect(&format!("MAIL FROM:<{sender}> BODY=8BITMIME"), "250");
        for recipient in recipients {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250");
        }
        self.expect("DATA", "354");
        self.write(&stuffed(message)).unwrap();
        let said = self.reply().unwrap();
        assert!(said.starts_with("250"), "{said}");
    }

    /// Sends octets.
    pub(super) fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(octets)
    }

    /// Reads a reply, of one or more lines.
    pub(super) fn reply(&mut self) -> std::io::Result<String> {
        let mut reply = String::new();
        loop {
            let before = reply.len();
            if self.0.read_line(&mut reply)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if reply.as_bytes().get(before + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}

/// A message as it goes over the wire, with its final dot.
pub(super) fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 100);
    let mut line_begins = true;
    for &octet in message {
        if line_begins && octet == b'.' {
            wire.push(b'.');
        }
        wire.push(octet);
        line_begins = wire.ends_with(b"\r\n");
    }
    if !line_begins {
        wire.extend(b"\r\n");
    }
    wire.extend(b".\r\n");
    wire
}
