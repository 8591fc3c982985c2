//! Paths of MAIL and RCPT (RFC 5321, section 4.1.2).
//!
//! A return path is written down, so it need only fit on a header line. A recipient is looked up,
//! so an odd form makes it an unknown user. Neither is judged by RFC 5321: behind an MTA that has
//! accepted a message, a refusal is a bounce to an innocent sender.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The sender of a message as the client wrote it, without angle brackets and source route.
///
/// It has no control characters, so it fits on one header line. It may have octets that are not
/// UTF-8, which `Display` replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReversePath(Vec<u8>);

impl ReversePath {
    /// The octets that Return-Path shows.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The address of a recipient.
///
/// It has no control characters, so it fits on one header line. It may have octets that are not
/// UTF-8, which `Display` replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    written: Vec<u8>,
    meaning: String,
}

impl Address {
    /// The octets that the client wrote, without angle brackets and source route.
    pub fn as_bytes(&self) -> &[u8] {
        &self.written
    }

    /// The address to look for: `"ada"@example.org` means `ada@example.org`. It has no `@` where the
    /// client named no domain.
    pub fn meaning(&self) -> &str {
        &self.meaning
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.written))
    }
}

/// Why there is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathError {
    /// Nothing stands there.
    Missing,
    /// The angle brackets are not a pair.
    Unclosed,
    /// It would not fit on one header line.
    ControlCharacter,
}

/// Reads a return path; returns the text behind it too. `None` is `<>`, the sender of a bounce.
pub(crate) fn reverse_path(text: &[u8]) -> Result<(Option<ReversePath>, &[u8]), PathError> {
    let (inside, rest) = path(text)?;
    if inside.trim_ascii().is_empty() {
        return Ok((None, rest));
    }
    let path = without_route(inside).to_vec();
    Ok((Some(ReversePath(path)), rest))
}

/// Reads a recipient; returns the text behind it too.
pub(crate) fn recipient(text: &[u8]) -> Result<(Address, &[u8]), PathError> {
    let (inside, rest) = path(text)?;
    let written = without_route(inside.trim_ascii()).to_vec();
    if written.is_empty() {
        return Err(PathError::Missing);
    }
    let text = String::from_utf8_lossy(&written);
    let meaning = match text.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{domain}", unquote(local)),
        None => unquote(&text),
    };
    Ok((Address { written, meaning }, rest))
}

/// Splits a text behind its path, which stands in angle brackets or is one word.
fn path(text: &[u8]) -> Result<(&[u8], &[u8]), PathError> {
    let text = text.trim_ascii_start();
    let (inside, rest) = match text.strip_prefix(b"<") {
        Some(text) => {
            let end = end_of_path(text).ok_or(PathError::Unclosed)?;
            let (inside, rest) = text.split_at(end);
            (inside, rest.get(1..).unwrap_or_default())
        }
        None => bare_path(text)?,
    };
    let readable = String::from_utf8_lossy(inside);
    if readable.chars().any(breaks_a_line) {
        return Err(PathError::ControlCharacter);
    }
    Ok((inside, rest))
}

/// A path without angle brackets, as some programs write it.
fn bare_path(text: &[u8]) -> Result<(&[u8], &[u8]), PathError> {
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    if word.is_empty() {
        return Err(PathError::Missing);
    }
    if word.iter().any(|octet| b"<>\"".contains(octet)) {
        return Err(PathError::Unclosed);
    }
    Ok((word, rest))
}

/// The place of the `>` that ends a path; one in a quoted string ends nothing, unless the string has
/// no end.
fn end_of_path(text: &[u8]) -> Option<usize> {
    let mut quoted = Quotes::default();
    let mut octets = text.iter().enumerate();
    let end = octets.find(|(_, octet)| !quoted.take(**octet) && **octet == b'>');
    let at = end.map(|(at, _)| at);
    at.or_else(|| memchr::memchr(b'>', text))
}

/// Follows quoted strings, which begin where a word of a local-part begins.
#[derive(Debug)]
struct Quotes {
    at_start: bool,
    open: bool,
    escaped: bool,
}

impl Default for Quotes {
    fn default() -> Self {
        Self {
            at_start: true,
            open: false,
            escaped: false,
        }
    }
}

