//! The From_ line that a mail server's pipe puts in front of a message.
//!
//! It is no part of the message: it says from whom it came, as Return-Path does in a maildrop.
//! Exim, Postfix (`flags=F`), Sendmail and procmail write one.

use crate::from_line::{Form, FromLine, field, is_field, line_of, sender_of};

/// Octets of a message that are looked at: From_ lines and the line behind them.
pub(super) const LOOKED_AT_OCTETS: usize = 16 * 1024;

/// UUCP left one such line per machine.
const MAX_LINES: usize = 8;

/// The sender of bounces, by the name that stands in a From_ line for `<>`.
const NOBODY: &[u8] = b"MAILER-DAEMON";

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
        let is_whole = line.len() + behind.len() < message.len();
        let Some(found) = sender_before(line, behind).filter(|_| is_whole) else {
            break;
        };
        if count == 0 {
            sender = found;
        }
        message = behind;
    }
    // The mail server has said it itself, and may know better.
    let (first, _) = line_of(message);
    if field(first).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"Return-Path")) {
        sender = None;
    }
    Envelope { sender, message }
}

/// Returns the sender of a From_ line with this text behind it, which may be none; nothing if the
/// line is not one.
fn sender_before<'a>(line: &'a [u8], behind: &[u8]) -> Option<Option<&'a [u8]>> {
    let line = line.strip_prefix(b">").unwrap_or(line);
    let (sender, _) = sender_of(line)?;
    // "From : bob@example.org" is an old spelling of a header field.
    if sender.is_empty() || sender.starts_with(b":") {
        return None;
    }
    let is_one = match FromLine::of(line)?.form {
        Form::Sure | Form::Likely | Form::Loose => true,
        Form::Bare | Form::Undated => is_field(line_of(behind).0),
        Form::Prose => false,
    };
    if !is_one {
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
            (
                "From bob@example.com 2024-01-01T00:00:00Z",
                Some("bob@example.com"),
            ),
            (
                "From bob@example.com Jan 00:00, in no order",
                Some("bob@example.com"),
            ),
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
