//! The header of an attachment (RFC 2045, RFC 2183, RFC 2231).

use super::Attachment;
use super::field::{Field, cut, plain_words};

/// The longest parameter: it fits on a line with its blank and semicolon.
const PARAMETER: usize = 74;

/// What stands in front of the text of a continuation, at most: `filename*123*=utf-8''`, and `;`.
const AROUND: usize = 22;

/// Returns the header fields of an attachment's part.
pub(super) fn part_head(attachment: &Attachment) -> String {
    let mut disposition = Field::new("Content-Disposition");
    let parameters = file_name(&attachment.file_name);
    let last = parameters.len();
    for (at, word) in std::iter::once("attachment")
        .chain(parameters.iter().map(String::as_str))
        .enumerate()
    {
        let end = if at < last { ";" } else { "" };
        disposition.word(&format!("{word}{end}"));
    }
    format!(
        "Content-Type: {}\r\n{}Content-Transfer-Encoding: base64\r\n",
        content_type(&attachment.content_type),
        disposition.finish()
    )
}

/// Returns the type as it is stored, if it is one that may be in base64 (RFC 2046, section 5.2).
fn content_type(text: &str) -> &str {
    let is_token = |token: &str| {
        let is_plain =
            |octet: u8| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet);
        !token.is_empty() && token.len() <= 127 && token.bytes().all(is_plain)
    };
    let is_composite =
        |kind: &str| kind.eq_ignore_ascii_case("multipart") || kind.eq_ignore_ascii_case("message");
    match text.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) && !is_composite(kind) => text,
        _ => "application/octet-stream",
    }
}

/// Returns the parameters that hold a file name: none if it is empty.
fn file_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    let is_quotable = |octet: u8| octet.is_ascii_graphic() && !b"\"\\".contains(&octet);
    let quoted = format!("filename=\"{name}\"");
    if quoted.len() <= PARAMETER && plain_words(name, is_quotable).is_some() {
        return vec![quoted];
    }
    let whole = format!("filename*=utf-8''{}", percent_encoded(name));
    if whole.len() <= PARAMETER {
        return vec![whole];
    }
    // Some decoders decode each by itself, so none cuts a character.
    let pieces = cut(name, PARAMETER - AROUND, percent_octets);
    let pieces = pieces.enumerate().map(|(at, piece)| {
        let charset = if at == 0 { "utf-8''" } else { "" };
        format!("filename*{at}*={charset}{}", percent_encoded(piece))
    });
    pieces.collect()
}

/// Stands it for itself in a parameter?
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~".contains(c)
}

fn percent_octets(c: char) -> usize {
    if is_literal(c) { 1 } else { c.len_utf8() * 3 }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        match char::from(octet) {
            c if is_literal(c) => encoded.push(c),
            _ => encoded.push_str(&format!("%{octet:02X}")),
        }
    }
    encoded
}