impl Quotes {
    /// Takes the next octet and returns whether it stands in a quoted string.
    fn take(&mut self, octet: u8) -> bool {
        let before = self.open;
        match octet {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open => self.escaped = true,
            b'"' if self.open => self.open = false,
            b'"' if self.at_start => self.open = true,
            _ => {}
        }
        self.at_start = b".:".contains(&octet);
        before
    }
}

/// Control characters and the line ends of Unicode.
fn breaks_a_line(c: char) -> bool {
    c.is_control() || c == '\u{2028}' || c == '\u{2029}'
}

/// The path behind a source route (`@a,@b:`), which is ignored (RFC 5321, appendix C).
fn without_route(inside: &[u8]) -> &[u8] {
    let Some(colon) = memchr::memchr(b':', inside) else {
        return inside;
    };
    let (route, mailbox) = inside.split_at(colon);
    let is_hop = |hop: &[u8]| hop.len() > 1 && hop.starts_with(b"@") && !hop.contains(&b'"');
    let is_route = route.split(|octet| *octet == b',').all(is_hop);
    match mailbox.get(1..) {
        Some(mailbox) if is_route && !mailbox.is_empty() => mailbox,
        Some(_) | None => inside,
    }
}

/// Returns the local-part that is meant by one with quoted strings: `"ada"` means `ada`.
pub fn unquote(local: &str) -> String {
    let mut quotes = Quotes::default();
    let mut meant = String::with_capacity(local.len());
    for c in local.chars() {
        let (was_open, was_escaped) = (quotes.open, quotes.escaped);
        // Only ASCII characters mean anything in it.
        quotes.take(u8::try_from(c).unwrap_or(b'x'));
        let is_quote = was_open != quotes.open;
        let is_escape = quotes.escaped && !was_escaped;
        if !is_quote && !is_escape {
            meant.push(c);
        }
    }
    if quotes.open {
        return local.to_owned();
    }
    meant
}

