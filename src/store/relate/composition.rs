//! Composes messages from the rows of Relate Mail, which does not keep them as they came.
//!
//! Rows in, octets out: nothing here asks a database, tells the time or knows a setting. The same rows
//! give the same octets at every login, on every server, in any order of rows. So all that decides
//! about an octet is in this folder, and none of it hangs on tables that change from one release of a
//! library to the next, such as those of Unicode. `pinned/` holds messages as version 1 composes them.
//!
//! The octets of an attachment never pass through memory as a whole: [`Composition::part_at`] says
//! which of them are needed next, and [`encode`] makes lines of them.

mod address;
mod attachment;
mod field;
mod ids;
mod text;

use bytes::Bytes;
use data_encoding::BASE64;

pub(crate) use address::recipient_lines;
use attachment::part_head;
use field::{Field, unstructured};
use text::BodyPart;

/// The version of the composition, which is stored with each composed mail.
///
/// A mail is always composed by the version that its clients have seen. A change of any octet that rows
/// become adds a version, and keeps this one.
pub(crate) const VERSION: i16 = 1;

/// How many octets of an attachment a line of base64 stands for.
const LINE_DECODED: u64 = 57;

/// How many octets that line has, with its CRLF.
const LINE_ENCODED: u64 = 78;

/// Times that a Date can show: the years 1 to 9999, in microseconds since 1970.
const SHOWN_TIMES_US: (i64, i64) = (-62_135_596_800_000_000, 253_402_207_200_000_000);

/// One row of `"Emails"`.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// `"Id"`, in network order.
    pub(crate) id: u128,
    /// `"MessageId"`, without brackets.
    pub(crate) message_id: String,
    /// `"FromAddress"`, empty if there is none.
    pub(crate) from_address: String,
    /// `"FromDisplayName"`.
    pub(crate) from_name: Option<String>,
    /// `"Subject"`.
    pub(crate) subject: String,
    /// `"TextBody"`.
    pub(crate) text: Option<String>,
    /// `"HtmlBody"`.
    pub(crate) html: Option<String>,
    /// `"ReceivedAt"`, in microseconds since 1970, UTC.
    pub(crate) received_at_us: i64,
    /// `"InReplyTo"`, without brackets.
    pub(crate) in_reply_to: Option<String>,
    /// `"References"`, ids in brackets.
    pub(crate) references: Option<String>,
}

/// One row of `"EmailRecipients"`.
#[derive(Debug, Clone)]
pub(crate) struct NamedRecipient {
    /// `"Id"`, in network order.
    pub(crate) id: u128,
    /// `"Type"`.
    pub(crate) kind: RecipientKind,
    /// `"Address"`.
    pub(crate) address: String,
    /// `"DisplayName"`.
    pub(crate) name: Option<String>,
}

/// The header in which a recipient is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecipientKind {
    /// To.
    To,
    /// Cc.
    Cc,
    /// Bcc, which is never shown.
    Bcc,
}

impl RecipientKind {
    /// Reads the column `"Type"`. An unknown text is not shown either.
    pub(crate) fn from_column(text: &str) -> Self {
        match text {
            "To" => Self::To,
            "Cc" => Self::Cc,
            _ => Self::Bcc,
        }
    }
}

/// One row of `"EmailAttachments"`, without its octets.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    /// `"Id"`, in network order.
    pub(crate) id: u128,
    /// `"FileName"`.
    pub(crate) file_name: String,
    /// `"ContentType"`.
    pub(crate) content_type: String,
    /// The length of `"Content"` itself: `"SizeBytes"` is only what a writer took it for.
    pub(crate) octets: u64,
}

/// A composed mail, in canonical form: what RETR sends before byte-stuffing.
#[derive(Debug)]
pub(crate) struct Composition {
    segments: Vec<Segment>,
    octets: u64,
}

/// A piece of a composed mail.
#[derive(Debug)]
struct Segment {
    /// The offset of its first octet in the mail.
    begin: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Octets that are at hand.
    Octets(Bytes),
    /// The octets of an attachment, in base64.
    Attachment { id: u128, octets: u64 },
}

/// What is needed for the next octets of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The octets themselves.
    Octets(Bytes),
    /// A range of an attachment: read it, then [`encode`] it with this `skip`.
    Attachment {
        /// `"Id"` of the attachment.
        id: u128,
        /// Its first octet that is needed, counted from 0.
        from: u64,
        /// How many octets are needed.
        octets: u32,
        /// How many octets of the encoded range stand before the offset that was asked for.
        skip: usize,
    },
    /// The mail ends here.
    End,
}

impl Composition {
    /// Composes a mail. `recipient_lines` are what [`recipient_lines()`] gave when it was first seen;
    /// attachments come in any order.
    pub(crate) fn new(mail: &Mail, recipient_lines: &str, attachments: &[Attachment]) -> Self {
        let mut attachments: Vec<&Attachment> = attachments.iter().collect();
        attachments.sort_by_key(|attachment| attachment.id);
        let boundary = format!("=_{:032x}", mail.id);
        let body = text::body(mail, &boundary, !attachments.is_empty());
        let mut writer = Writer::default();
        writer.octets(header(mail, recipient_lines).as_bytes());
        if attachments.is_empty() {
            writer.body_part(&body);
            if !body.content.is_empty() && !body.content.ends_with(b"\r\n") {
                writer.octets(b"\r\n");
            }
        } else {
            writer.mixed(&body, &attachments, &format!("{boundary}_mixed"));
        }
        writer.finish()
    }

