//! Looking a few octets ahead in a stream.

use std::io::{self, Read};

/// How far ahead one can always look: an empty line with CRLF, and the "From " behind it.
pub(super) const AHEAD_OCTETS: usize = 7;

/// The part of a stream that is in memory.
#[derive(Debug)]
pub(super) struct Window<R> {
    stream: R,
    octets: Vec<u8>,
    consumed: usize,
    size: usize,
    position: u64,
}

impl<R: Read> Window<R> {
    /// A window of `size` octets onto a stream, at its start.
    pub(super) fn new(stream: R, size: usize) -> Self {
        let size = size.max(AHEAD_OCTETS);
        Self {
            stream,
            octets: Vec::with_capacity(size),
            consumed: 0,
            size,
            position: 0,
        }
    }

    /// The next octets: at least [`AHEAD_OCTETS`] of them, unless the stream ends before.
    pub(super) fn ahead(&mut self) -> io::Result<&[u8]> {
        if self.octets.len() - self.consumed < AHEAD_OCTETS {
            self.octets.drain(..self.consumed);
            self.consumed = 0;
            let room = self.size - self.octets.len();
            let mut stream = self.stream.by_ref().take(room as u64);
            stream.read_to_end(&mut self.octets)?;
        }
        Ok(self.octets.get(self.consumed..).unwrap_or_default())
    }

    /// Moves on behind the first `octets` of what is ahead.
    pub(super) fn consume(&mut self, octets: usize) {
        let octets = octets.min(self.octets.len() - self.consumed);
        self.consumed += octets;
        self.position += octets as u64;
    }

    /// How many octets of the stream have been consumed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_enough_ahead_until_the_stream_ends() {
        let octets: Vec<u8> = (0..100).collect();
        for size in 0..20 {
            let mut window = Window::new(octets.as_slice(), size);
            for at in 0..100 {
                let ahead = window.ahead().unwrap();
                assert!(ahead.len() >= AHEAD_OCTETS.min(100 - at));
                assert!(ahead.len() <= size.max(AHEAD_OCTETS));
                assert_eq!(ahead, &octets[at..at + ahead.len()]);
                assert_eq!(window.position(), at as u64);
                window.consume(1);
            }
            assert!(window.ahead().unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_consumed() {
        let mut window = Window::new(b"ab".as_slice(), 8);
        window.ahead().unwrap();
        window.consume(3);
        assert_eq!(window.position(), 2);
    }
}
