//! Finds the beginnings and ends of the messages of an mbox.
//!
//! All forms of mbox are read, also mixed in one file. In mboxo and mboxrd a message goes on to the
//! next From_ line; in mboxcl and mboxcl2 Content-Length says how long it is. A length is heeded
//! where it leads to a From_ line or to the end of the file. Too many programs have left it wrong
//! to be trusted more, and a sender may have written it.

use std::io::{self, Read, Seek};

use memchr::{memchr_iter, memmem};

use super::header::{Base, FIELD_OCTETS, Facts};
use super::last_fields::LastFields;
use super::pages::Pages;
use super::separator::{self, BEHIND_OCTETS};
use super::uids;
use crate::from_line::{FROM, Form, FromLine};

/// Maximum number of messages in a file.
const MAX_MESSAGES: usize = 10_000_000;

/// Octets that are looked at to recognise a From_ line.
const LOOK_OCTETS: usize = separator::MAX_OCTETS + BEHIND_OCTETS;

/// Maximum octets of empty lines between a message and the next From_ line.
const MAX_EMPTY_OCTETS: usize = 64;

/// Maximum number of times that all of a file is read to count the lengths of messages without
/// their CRs.
const MAX_RECOUNTS: u64 = 4;

/// Maximum number of From_ lines of other programs behind one.
const MAX_DOUBLED: usize = 8;

/// The messages of an mbox.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) messages: Vec<IndexedMessage>,
    /// The state that the server of the file has written into it, if there is one.
    pub(super) base: Option<Base>,
    /// Number of messages that Thunderbird has deleted and not removed yet.
    pub(super) expunged: usize,
}

/// The position of a message, and how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexedMessage {
    /// Offset of its From_ line.
    pub(super) from: u64,
    /// Offset of its header.
    pub(super) start: u64,
    pub(super) end: u64,
    /// The UID that a server has given to it; 0 if none is known.
    pub(super) uid: u32,
    /// The Content-Length field that is right, counted from 1; 0 if none is.
    pub(super) length_field: u8,
    /// From where on its header belongs to the program that has written the length, as far as such
    /// programs write it.
    pub(super) stores_from: u64,
    /// True if its writer has put a `>` in front of lines that begin with "From ".
    pub(super) is_quoted: bool,
    /// True if Thunderbird has written it.
    pub(super) is_mozilla: bool,
}

/// Reads an mbox from its first From_ line on.
///
/// # Errors
/// If the file can't be read, or has more messages than there can be.
pub(super) fn read<R: Read + Seek>(pages: &mut Pages<R>, first: u64) -> io::Result<Index> {
    let first_line = line_at(pages, first)?;
    let mut scan = Scan {
        recount_octets: pages.end().saturating_mul(MAX_RECOUNTS),
        has_undated: first_line.is_some_and(|line| line.form == Form::Undated),
        pages,
    };
    let (mut index, mut next, mut is_first) = (Index::default(), Some(first), true);
    while let Some(from) = next {
        let message = scan.message(from)?;
        next = message.next;
        if std::mem::take(&mut is_first) {
            index.base = message.facts.base;
        }
        if message.is_internal() {
            continue;
        }
        if message.found.is_mozilla && message.facts.is_expunged() {
            index.expunged += 1;
            continue;
        }
        if index.messages.len() >= MAX_MESSAGES {
            let many = format!("it has more than {MAX_MESSAGES} messages");
            return Err(io::Error::new(io::ErrorKind::InvalidData, many));
        }
        let uid = message.facts.uid.unwrap_or_default();
        index.messages.push(IndexedMessage {
            uid,
            ..message.found
        });
    }
    match index.base {
        Some(base) => {
            uids::assign(base, &mut index.messages);
            // Its server has never undone what an MTA had quoted, and clients know it so.
            let messages = index.messages.iter_mut();
            messages.for_each(|message| message.is_quoted = false);
        }
        None => index.messages.iter_mut().for_each(|found| found.uid = 0),
    }
    Ok(index)
}

fn line_at<R: Read + Seek>(pages: &mut Pages<R>, offset: u64) -> io::Result<Option<FromLine>> {
    let octets = pages.at(offset, separator::MAX_OCTETS)?;
    let line = octets.split(|octet| *octet == b'\n').next();
    Ok(line.and_then(FromLine::of))
}

struct Scan<'a, R> {
    pages: &'a mut Pages<R>,
    /// Octets that may still be read to count lengths anew.
    recount_octets: u64,
    /// Do the From_ lines of this file have no dates?
    has_undated: bool,
}

