//! The maildrop of another POP3 server.
//!
//! It is only read: nothing is ever marked as deleted there.

mod address;
mod connection;

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};

use thiserror::Error;
use wire::LenientUnstuffing;

use super::{Item, OldId};

pub use address::{ServerAccess, ServerAddress};

use connection::Connection;

/// Reasons why a maildrop can't be read.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Not the form of an address.
    #[error(
        "{0} is no address of a maildrop: the form is pop3s://USER@HOST, with %40 for an @ in USER"
    )]
    NotAnAddress(String),
    /// There is a password in the address.
    #[error(
        "a password in the address would be seen by everybody on this machine: \
         put it into RESTANTE_IMPORT_PASSWORD"
    )]
    PasswordInAddress,
    /// No server answers.
    #[error("no connection to {place}: {reason}")]
    NoConnection {
        /// Host and port.
        place: String,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// No certificate of an authority could be read.
    #[error("{path} holds no certificate of an authority: {reason}")]
    BadAuthority {
        /// The file, or the machine's own.
        path: String,
        /// The reason.
        reason: String,
    },
    /// Something else than TLS is spoken there.
    #[error("{0} does not speak TLS from the first octet on; pop3:// is for a port with STLS")]
    NotTls(String),
    /// The server can't be trusted with a password.
    #[error(
        "{place} has no certificate to be trusted: {reason} (--ca FILE names a private authority)"
    )]
    Untrusted {
        /// Host and port.
        place: String,
        /// The reason.
        reason: io::Error,
    },
    /// The password would go in clear over a network.
    #[error(
        "{0} offers no TLS, so the password would go in clear: use pop3s://, or --plaintext if \
         nobody can listen in"
    )]
    NoTls(String),
    /// The server refuses.
    #[error("the server refuses {command}: {reply}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The reply.
        reply: String,
    },
    /// The connection broke, or what came is not POP3.
    #[error("the connection with the server broke: {0}")]
    Broken(#[from] io::Error),
}

