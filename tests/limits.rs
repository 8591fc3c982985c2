//! What no client can get more of: connections, time, tries and memory.

mod connections;
mod keys;
mod large;
mod memory;
mod proxies;
mod times;
mod twins;

use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::served::{Served, Wire};
use crate::support::{DEADLINE, eventually, place};

const SMALL: &[u8] = b"Subject: small\r\n\r\nbody\r\n";

fn served(settings: &[(&str, &str)]) -> Served {
    Served::start(place::sqlite(), settings)
}

/// A connection from another address of this machine.
fn connect_from(source: &str, to: SocketAddr) -> Wire {
    let source: IpAddr = source.parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), DEADLINE).unwrap();
    Wire::over(TcpStream::from(socket))
}

/// The value of a series.
fn metric(served: &Served, series: &str) -> u64 {
    let text = served.ask(async |running| running.server().metrics().render().unwrap());
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let value = lines.find(|(name, _)| *name == series);
    let (_, value) = value.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    value.parse().unwrap()
}

fn wait_for_metric(served: &Served, series: &str, value: u64) {
    let ask = || (metric(served, series) == value).then_some(());
    eventually(&format!("{series} {value}"), ask);
}

/// The one line that a refused client hears before the connection is closed.
fn refusal(mut wire: Wire) -> String {
    let line = wire.line();
    assert!(line.starts_with("-ERR "), "{line}");
    assert_eq!(wire.read_to_end().unwrap(), b"", "behind {line}");
    line
}