    /// Returns how many octets the mail has.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns what is needed for the octets from this offset on: about `max_octets` of them, one line
    /// of an attachment at least.
    pub(crate) fn part_at(&self, offset: u64, max_octets: u32) -> Part {
        if offset >= self.octets {
            return Part::End;
        }
        let behind = self.segments.partition_point(|it| it.begin <= offset);
        let Some(segment) = behind.checked_sub(1).and_then(|at| self.segments.get(at)) else {
            return Part::End;
        };
        let offset = offset - segment.begin;
        match &segment.content {
            Content::Octets(octets) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX);
                let begin = begin.min(octets.len());
                let most = usize::try_from(max_octets.max(1)).unwrap_or(usize::MAX);
                let end = begin.saturating_add(most).min(octets.len());
                Part::Octets(octets.slice(begin..end))
            }
            Content::Attachment { id, octets } => {
                let from = offset / LINE_ENCODED * LINE_DECODED;
                let lines = (u64::from(max_octets) / LINE_ENCODED).max(1);
                let octets = (lines * LINE_DECODED).min(octets - from);
                Part::Attachment {
                    id: *id,
                    from,
                    // It is less than `max_octets`, or one line.
                    octets: u32::try_from(octets).unwrap_or(u32::MAX),
                    skip: usize::try_from(offset % LINE_ENCODED).unwrap_or_default(),
                }
            }
        }
    }
}

/// Encodes a range of an attachment that [`Part::Attachment`] has asked for, in lines of base64, and
/// leaves out the first `skip` octets of that.
pub(crate) fn encode(octets: &[u8], skip: usize) -> Bytes {
    let mut encoded = Bytes::from(base64_lines(octets));
    encoded.split_off(skip.min(encoded.len()))
}

/// Returns lines of 76 characters of base64, each with its CRLF.
fn base64_lines(octets: &[u8]) -> String {
    let mut lines = String::with_capacity(octets.len() / 57 * 78 + 80);
    for line in octets.chunks(57) {
        BASE64.encode_append(line, &mut lines);
        lines.push_str("\r\n");
    }
    lines
}

/// Returns how many octets [`base64_lines`] makes of so many.
fn encoded_octets(octets: u64) -> u64 {
    let rest = octets % LINE_DECODED;
    let last = if rest == 0 {
        0
    } else {
        rest.div_ceil(3) * 4 + 2
    };
    octets / LINE_DECODED * LINE_ENCODED + last
}

/// Returns the header fields in front of those of the body.
fn header(mail: &Mail, recipient_lines: &str) -> String {
    let mut header = String::new();
    header.push_str(&date(mail.received_at_us));
    let mut from = Field::new("From");
    let name = mail.from_name.as_deref();
    from.words(address::mailbox(
        name,
        &mail.from_address,
        "undisclosed-sender",
    ));
    header.push_str(&from.finish());
    header.push_str(recipient_lines);
    header.push_str(&ids::message_id(mail));
    header.push_str(&ids::in_reply_to(mail.in_reply_to.as_deref()));
    header.push_str(&ids::references(mail.references.as_deref()));
    header.push_str(&unstructured("Subject", &mail.subject));
    header.push_str("MIME-Version: 1.0\r\n");
    header
}

/// Returns the Date, in UTC.
fn date(time_us: i64) -> String {
    let (first, last) = SHOWN_TIMES_US;
    let time = jiff::Timestamp::from_microsecond(time_us.clamp(first, last));
    let time = time.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("Date: {}\r\n", time.strftime("%a, %d %b %Y %H:%M:%S +0000"))
}

/// Writes a mail as segments.
#[derive(Debug, Default)]
struct Writer {
    segments: Vec<Segment>,
    /// Octets that are in no segment yet.
    pending: Vec<u8>,
    /// How many octets the segments have.
    octets: u64,
}

impl Writer {
    fn octets(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
    }

    fn body_part(&mut self, part: &BodyPart) {
        self.octets(part.head.as_bytes());
        self.octets(b"\r\n");
        self.octets(&part.content);
    }

    /// Writes the body, and behind it the attachments.
    fn mixed(&mut self, body: &BodyPart, attachments: &[&Attachment], boundary: &str) {
        let head = text::multipart_head("mixed", boundary, body.encoding);
        self.octets(format!("{head}\r\n--{boundary}\r\n").as_bytes());
        self.body_part(body);
        self.octets(b"\r\n");
        for attachment in attachments {
            self.octets(format!("--{boundary}\r\n{}\r\n", part_head(attachment)).as_bytes());
            if attachment.octets == 0 {
                // The CRLF in front of a boundary belongs to it.
                self.octets(b"\r\n");
            } else {
                self.attachment(attachment);
            }
        }
        self.octets(format!("--{boundary}--\r\n").as_bytes());
    }

    fn attachment(&mut self, attachment: &Attachment) {
        self.flush();
        let content = Content::Attachment {
            id: attachment.id,
            octets: attachment.octets,
        };
        self.segment(content, encoded_octets(attachment.octets));
    }

    fn flush(&mut self) {
        let pending = Bytes::from(std::mem::take(&mut self.pending));
        if !pending.is_empty() {
            let octets = u64::try_from(pending.len()).unwrap_or(u64::MAX);
            self.segment(Content::Octets(pending), octets);
        }
    }

    fn segment(&mut self, content: Content, octets: u64) {
        let begin = self.octets;
        self.segments.push(Segment { begin, content });
        self.octets += octets;
    }

    fn finish(mut self) -> Composition {
        self.flush();
        Composition {
            segments: self.segments,
            octets: self.octets,
        }
    }
}

#[cfg(test)]
mod pinned;
#[cfg(test)]
mod tests;
