//! The From_ line that a mail server's pipe puts in front of a message.
//!
//! It is no part of the message: it says from whom it came, as Return-Path does in a maildrop.
//! Exim, Postfix (`flags=F`), Sendmail and procmail write one.

/// Octets of a message that are looked at: From_ lines and the line behind them.
pub(super) const LOOKED_AT_OCTETS: usize = 16 * 1024;

/// UUCP left one such line per machine.
const MAX_LINES: usize = 8;

/// The sender of bounces, by the name that stands in a From_ line for `<>`.
const NOBODY: &[u8] = b"MAILER-DAEMON";

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The beginning of a message without its From_ lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The sender that the first From_ line names, empty for that of a bounce. None if there is no
    /// such line, or no sender in it.
    pub(super) sender: Option<&'a [u8]>,
    /// The message, as far as it was given.
    pub(super) message: &'a [u8],
}

/// Takes the From_ lines off a message that begins so.
pub(super) fn strip(beginning: &[u8]) -> Envelope<'_> {
    let mut sender = None;
    let mut message = beginning;
    for count in 0..MAX_LINES {
        let (line, behind) = line_of(message);
        let Some(found) = sender_of(line, behind) else {
            break;
        };
        if count == 0 {
            sender = found;
        }
        message = behind;
    }
    // The mail server has said it itself, and may know better.
    let (first, _) = line_of(message);
    if field_name(first).is_some_and(|name| name.eq_ignore_ascii_case(b"Return-Path")) {
        sender = None;
    }
    Envelope { sender, message }
}

/// The sender of a From_ line, which may be none; nothing if the line is not one.
fn sender_of<'a>(line: &'a [u8], behind: &[u8]) -> Option<Option<&'a [u8]>> {
    let line = line.strip_prefix(b">").unwrap_or(line);
    let text = line.strip_prefix(b"From ")?.trim_ascii();
    let (sender, rest) = text.split_at(end_of_sender(text));
    // "From : bob@example.org" is an old spelling of a header field.
    if sender.is_empty() || sender.starts_with(b":") {
        return None;
    }
    let alone = rest.is_empty() && field_name(line_of(behind).0).is_some();
    if !(alone || has_date(rest)) {
        return None;
    }
    let unbracketed = sender
        .strip_prefix(b"<")
        .and_then(|it| it.strip_suffix(b">"));
    let sender = unbracketed.unwrap_or(sender);
    Some(match sender {
        b"-" => None,
        _ if sender.eq_ignore_ascii_case(NOBODY) => Some(&[]),
        _ if sender.iter().any(u8::is_ascii_control) => None,
        _ => Some(sender),
    })
}

/// Returns the end of the sender, which is one word but for blanks in quotes.
fn end_of_sender(text: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let ends = |octet: &u8| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return !quoted && octet.is_ascii_whitespace(),
        }
        false
    };
    let end = text.iter().position(ends);
    // A quote that does not close is one character of a name.
    end.or_else(|| text.iter().position(u8::is_ascii_whitespace))
        .unwrap_or(text.len())
}

/// Returns whether it has a date: a month and a time, in any order.
fn has_date(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let mut words = text.split(|c: char| c.is_ascii_whitespace() || c == ',' || c == '-');
    let is_number = |part: &str| {
        (1..=2).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
    };
    let is_time = |word: &str| {
        let parts = word.split(':');
        (2..=3).contains(&parts.clone().count()) && parts.into_iter().all(is_number)
    };
    words.clone().any(|word| MONTHS.contains(&word)) && words.any(is_time)
}

/// The first line without its end, and what stands behind it; no line if it has no end.
fn line_of(octets: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = memchr::memchr(b'\n', octets) else {
        return (&[], octets);
    };
    let (line, behind) = octets.split_at(end);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (line, behind.get(1..).unwrap_or_default())
}