/// Returns true if it is the address of a machine, such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
pub fn is_address_literal(text: &str) -> bool {
    const IPV6: &str = "IPv6:";
    let inside = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let Some(inside) = inside else {
        return false;
    };
    match inside.split_at_checked(IPV6.len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case(IPV6) => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        Some(_) | None => inside.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The return path, if the text is one and nothing follows.
    fn sender(text: impl AsRef<[u8]>) -> Result<Vec<u8>, PathError> {
        let (path, rest) = reverse_path(text.as_ref())?;
        assert_eq!(rest.escape_ascii().to_string(), "");
        Ok(path.map_or_else(Vec::new, |path| path.as_bytes().to_vec()))
    }

    fn meaning(text: impl AsRef<[u8]>) -> Result<String, PathError> {
        let (address, rest) = recipient(text.as_ref())?;
        assert_eq!(rest.escape_ascii().to_string(), "");
        Ok(address.meaning().to_owned())
    }

    #[test]
    fn a_return_path_is_taken_as_it_is_written() {
        let long = format!("{}@{}", "b".repeat(3000), "d".repeat(3000));
        for path in [
            "ada@example.org",
            "SRS0=fGv9=BC=mail.sender.example=bounce-4IDNASXYtY_FG21s4IoV1XzCfCtHkb2@relay.example",
            "bounce@mail_server.example.com",
            "a..b@example.com",
            ".ab@example.com",
            "ab.@example.com",
            "root",
            "MAILER-DAEMON",
            "postmaster",
            "a@example.com.",
            "a@x..org",
            "a@-x.org",
            "a@",
            "@a",
            "a@b@c",
            "a,b@c",
            "(x)a@c",
            "a b@c",
            "a\"b@c",
            "a<b@c",
            "a\\b@c",
            "\"a b\"@c",
            "\"a>b\"@c",
            "\"a\\\">b\"@c",
            "x.\"a>b\"@c",
            "\"\"@c",
            "root@[192.0.2]",
            "root@[foo:bar]",
            "root@[2001:db8::1]",
            "ä@bücher.example",
            "@:ada@c",
            "@a b",
            "host!user",
            "/O=EXCHANGE/CN=ADA@c",
            &long,
        ] {
            assert_eq!(sender(format!("<{path}>")).unwrap(), path.as_bytes());
        }
        for (written, path) in [
            (&b"<>"[..], &b""[..]),
            (b"< >", b""),
            (b" <>", b""),
            (b" <ada@c>", b"ada@c"),
            (b"ada@c", b"ada@c"),
            (b"<@a.example,@b.example:ada@c>", b"ada@c"),
            (b"<@a:ada@c>", b"ada@c"),
            (b"<\xe4@c>", b"\xe4@c"),
            (b"<\xff\x80@c>", b"\xff\x80@c"),
            // The string has no end, so its quote is one character of many.
            (b"<\"a@c>", b"\"a@c"),
        ] {
            assert_eq!(sender(written).unwrap(), path, "{written:?}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_header_is_no_path() {
        use PathError::{ControlCharacter, Missing, Unclosed};
        for (written, why) in [
            (&b""[..], Missing),
            (b"  ", Missing),
            (b"<a@b", Unclosed),
            (b"a@b>", Unclosed),
            (b"\"Ada\" <a@b>", Unclosed),
            (b"<a\rb@c>", ControlCharacter),
            (b"<a\nb@c>", ControlCharacter),
            (b"<a\0b@c>", ControlCharacter),
            (b"<a\tb@c>", ControlCharacter),
            (b"<a\x1bb@c>", ControlCharacter),
            (b"<a\x7fb@c>", ControlCharacter),
            (b"<\"a\rb\"@c>", ControlCharacter),
            ("<a\u{85}b@c>".as_bytes(), ControlCharacter),
            ("<a\u{2028}b@c>".as_bytes(), ControlCharacter),
            (b"a\0b@c", ControlCharacter),
        ] {
            assert_eq!(sender(written), Err(why), "{written:?}");
            assert_eq!(meaning(written), Err(why), "{written:?}");
        }
        for unbalanced in ["<<a@b>>", "<a>b@c>", "<a@b>>"] {
            let (_, rest) = reverse_path(unbalanced.as_bytes()).unwrap();
            assert!(!rest.is_empty(), "{unbalanced}");
        }
    }

    #[test]
    fn a_recipient_is_the_address_that_is_meant() {
        for (written, meant) in [
            ("<ada@example.org>", "ada@example.org"),
            ("<Ada+tag@Example.ORG>", "Ada+tag@Example.ORG"),
            ("<\"ada\"@example.org>", "ada@example.org"),
            ("<\"a..b\"@example.org>", "a..b@example.org"),
            ("<\"ada+a b\"@example.org>", "ada+a b@example.org"),
            (r#"<"a\"b\\>@c"@example.org>"#, r#"a"b\>@c@example.org"#),
            ("<a.\"b\".c@example.org>", "a.b.c@example.org"),
            ("<a\"b\"@example.org>", "a\"b\"@example.org"),
            ("<\"ä\"@bücher.example>", "ä@bücher.example"),
            ("< ada@example.org >", "ada@example.org"),
            (" <ada@example.org>", "ada@example.org"),
            ("ada@example.org", "ada@example.org"),
            ("<@a,@b:ada@example.org>", "ada@example.org"),
            ("<Postmaster>", "Postmaster"),
            ("<ada>", "ada"),
            ("<@example.org>", "@example.org"),
            ("<ada@>", "ada@"),
            ("<root@[IPv6:2001:db8::1]>", "root@[IPv6:2001:db8::1]"),
        ] {
            assert_eq!(meaning(written).as_deref(), Ok(meant), "{written}");
        }
        assert_eq!(
            meaning(b"<ada+\xe4@example.org>").as_deref(),
            Ok("ada+\u{fffd}@example.org")
        );
        assert_eq!(meaning("<>"), Err(PathError::Missing));
        assert_eq!(meaning("< >"), Err(PathError::Missing));
    }

    #[test]
    fn the_address_of_a_machine_is_told_from_others() {
        for (text, expected) in [
            ("[192.0.2.1]", true),
            ("[IPv6:2001:db8::1]", true),
            ("[192.0.2]", false),
            ("[2001:db8::1]", false),
            ("[IPv6:192.0.2.1]", false),
            ("192.0.2.1]", false),
        ] {
            assert_eq!(is_address_literal(text), expected, "{text}");
        }
    }
}
