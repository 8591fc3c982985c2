//! The text and the HTML of a mail.
//!
//! CRLF, LF and CR are line ends alike, and each becomes CRLF. A text goes as it is where its lines have
//! at most 998 octets, otherwise in base64. In a multipart every character comes back, the last line end
//! or its absence too; a single text that ends without one gets it, since a message ends in CRLF.

use super::{Mail, base64_lines};

/// The longest line without its CRLF (RFC 5322, section 2.1.1).
const MAX_LINE_OCTETS: usize = 998;

/// How a part is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransferEncoding {
    SevenBit,
    EightBit,
    Base64,
}

/// A part that is in memory.
#[derive(Debug)]
pub(super) struct BodyPart {
    /// Its header fields.
    pub(super) head: String,
    /// Its octets. The CRLF in front of a boundary is none of them.
    pub(super) content: Vec<u8>,
    /// How its content is encoded.
    pub(super) encoding: TransferEncoding,
}

/// Returns the body without the attachments: text, HTML, or both. An empty one counts as none.
pub(super) fn body(mail: &Mail, boundary: &str, has_attachments: bool) -> BodyPart {
    let text = mail.text.as_deref().filter(|text| !text.is_empty());
    let html = mail.html.as_deref().filter(|html| !html.is_empty());
    let boundary_there = has_attachments.then_some(boundary);
    match (text, html) {
        (Some(text), Some(html)) => {
            let parts = [
                leaf("plain", text, Some(boundary)),
                leaf("html", html, Some(boundary)),
            ];
            alternative(&parts, &format!("{boundary}_alternative"))
        }
        (None, Some(html)) => leaf("html", html, boundary_there),
        (text, None) => leaf("plain", text.unwrap_or_default(), boundary_there),
    }
}

/// Returns the header fields of a multipart that holds parts so encoded.
pub(super) fn multipart_head(subtype: &str, boundary: &str, parts: TransferEncoding) -> String {
    // It is itself never in base64 (RFC 2045, section 6.4).
    let encoding = match parts {
        TransferEncoding::EightBit => "8bit",
        TransferEncoding::SevenBit | TransferEncoding::Base64 => "7bit",
    };
    format!(
        "Content-Type: multipart/{subtype};\r\n boundary=\"{boundary}\"\r\nContent-Transfer-Encoding: {encoding}\r\n"
    )
}

fn alternative(parts: &[BodyPart], boundary: &str) -> BodyPart {
    let is_8bit = parts
        .iter()
        .any(|part| part.encoding == TransferEncoding::EightBit);
    let encoding = if is_8bit {
        TransferEncoding::EightBit
    } else {
        TransferEncoding::SevenBit
    };
    let mut content = Vec::new();
    for part in parts {
        content.extend_from_slice(format!("--{boundary}\r\n{}\r\n", part.head).as_bytes());
        content.extend_from_slice(&part.content);
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(format!("--{boundary}--").as_bytes());
    BodyPart {
        head: multipart_head("alternative", boundary, encoding),
        content,
        encoding,
    }
}

/// Returns a part of text. Base64 has no `_`, so a text with the boundary is in base64.
fn leaf(subtype: &str, text: &str, boundary: Option<&str>) -> BodyPart {
    let text = canonical(text);
    let is_plain = !text.contains('\0')
        && text.split("\r\n").all(|line| line.len() <= MAX_LINE_OCTETS)
        && boundary.is_none_or(|boundary| !text.contains(boundary));
    let (encoding, name) = match (is_plain, text.is_ascii()) {
        (true, true) => (TransferEncoding::SevenBit, "7bit"),
        (true, false) => (TransferEncoding::EightBit, "8bit"),
        (false, _) => (TransferEncoding::Base64, "base64"),
    };
    let content = if is_plain {
        text
    } else {
        let mut lines = base64_lines(text.as_bytes());
        lines.truncate(lines.trim_ascii_end().len());
        lines
    };
    BodyPart {
        head: format!(
            "Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {name}\r\n"
        ),
        content: content.into_bytes(),
        encoding,
    }
}

/// Returns a text with CRLF for every line end.
fn canonical(text: &str) -> String {
    let mut canonical = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\n']) {
        let (line, behind) = rest.split_at(at);
        canonical.push_str(line);
        canonical.push_str("\r\n");
        let behind_crlf = behind.strip_prefix("\r\n");
        rest = behind_crlf.or_else(|| behind.get(1..)).unwrap_or_default();
    }
    canonical.push_str(rest);
    canonical
}