/// The name of a header field, if the line begins one.
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let (name, _) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stripped(text: &str) -> (Option<&str>, &str) {
        let Envelope { sender, message } = strip(text.as_bytes());
        let text = |octets| std::str::from_utf8(octets).unwrap();
        (sender.map(text), text(message))
    }

    #[test]
    fn the_sender_of_every_form_of_the_line_is_told() {
        for (line, sender) in [
            (
                "From bob@example.com Mon Jan  1 00:00:00 2024",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com  Mon Jan  1 00:00:00 2024",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com Mon Jan  1 00:00:00 2024\r",
                Some("bob@example.com"),
            ),
            (
                ">From bob@example.com Mon Jan  1 00:00:00 2024",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com Mon Jan  1 00:00 2024",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com Mon Jan  1 00:00:00 CET 24",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com Mon Jan  1 00:00:00 2024 +0100",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com Mon, 01 Jan 2024 00:00:00 +0000",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com 1-Jan-2024 0:00",
                Some("bob@example.com"),
            ),
            (
                "From <bob@example.com> Mon Jan  1 00:00:00 2024",
                Some("bob@example.com"),
            ),
            (
                "From \"a b\"@example.com Mon Jan  1 00:00:00 2024",
                Some("\"a b\"@example.com"),
            ),
            (
                "From o\"brien@example.com Mon Jan  1 00:00:00 2024",
                Some("o\"brien@example.com"),
            ),
            (
                "From host!bob Mon Jan  1 00:00:00 2024 remote from host",
                Some("host!bob"),
            ),
            ("From root Mon Jan  1 00:00:00 2024", Some("root")),
            ("From MAILER-DAEMON Mon Jan  1 00:00:00 2024", Some("")),
            ("From <> Mon Jan  1 00:00:00 2024", Some("")),
            ("From - Mon Jan  1 00:00:00 2024", None),
            ("From bob\u{1}@example.com Mon Jan  1 00:00:00 2024", None),
            ("From bob@example.com", Some("bob@example.com")),
        ] {
            let text = format!("{line}\nSubject: hi\n\nFrom me Mon Jan  1 00:00:00 2024\n");
            let (found, message) = stripped(&text);
            assert_eq!(found, sender, "{line}");
            assert!(message.starts_with("Subject: hi\n\nFrom me"), "{line}");
        }
    }

    #[test]
    fn what_is_no_such_line_stays() {
        for text in [
            "",
            "From ",
            "From bob@example.com Mon Jan  1 00:00:00 2024",
            "From : bob@example.com\nSubject: Jan 10:00\n",
            "From: bob@example.com\n\nFrom bob@example.com Mon Jan  1 00:00:00 2024\n",
            "From bob@example.com\nhello\n",
            "From what I hear, it is fine.\n",
            "From Monday to Friday at 10:30\n",
            "from bob@example.com Mon Jan  1 00:00:00 2024\n",
            ">>From bob@example.com Mon Jan  1 00:00:00 2024\n",
            "\nFrom bob@example.com Mon Jan  1 00:00:00 2024\n",
            "Subject: hi\nFrom bob@example.com Mon Jan  1 00:00:00 2024\n",
        ] {
            assert_eq!(stripped(text), (None, text));
        }
    }

    #[test]
    fn several_lines_go_and_the_first_tells_the_sender() {
        let uucp = "From bob Mon Jan  1 00:00:00 2024\n>From eve Sun Dec 31 00:00:00 2023 remote from x\n\
            Subject: hi\n";
        assert_eq!(stripped(uucp), (Some("bob"), "Subject: hi\n"));
    }

    #[test]
    fn a_return_path_that_is_there_is_not_told_again() {
        let line = "From bob@example.com Mon Jan  1 00:00:00 2024\n";
        let message = "return-path: <eve@example.com>\nSubject: hi\n";
        assert_eq!(stripped(&format!("{line}{message}")), (None, message));
    }

    proptest! {
        #[test]
        fn a_sender_fits_on_a_line_and_the_rest_is_the_end_of_what_came(
            text in "(>?From [^\n]{0,20}( Jan 1 00:00)?\r?\n){0,3}.{0,30}"
        ) {
            let Envelope { sender, message } = strip(text.as_bytes());
            prop_assert!(text.as_bytes().ends_with(message));
            let controls = sender.unwrap_or_default().iter().filter(|c| c.is_ascii_control());
            prop_assert_eq!(controls.count(), 0);
        }
    }
}
