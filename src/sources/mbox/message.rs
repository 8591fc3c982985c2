//! Reading one message off an mbox, without what belongs to its store.

use std::io::{self, Read, Seek};

use memchr::memchr;

use super::header::{self, FIELD_OCTETS};
use super::index::IndexedMessage;
use super::pages::Pages;
use crate::from_line::FROM;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Reading {
    at: u64,
    end: u64,
    place: Place,
    fields: Fields,
    is_quoted: bool,
}

/// The fields of the header that belong to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    /// Those of a server.
    pub(super) servers: bool,
    /// Those of Thunderbird.
    pub(super) mozillas: bool,
    /// So many Content-Length fields until the one that does; none if 0.
    pub(super) length: u8,
    /// From here on, those that stand beside it.
    pub(super) from: u64,
}

/// The position of the next octet in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line of the header; was the field before it left out?
    Header { was_left_out: bool },
    /// At the start of a line of the body.
    Body,
    /// Behind the first `>` of a line, which is held back: it may be a quote.
    Quotes { in_header: bool },
    /// Inside a line, where nothing has a meaning but its end.
    Line { in_header: bool, is_left_out: bool },
}

impl Reading {
    /// Begins with a message.
    pub(super) fn new(found: &IndexedMessage, has_base: bool) -> Self {
        Self {
            at: found.start,
            end: found.end,
            place: Place::Header {
                was_left_out: false,
            },
            fields: Fields {
                servers: has_base,
                mozillas: found.is_mozilla,
                length: found.length_field,
                from: found.stores_from,
            },
            is_quoted: found.is_quoted,
        }
    }

    /// Returns the offset up to which the file has been read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Appends about so many octets; nothing is appended at the end.
    pub(super) fn read<R: Read + Seek>(
        &mut self,
        pages: &mut Pages<R>,
        octets: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let before = out.len();
        while self.at < self.end && out.len() - before < octets {
            let ahead = pages.at(self.at, FIELD_OCTETS)?;
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let ahead = ahead.get(..left.min(ahead.len())).unwrap_or_default();
            let taken = self.step(ahead, out);
            self.at += taken as u64;
        }
        if self.at >= self.end && matches!(self.place, Place::Quotes { .. }) {
            out.push(b'>');
            self.place = Place::Body;
        }
        Ok(())
    }

    /// Goes on to the next octet that may have a meaning; returns how many that took.
    fn step(&mut self, ahead: &[u8], out: &mut Vec<u8>) -> usize {
        match self.place {
            Place::Header { was_left_out } => {
                let is_end = ahead.starts_with(b"\n") || ahead.starts_with(b"\r\n");
                let goes_on = ahead.starts_with(b" ") || ahead.starts_with(b"\t");
                let is_left_out = if goes_on && !is_end {
                    was_left_out
                } else {
                    self.is_of_the_store(ahead)
                };
                self.line_start(ahead, !is_end, is_left_out)
            }
            Place::Body => self.line_start(ahead, false, false),
            Place::Quotes { in_header } => self.quotes(ahead, in_header, out),
            Place::Line {
                in_header,
                is_left_out,
            } => {
                let (octets, next) = match memchr(b'\n', ahead) {
                    Some(end) if in_header => (
                        end + 1,
                        Place::Header {
                            was_left_out: is_left_out,
                        },
                    ),
                    Some(end) => (end + 1, Place::Body),
                    None => (ahead.len(), self.place),
                };
                if !is_left_out {
                    out.extend_from_slice(ahead.get(..octets).unwrap_or_default());
                }
                self.place = next;
                octets
            }
        }
    }

    fn line_start(&mut self, ahead: &[u8], in_header: bool, is_left_out: bool) -> usize {
        if self.is_quoted && ahead.starts_with(b">") {
            self.place = Place::Quotes { in_header };
            return 1;
        }
        self.place = Place::Line {
            in_header,
            is_left_out,
        };
        0
    }

    /// There may be any number of quotes, and one is like another: the rest can go out before it is
    /// clear whether the first was put in front.
    fn quotes(&mut self, ahead: &[u8], in_header: bool, out: &mut Vec<u8>) -> usize {
        let quotes = ahead.iter().take_while(|octet| **octet == b'>').count();
        out.resize(out.len() + quotes, b'>');
        if quotes == 0 {
            if !ahead.starts_with(FROM) {
                out.push(b'>');
            }
            self.place = Place::Line {
                in_header,
                is_left_out: false,
            };
        }
        quotes
    }

    /// Returns whether the field that begins here belongs to the store.
    fn is_of_the_store(&mut self, ahead: &[u8]) -> bool {
        if self.fields.servers && header::is_servers(ahead) {
            return true;
        }
        if self.fields.mozillas && header::is_mozillas(ahead) {
            return true;
        }
        if header::is_length(ahead) {
            // A sender may have written another one.
            let is_right = self.fields.length == 1;
            self.fields.length = self.fields.length.saturating_sub(1);
            return is_right;
        }
        self.at >= self.fields.from && header::is_beside_length(ahead)
    }
}
