//! Addresses as MAIL and RCPT write them (RFC 5321, section 4.1.2; RFC 6531, section 3.3).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest local-part, in octets (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_OCTETS: usize = 64;

/// The longest domain, in octets (RFC 5321, section 4.5.3.1.2).
const MAX_DOMAIN_OCTETS: usize = 255;

/// The longest path with its angle brackets, in octets (RFC 5321, section 4.5.3.1.3).
const MAX_PATH_OCTETS: usize = 256;

/// A sender or recipient that RFC 5321 allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    written: String,
    address: String,
}

impl Mailbox {
    /// As the client wrote it, without angle brackets and route; `Display` says the same.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The address that is meant: `"ada"@example.org` is `ada@example.org`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// What stands between the angle brackets of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// `<>`: a bounce, which is to cause no other.
    Null,
    /// `<Postmaster>`, the one recipient that needs no domain.
    Postmaster,
    Mailbox(Mailbox),
}

/// Reads the path that `text` begins with, and what follows it. None if RFC 5321 has no such path.
pub(crate) fn path(text: &str) -> Option<(Path, &str)> {
    let end = end_of_path(text)?;
    let (path, rest) = text.split_at_checked(end)?;
    if path.len() > MAX_PATH_OCTETS {
        return None;
    }
    let inside = path.strip_prefix('<')?.strip_suffix('>')?;
    if inside.is_empty() {
        return Some((Path::Null, rest));
    }
    if inside.eq_ignore_ascii_case("postmaster") {
        return Some((Path::Postmaster, rest));
    }
    let mailbox = mailbox(without_route(inside)?)?;
    Some((Path::Mailbox(mailbox), rest))
}

/// Where the path ends, behind its `>`; one in a quoted string ends nothing.
fn end_of_path(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What follows a source route (`@a,@b:`), which is read and ignored (RFC 5321, appendix C).
fn without_route(inside: &str) -> Option<&str> {
    if !inside.starts_with('@') {
        return Some(inside);
    }
    let (route, mailbox) = inside.split_once(':')?;
    let is_hop = |hop: &str| hop.strip_prefix('@').is_some_and(is_domain);
    route.split(',').all(is_hop).then_some(mailbox)
}

fn mailbox(text: &str) -> Option<Mailbox> {
    let (local, domain) = text.rsplit_once('@')?;
    if local.len() > MAX_LOCAL_OCTETS || !(is_domain(domain) || is_address_literal(domain)) {
        return None;
    }
    let meant = if local.starts_with('"') {
        unquoted(local)?
    } else {
        is_dot_string(local).then(|| local.to_owned())?
    };
    Some(Mailbox {
        written: text.to_owned(),
        address: format!("{meant}@{domain}"),
    })
}

fn is_dot_string(text: &str) -> bool {
    let is_text = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(|c| is_text(c) || is_utf8(c));
    text.split('.').all(is_atom)
}

/// What a quoted string means; none if it is none.
fn unquoted(text: &str) -> Option<String> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut meant = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => meant.push(chars.next().filter(|c| (' '..='~').contains(c))?),
            ' '..='~' => meant.push(c),
            c if is_utf8(c) => meant.push(c),
            _ => return None,
        }
    }
    (!meant.is_empty()).then_some(meant)
}

/// Is it a domain (RFC 5321, section 4.1.2)?
fn is_domain(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || is_utf8(c);
    let is_label = |label: &str| {
        label.starts_with(is_letter)
            && label.ends_with(is_letter)
            && label.chars().all(|c| is_letter(c) || c == '-')
    };
    text.len() <= MAX_DOMAIN_OCTETS && text.split('.').all(is_label)
}

/// Is it the address of a machine, such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`?
pub(crate) fn is_address_literal(text: &str) -> bool {
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

/// What RFC 6531 adds to the characters of addresses; a session allows it by SMTPUTF8 alone.
fn is_utf8(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Option<String> {
        match path(text)? {
            (Path::Mailbox(mailbox), "") => Some(mailbox.address().to_owned()),
            (Path::Null, "") => Some(String::new()),
            (Path::Postmaster, "") => Some("postmaster".into()),
            (Path::Null | Path::Postmaster | Path::Mailbox(_), _) => None,
        }
    }

    #[test]
    fn paths_that_rfc_5321_allows_are_read() {
        for (written, address) in [
            ("<ada@example.org>", "ada@example.org"),
            ("<Ada+tag@Example.ORG>", "Ada+tag@Example.ORG"),
            ("<a.b.c@d>", "a.b.c@d"),
            ("<!#$%&'*+-/=?^_`{|}~@x.y>", "!#$%&'*+-/=?^_`{|}~@x.y"),
            ("<\"ada\"@example.org>", "ada@example.org"),
            ("<\"a b\"@example.org>", "a b@example.org"),
            (r#"<"a\"b\\>@c"@example.org>"#, r#"a"b\>@c@example.org"#),
            ("<root@[192.0.2.1]>", "root@[192.0.2.1]"),
            ("<root@[IPv6:2001:db8::1]>", "root@[IPv6:2001:db8::1]"),
            ("<@a.example,@b.example:ada@c.example>", "ada@c.example"),
            ("<>", ""),
            ("<PostMaster>", "postmaster"),
            ("<ä@bücher.example>", "ä@bücher.example"),
        ] {
            assert_eq!(meant(written).as_deref(), Some(address), "{written}");
        }
    }

    #[test]
    fn paths_that_rfc_5321_does_not_allow_are_none() {
        for written in [
            "",
            "ada@example.org",
            "<ada@example.org",
            "<ada>",
            "<@example.org>",
            "<ada@>",
            "<ada@@example.org>",
            "<ada@b@example.org>",
            "<.ada@example.org>",
            "<ada.@example.org>",
            "<a..b@example.org>",
            "<a b@example.org>",
            "< ada@example.org>",
            "<ada@example.org >",
            "<ada@-example.org>",
            "<ada@example-.org>",
            "<ada@example..org>",
            "<ada@example.org.>",
            "<ada@exa_mple.org>",
            "<(ada)@example.org>",
            "<a,b@example.org>",
            "<ada\u{1}@example.org>",
            "<ada\u{85}@example.org>",
            "<\"ada@example.org>",
            "<\"\"@example.org>",
            "<\"a\"b@example.org>",
            "<root@[192.0.2]>",
            "<root@[2001:db8::1]>",
            "<root@[IPv6:192.0.2.1]>",
            "<root@192.0.2.1]>",
            "<@a.example ada@c.example>",
            "<@:ada@c.example>",
            "<<ada@example.org>>",
        ] {
            assert_eq!(meant(written), None, "{written}");
        }
    }

    #[test]
    fn each_part_has_its_longest_length() {
        let of = |local: usize, domain: usize| {
            let labels = vec!["d"; domain / 2 + 1].join(".");
            meant(&format!("<{}@{labels}>", "a".repeat(local))).is_some()
        };
        assert!(of(64, 99));
        assert!(!of(65, 99));
        // 1 + 64 + 1 + 189 + 1 octets.
        assert!(of(64, 189));
        assert!(!of(64, 191));
        assert!(is_domain(&"d".repeat(255)));
        assert!(!is_domain(&"d".repeat(256)));
    }
}