/// A line of LIST or UIDL: the number of a message, and what is said of it.
fn numbered(line: &str) -> Result<(u32, &str), ServerError> {
    let line = line.trim();
    let (number, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let number = number.parse().map(|number| (number, rest.trim()));
    number.map_err(|_| {
        let what = format!("\"{}\" is no line of a list", line.escape_debug());
        io::Error::new(ErrorKind::InvalidData, what).into()
    })
}

/// The number of a message, its octets, and its unique-id if the server has listed it.
type Listed = (u32, u64, OldId);

/// Maximum number of messages that are asked for by number, where a server lists none.
const MAX_MESSAGES: u32 = 10_000_000;

/// Number of broken connections after which nothing more is read.
const MAX_BREAKS: u32 = 10;

/// An open maildrop.
pub(super) struct Server {
    connection: Connection,
    address: ServerAddress,
    access: ServerAccess,
    password: String,
    /// The oldest first.
    messages: Vec<Listed>,
    next: usize,
    octets_behind: u64,
    reading: Option<Reading>,
    /// The reason why the connection can't be used any more.
    broken: Option<String>,
    breaks: u32,
}

/// Without the password.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The progress of reading a message.
#[derive(Debug, Default)]
struct Reading {
    unstuffing: LenientUnstuffing,
    octets: u64,
    asked: bool,
}

/// Logs in, and learns what is there.
fn log_in(
    address: &ServerAddress,
    access: &ServerAccess,
    password: &str,
) -> Result<(Connection, Vec<Listed>), ServerError> {
    let mut connection = Connection::open(address, access)?;
    connection.ask("USER", &format!("USER {}", address.user))?;
    connection.ask("PASS", &format!("PASS {password}"))?;
    let sizes = sizes(&mut connection)?;
    let mut told = unique_ids(&mut connection)?;
    let (mut messages, mut seen) = (Vec::with_capacity(sizes.len()), HashSet::new());
    for (number, octets) in sizes {
        if seen.insert(number) {
            let old_id = told.remove(&number).map_or(OldId::Unknown, OldId::Told);
            messages.push((number, octets, old_id));
        }
    }
    Ok((connection, messages))
}

/// Returns the numbers of the messages with their octets. They need not be right: they only show
/// progress.
fn sizes(connection: &mut Connection) -> Result<Vec<(u32, u64)>, ServerError> {
    let lines = match connection.ask("LIST", "LIST") {
        Ok(_) => connection.lines()?,
        // Some servers refuse it where there is nothing, or do not know it.
        Err(ServerError::Refused { command, reply }) => {
            let Ok(stat) = connection.ask("STAT", "STAT") else {
                return Err(ServerError::Refused { command, reply });
            };
            let (messages, _) = numbered(&stat)?;
            return Ok((1..=messages.min(MAX_MESSAGES)).map(|n| (n, 0)).collect());
        }
        Err(error) => return Err(error),
    };
    let said = lines.iter().filter(|line| !line.trim().is_empty());
    said.map(|line| {
        let (number, octets) = numbered(line)?;
        let octets = octets.split_ascii_whitespace().next();
        let octets = octets.and_then(|octets| octets.parse().ok());
        Ok((number, octets.unwrap_or_default()))
    })
    .collect()
}

/// Returns the unique-ids of the messages. A server need not have UIDL (RFC 1939, section 7).
fn unique_ids(connection: &mut Connection) -> Result<HashMap<u32, String>, ServerError> {
    let lines = match connection.ask("UIDL", "UIDL") {
        Ok(_) => connection.lines()?,
        Err(ServerError::Refused { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut told = HashMap::with_capacity(lines.len());
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let (number, unique_id) = numbered(line)?;
        if !unique_id.is_empty() {
            told.insert(number, unique_id.to_owned());
        }
    }
    Ok(told)
}

impl Server {
    pub(super) fn open(
        address: &ServerAddress,
        access: &ServerAccess,
        password: &str,
    ) -> Result<Self, ServerError> {
        if password.contains(['\r', '\n']) {
            let reply = "a password has no line ends".to_owned();
            return Err(ServerError::Refused {
                command: "PASS",
                reply,
            });
        }
        let (connection, messages) = log_in(address, access, password)?;
        Ok(Self {
            connection,
            address: address.clone(),
            access: access.clone(),
            password: password.to_owned(),
            messages,
            next: 0,
            octets_behind: 0,
            reading: None,
            broken: None,
            breaks: 0,
        })
    }

    pub(super) fn total_octets(&self) -> u64 {
        let octets = self.messages.iter().map(|(_, octets, _)| *octets);
        octets.fold(0, u64::saturating_add)
    }

    pub(super) fn octets_read(&self) -> u64 {
        let current = self.reading.as_ref().map_or(0, |reading| reading.octets);
        self.octets_behind.saturating_add(current)
    }

    pub(super) fn old_ids(&self) -> impl Iterator<Item = &OldId> {
        self.messages.iter().map(|(_, _, old_id)| old_id)
    }

    pub(super) fn next_item(&mut self) -> Option<Item> {
        self.finish_message();
        self.octets_behind = self.octets_behind.saturating_add(self.behind());
        let (number, octets, old_id) = self.messages.get(self.next)?.clone();
        self.next += 1;
        if let Some(error) = self.broken.take()
            && let Err(again) = self.reconnect()
        {
            let name = format!("{}, from message {number} on", self.address.place());
            let reason = format!(
                "the connection broke ({error}), and there is no other ({again}); \
                 run the import again to go on"
            );
            self.next = self.messages.len() + 1;
            return Some(Item::Skipped { name, reason });
        }
        self.reading = Some(Reading::default());
        Some(Item::Message {
            name: format!("{}, message {number}", self.address.place()),
            received_at: None,
            old_id,
            octets: Some(octets),
        })
    }

    /// Logs in again after the connection broke: one message may be at fault, and the others not.
    fn reconnect(&mut self) -> Result<(), ServerError> {
        self.breaks += 1;
        if self.breaks > MAX_BREAKS {
            let often = io::Error::other("it broke too often");
            return Err(often.into());
        }
        let (connection, messages) = log_in(&self.address, &self.access, &self.password)?;
        if messages != self.messages {
            let changed = io::Error::other("its messages are not the same any more");
            return Err(changed.into());
        }
        self.connection = connection;
        Ok(())
    }

    /// The octets of the message before the one that comes next.
    fn behind(&self) -> u64 {
        let before = self
            .next
            .checked_sub(1)
            .and_then(|at| self.messages.get(at));
        before.map_or(0, |(_, octets, _)| *octets)
    }

    /// Reads off what is left of a message that was asked for.
    fn finish_message(&mut self) {
        let mut rest = Vec::new();
        while self.reading.as_ref().is_some_and(|reading| reading.asked)
            && self.read(&mut rest).is_ok_and(|more| more)
        {
            rest.clear();
        }
        self.reading = None;
    }

    /// Appends the next piece of the current message; false says that it has ended. It is asked for
    /// when it is first read.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let read = self.try_to_read(out);
        read.map_err(|error| {
            self.reading = None;
            if let ServerError::Broken(error) = error {
                self.broken = Some(error.to_string());
                return error;
            }
            // The message was refused; the others may be had.
            io::Error::other(error.to_string())
        })
    }

    fn try_to_read(&mut self, out: &mut Vec<u8>) -> Result<bool, ServerError> {
        let number = self
            .next
            .checked_sub(1)
            .and_then(|at| self.messages.get(at));
        let (Some(reading), Some((number, ..))) = (&mut self.reading, number) else {
            return Ok(false);
        };
        if !reading.asked {
            reading.asked = true;
            self.connection.ask("RETR", &format!("RETR {number}"))?;
            reading.unstuffing = LenientUnstuffing::behind(self.connection.has_bare_lf());
        }
        let before = out.len();
        while !reading.unstuffing.has_ended() && out.len() == before {
            let octets = self.connection.octets()?;
            if octets.is_empty() {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            let taken = reading.unstuffing.take(octets, out);
            self.connection.consume(taken);
        }
        reading.octets += (out.len() - before) as u64;
        Ok(out.len() > before)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.broken.is_some() {
            return;
        }
        // It deletes nothing, and a server that hears no QUIT has nothing to miss.
        let _ = self.connection.ask("QUIT", "QUIT");
    }
}

#[cfg(test)]
mod tests;