/// A message, and the From_ line behind it.
struct Message {
    found: IndexedMessage,
    facts: Facts,
    is_daemons: bool,
    next: Option<u64>,
}

/// The end of a message, and the From_ line behind it.
#[derive(Clone, Copy)]
struct End {
    at: u64,
    next: Option<u64>,
}

/// The header of a message.
struct Header {
    facts: Facts,
    /// Offset of the body.
    body: u64,
    ends_with_crlf: bool,
    last_fields: LastFields,
    /// The From_ line that it breaks off at.
    broken_off_at: Option<u64>,
}

impl Message {
    /// Returns whether it is no mail, but the server's state of the mailbox.
    fn is_internal(&self) -> bool {
        self.is_daemons && self.facts.is_internal()
    }
}

impl<R: Read + Seek> Scan<'_, R> {
    fn message(&mut self, from: u64) -> io::Result<Message> {
        let line = line_at(self.pages, from)?;
        let start = self.behind_from_lines(from)?;
        let header = self.header(start)?;
        let mut found = IndexedMessage {
            from,
            start,
            end: start,
            uid: 0,
            length_field: 0,
            stores_from: u64::MAX,
            is_quoted: true,
            is_mozilla: line.is_some_and(|line| line.is_mozilla),
        };
        let end = if let Some(next) = header.broken_off_at {
            self.end_before(next, start)?
        } else if let Some((end, field)) = self.heeded(&header)? {
            // A length counts what was written, so quoted lines were quoted before.
            (found.is_quoted, found.length_field) = (false, field);
            found.stores_from = header.last_fields.of_length(field);
            end
        } else {
            self.end_of_body(header.body, start, &mut found.is_quoted)?
        };
        found.end = end.at;
        Ok(Message {
            found,
            facts: header.facts,
            is_daemons: line.is_some_and(|line| line.is_daemon),
            next: end.next,
        })
    }

    /// Returns the offset of the header. An MTA that is given a message with a From_ line may have
    /// put its own in front of it; neither belongs to the message.
    fn behind_from_lines(&mut self, from: u64) -> io::Result<u64> {
        let mut start = self.pages.line_end(from)?;
        for _ in 0..MAX_DOUBLED {
            let line = line_at(self.pages, start)?;
            if line.is_none_or(|line| line.form != Form::Sure) {
                break;
            }
            start = self.pages.line_end(start)?;
        }
        Ok(start)
    }

    fn header(&mut self, start: u64) -> io::Result<Header> {
        let mut header = Header {
            facts: Facts::default(),
            body: start,
            ends_with_crlf: false,
            last_fields: LastFields::default(),
            broken_off_at: None,
        };
        loop {
            let at = header.body;
            let line = self.pages.at(at, FIELD_OCTETS)?;
            let line = line.get(..FIELD_OCTETS.min(line.len())).unwrap_or_default();
            let line = line.split_inclusive(|octet| *octet == b'\n').next();
            let line = line.unwrap_or_default();
            let is_last = matches!(line, b"" | b"\n" | b"\r\n");
            if line.ends_with(b"\n") {
                header.ends_with_crlf = line.ends_with(b"\r\n");
            }
            let may_be_next = line.starts_with(FROM) && at > start;
            header.last_fields.take(line, at, &header.facts);
            header.facts.take(line);
            if may_be_next && self.separator(at, false)? {
                header.broken_off_at = Some(at);
                return Ok(header);
            }
            header.body = self.pages.line_end(at)?;
            if is_last {
                return Ok(header);
            }
        }
    }

    /// Returns whether a message begins here.
    fn separator(&mut self, at: u64, is_behind_empty_line: bool) -> io::Result<bool> {
        let octets = self.pages.at(at, LOOK_OCTETS)?;
        let octets = octets
            .get(..LOOK_OCTETS.min(octets.len()))
            .unwrap_or(octets);
        let found = separator::separator(octets, is_behind_empty_line, self.has_undated);
        Ok(found.is_some())
    }

    /// The end to which a Content-Length field leads, and which of them does.
    fn heeded(&mut self, header: &Header) -> io::Result<Option<(End, u8)>> {
        for (length, field) in header.facts.lengths.iter().zip(1u8..) {
            let Some(length) = *length else { continue };
            let at = header.body.checked_add(length);
            if let Some(at) = at.filter(|at| *at <= self.pages.end())
                && let Some(next) = self.leads_to_an_end(at, at == header.body)?
            {
                return Ok(Some((End { at, next }, field)));
            }
            // A program has changed the line ends of the file since they were counted.
            if let Some(at) = self.recounted(header, length)?
                && let Some(next) = self.leads_to_an_end(at, false)?
            {
                return Ok(Some((End { at, next }, field)));
            }
        }
        Ok(None)
    }

    /// The From_ line that stands here behind any empty lines, or none at the end of the file;
    /// nothing if there is something else.
    fn leads_to_an_end(&mut self, at: u64, is_line_start: bool) -> io::Result<Option<Option<u64>>> {
        let before = at.saturating_sub(1);
        let is_line_start = is_line_start || self.pages.at(before, 1)?.starts_with(b"\n");
        let octets = self.pages.at(at, MAX_EMPTY_OCTETS)?;
        let is_end = |octet: &&u8| matches!(**octet, b'\r' | b'\n');
        let empty = octets
            .iter()
            .take(MAX_EMPTY_OCTETS)
            .take_while(is_end)
            .count();
        let next = at + empty as u64;
        if next == self.pages.end() {
            return Ok(Some(None));
        }
        let is_one = (is_line_start || empty > 0) && self.separator(next, true)?;
        Ok(is_one.then_some(Some(next)))
    }

    /// Returns the end of so many octets of the body if each line end counts as one octet in a file
    /// with CRLF, and as two in one with LF alone.
    fn recounted(&mut self, header: &Header, length: u64) -> io::Result<Option<u64>> {
        let (mut at, mut counted) = (header.body, 0);
        loop {
            let octets = self.pages.at(at, 1)?;
            let many = octets.len() as u64;
            if octets.is_empty() || self.recount_octets < many {
                return Ok(None);
            }
            for line_end in memchr_iter(b'\n', octets) {
                let before = at + line_end as u64 + 1 - header.body;
                let ends = counted + 1;
                let recount = if header.ends_with_crlf {
                    before.saturating_sub(ends)
                } else {
                    before + ends
                };
                if recount == length {
                    return Ok(Some(at + line_end as u64 + 1));
                }
                if recount > length {
                    return Ok(None);
                }
                counted = ends;
            }
            at += many;
            self.recount_octets -= many;
        }
    }

    /// The end of a body that goes on to the next From_ line. A line that begins with "From ",
    /// stands behind an empty one and is no From_ line shows that the writer quotes nothing.
    fn end_of_body(&mut self, body: u64, start: u64, is_quoted: &mut bool) -> io::Result<End> {
        let mut at = body;
        while let Some(line) = self.line_with_from(at)? {
            let is_behind_empty_line = self.empty_line_before(line, start)? > 0;
            if self.separator(line, is_behind_empty_line)? {
                return self.end_before(line, start);
            }
            if is_behind_empty_line {
                *is_quoted = false;
            }
            at = line + FROM.len() as u64;
        }
        let end = self.pages.end();
        let at = end - self.empty_line_before(end, start)?;
        Ok(End { at, next: None })
    }

    /// The end of a message before a From_ line. Only one empty line is no part of it: what stands
    /// before that was written by the sender.
    fn end_before(&mut self, next: u64, start: u64) -> io::Result<End> {
        let at = next - self.empty_line_before(next, start)?;
        let next = Some(next);
        Ok(End { at, next })
    }

    /// Returns the octets of the empty line before this one; none if there is none.
    fn empty_line_before(&mut self, at: u64, start: u64) -> io::Result<u64> {
        let from = at.saturating_sub(3).max(start);
        let octets = self.pages.at(from, 3)?;
        let before = usize::try_from(at - from).unwrap_or_default();
        let before = octets.get(..before).unwrap_or_default();
        Ok(match before {
            [.., b'\n', b'\r', b'\n'] => 2,
            [.., b'\n', b'\n'] => 1,
            // The message has not one line before it.
            b"\r\n" => 2,
            b"\n" => 1,
            _ => 0,
        })
    }

    /// Returns the offset of the next line that begins with "From "; there is a line at `at`, or in
    /// the middle of it.
    fn line_with_from(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        const LINE: &[u8] = b"\nFrom ";
        // The LF before the first line is found too.
        at = at.saturating_sub(1);
        loop {
            let octets = self.pages.at(at, LINE.len())?;
            if let Some(found) = memmem::find(octets, LINE) {
                return Ok(Some(at + found as u64 + 1));
            }
            let many = octets.len();
            if at + many as u64 >= self.pages.end() {
                return Ok(None);
            }
            at += (many - (LINE.len() - 1)) as u64;
        }
    }
}
