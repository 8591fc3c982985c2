//! A connection to a POP3 server, with TLS on every path where the password could be overheard.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, crypto::ring};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{ServerAccess, ServerAddress, ServerError};

/// Timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum silence of a server.
const SILENCE: Duration = Duration::from_secs(120);

/// Octets that are read at once.
const READ_OCTETS: usize = 64 * 1024;

/// The longest reply line that is taken; RFC 1939 has 512 octets.
const MAX_LINE_OCTETS: u64 = 8 * 1024;

/// Maximum number of lines of a list.
const MAX_LINES: usize = 10_000_000;

/// A stream of octets: TCP or TLS.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection that has been greeted.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// Did the last line end with LF alone?
    has_bare_lf: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and begins TLS: at once, or by STLS unless the server is on this machine.
    pub(super) fn open(
        address: &ServerAddress,
        access: &ServerAccess,
    ) -> Result<Self, ServerError> {
        let place = address.place();
        let socket = connect(address).map_err(|reason| ServerError::NoConnection {
            place: place.clone(),
            reason,
        })?;
        let here = socket.peer_addr()?.ip().to_canonical().is_loopback();
        if address.tls {
            let socket = shake_hands(socket, address, access)?;
            let mut connection = Self::of(socket);
            connection.reply("the connection")?;
            return Ok(connection);
        }
        let mut connection = Self::of(socket.try_clone()?);
        connection.reply("the connection")?;
        // Loopback can't be overheard; an authority that was named is checked all the same.
        if here && access.authority.is_none() {
            return Ok(connection);
        }
        if !connection.begins_tls()? {
            return if access.in_clear {
                Ok(connection)
            } else {
                Err(ServerError::NoTls(place))
            };
        }
        if !connection.stream.buffer().is_empty() {
            // Anyone on the path could have sent it.
            let said = "it has spoken between STLS and TLS";
            return Err(io::Error::new(ErrorKind::InvalidData, said).into());
        }
        Ok(Self::of(shake_hands(socket, address, access)?))
    }

    fn of(stream: impl Stream + 'static) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        Self {
            stream: BufReader::with_capacity(READ_OCTETS, stream),
            has_bare_lf: false,
        }
    }

    /// Asks for TLS, and says whether the server begins it now. One that does not know CAPA
    /// (RFC 2449) may know STLS.
    fn begins_tls(&mut self) -> Result<bool, ServerError> {
        match self.ask("CAPA", "CAPA") {
            Ok(_) => {
                let offered = self.lines()?;
                let is_stls = |line: &String| line.trim().eq_ignore_ascii_case("STLS");
                if !offered.iter().any(is_stls) {
                    return Ok(false);
                }
                self.ask("STLS", "STLS")?;
                Ok(true)
            }
            Err(ServerError::Refused { .. }) => match self.ask("STLS", "STLS") {
                Ok(_) => Ok(true),
                Err(ServerError::Refused { .. }) => Ok(false),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Did the last line end with LF alone, as of servers that know no better?
    pub(super) fn has_bare_lf(&self) -> bool {
        self.has_bare_lf
    }

    /// Sends a command, wants `+OK` and returns what stands behind it. The command is named in the
    /// error, its line is not.
    pub(super) fn ask(&mut self, command: &'static str, line: &str) -> Result<String, ServerError> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        stream.flush()?;
        self.reply(command)
    }

    fn reply(&mut self, command: &'static str) -> Result<String, ServerError> {
        let reply = self.line()?;
        let (status, text) = reply.trim().split_at_checked(3).unwrap_or_default();
        if status.eq_ignore_ascii_case("+OK") {
            return Ok(text.trim().to_owned());
        }
        let reply = reply.escape_debug().to_string();
        Err(ServerError::Refused { command, reply })
    }

    /// The lines of a multi-line reply, up to its final dot.
    pub(super) fn lines(&mut self) -> Result<Vec<String>, ServerError> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.trim_end() == "." {
                return Ok(lines);
            }
            if lines.len() >= MAX_LINES {
                return Err(io::Error::new(ErrorKind::InvalidData, "the list has no end").into());
            }
            lines.push(line.strip_prefix('.').unwrap_or(&line).to_owned());
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut limited = self.stream.by_ref().take(MAX_LINE_OCTETS);
        limited.read_until(b'\n', &mut line).map_err(explained)?;
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        self.has_bare_lf = !text.ends_with(b"\r");
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Returns the octets that have come and were not taken yet; none if the server has closed.
    pub(super) fn octets(&mut self) -> io::Result<&[u8]> {
        self.stream.fill_buf().map_err(explained)
    }

    /// Takes so many octets.
    pub(super) fn consume(&mut self, octets: usize) {
        self.stream.consume(octets);
    }
}

/// Explains a timeout, which the system only calls a temporary error.
fn explained(error: io::Error) -> io::Error {
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        let silent = format!("the server has been silent for {} s", SILENCE.as_secs());
        return io::Error::new(ErrorKind::TimedOut, silent);
    }
    error
}

fn connect(address: &ServerAddress) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    let addresses: Vec<SocketAddr> = (address.host.as_str(), address.port)
        .to_socket_addrs()?
        .collect();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => {
                socket.set_read_timeout(Some(SILENCE))?;
                socket.set_write_timeout(Some(SILENCE))?;
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Begins TLS and verifies the certificate; the password has not been sent yet.
fn shake_hands(
    mut socket: TcpStream,
    address: &ServerAddress,
    access: &ServerAccess,
) -> Result<StreamOwned<ClientConnection, TcpStream>, ServerError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12, &TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(authorities(access.authority.as_deref())?)
        .with_no_client_auth();
    let untrusted = |reason| ServerError::Untrusted {
        place: address.place(),
        reason,
    };
    let name = match address.host.parse::<IpAddr>() {
        Ok(ip) => ServerName::IpAddress(ip.into()),
        Err(_) => ServerName::try_from(address.host.clone())
            .map_err(|error| untrusted(io::Error::other(error)))?,
    };
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).map_err(|error| {
            let fault = error
                .get_ref()
                .and_then(|it| it.downcast_ref::<rustls::Error>());
            if matches!(fault, Some(rustls::Error::InvalidMessage(_))) {
                ServerError::NotTls(address.place())
            } else {
                untrusted(error)
            }
        })?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// Returns the authorities that may certify a server: those that this machine trusts, or the one
/// that is named.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, ServerError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reason = found.errors.first().map_or_else(
                || "install ca-certificates, or give --ca FILE".to_owned(),
                ToString::to_string,
            );
            let path = "this machine".to_owned();
            return Err(ServerError::BadAuthority { path, reason });
        }
        return Ok(roots);
    };
    let bad = |reason: String| ServerError::BadAuthority {
        path: file.display().to_string(),
        reason,
    };
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("there is none in the form of PEM".to_owned()));
    }
    Ok(roots)
}
