//! From_ lines: in front of each message of an mbox, and of a message that an MTA pipes.
//!
//! The line has a sender and a date: `From ada@example.org Wed Feb  1 19:00:04 2006`.

mod date;

use std::time::SystemTime;

use memchr::memchr;

use date::Dated;

/// The beginning of a From_ line.
pub(crate) const FROM: &[u8] = b"From ";

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The form of a line that begins with "From ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A sender and a date, as programs write them.
    Sure,
    /// A date behind something that may be a sender or prose.
    Likely,
    /// Nothing behind "From ", or a dash: as Thunderbird writes it.
    Bare,
    /// A sender without a date.
    Undated,
    /// A month and a time behind a sender, in no order that is a date.
    Loose,
    /// Anything else.
    Prose,
}

/// A From_ line, or a line that may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FromLine {
    pub(crate) form: Form,
    pub(crate) date: Option<SystemTime>,
    /// True if Thunderbird or another Mozilla writes such lines.
    pub(crate) is_mozilla: bool,
    /// Did a program of this machine write the message?
    pub(crate) is_daemon: bool,
}

impl FromLine {
    /// Reads a line that begins with "From ", without its end.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line.strip_prefix(FROM)?);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (sender, behind) = sender_of(line)?;
        let (form, date) = match dated(&words) {
            Some((sender, dated)) => (form_of(sender, dated), Some(dated.at)),
            None if matches!(words[..], [] | ["-"]) => (Form::Bare, None),
            None if behind.is_empty() => (Form::Undated, None),
            None if has_month_and_time(behind) => (Form::Loose, None),
            None => (Form::Prose, None),
        };
        Some(Self {
            form,
            date,
            is_mozilla: matches!(sender, b"" | b"-"),
            is_daemon: matches!(sender, b"MAILER-DAEMON" | b"MAILER_DAEMON"),
        })
    }
}

/// The sender and the date of a From_ line. A sender may contain blanks, so the date is where one
/// begins that goes on to the end of the line.
fn dated<'a>(words: &'a [&'a str]) -> Option<(&'a [&'a str], Dated)> {
    let earliest = words.len().saturating_sub(date::MAX_WORDS);
    (earliest..words.len()).find_map(|at| {
        let (sender, date) = words.split_at_checked(at)?;
        Some((sender, date::of_words(date)?))
    })
}

fn form_of(sender: &[&str], dated: Dated) -> Form {
    let is_address = sender.iter().any(|word| word.contains('@'));
    let is_quoted = sender.first().is_some_and(|word| word.starts_with('"'));
    // Archives of mailing lists write "ada at example.org".
    let is_hidden_address = matches!(sender, [_, "at", _]);
    let is_plain = sender.len() == 1 || is_address || is_quoted || is_hidden_address;
    if is_plain && (dated.has_weekday || is_address) {
        Form::Sure
    } else {
        Form::Likely
    }
}

/// Splits a From_ line into its sender and the text behind it, without blanks around them; `None`
/// if the line does not begin with "From ".
///
/// The sender is one word, but may have blanks in quotes.
pub(crate) fn sender_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = line.strip_prefix(FROM)?.trim_ascii();
    let (sender, behind) = text.split_at_checked(end_of_sender(text))?;
    Some((sender, behind.trim_ascii_start()))
}

/// Returns the end of the sender, in octets.
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

/// Returns true if it has a month and a time, in any order.
fn has_month_and_time(text: &[u8]) -> bool {
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

/// Returns the first line, without its end, and the octets behind it.
pub(crate) fn line_of(octets: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
    let (line, behind) = octets.split_at_checked(end).unwrap_or((octets, &[]));
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), behind)
}

/// Returns the name and the value of a field; `None` if the line has no colon.
pub(crate) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name.trim_ascii_end(), value.get(1..)?))
}

/// Returns true if a line looks like the first one of a field. The URL of a page does not.
pub(crate) fn is_field(line: &[u8]) -> bool {
    let Some((name, value)) = field(line) else {
        return false;
    };
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && !value.starts_with(b"//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(line: &str) -> Form {
        FromLine::of(line.as_bytes()).unwrap().form
    }

    #[test]
    fn every_form_that_programs_write_is_known() {
        for line in [
            "From ada@example.org Wed Feb  1 19:00:04 2006",
            "From ada@example.org  Wed Feb  1 19:00:04 2006",
            "From ada@example.org\tWed Feb  1 19:00 2006",
            "From ada Wed Feb  1 19:00:04 06",
            "From ada@example.org Wed Feb  1 19:00:04 CET 2006",
            "From ada@example.org Wed Feb  1 19:00:04 2006 +0100",
            "From 1587@xxx Wed Feb 01 19:00:04 +0000 2006",
            "From ada@example.org Wed, 1 Feb 2006 19:00:04 +0100 (CET)",
            "From ada@example.org 1 Feb 2006 19:00:04 +0100",
            "From ada@example.org 2006-02-01T19:00:04Z",
            "From - Wed Feb  1 19:00:04 2006",
            "From ???@??? Wed Feb 01 19:00:04 2006",
            "From MAILER-DAEMON Wed Feb  1 19:00:04 2006",
            "From uucp Wed Feb  1 19:00 2006 remote from example",
            "From example!ada Wed Feb  1 19:00:04 2006",
            "From \"ada lovelace\"@example.org Wed Feb  1 19:00:04 2006",
            "From \"Ada Lovelace\" Wed Feb  1 19:00:04 2006",
            "From Ada Lovelace <ada@example.org> Wed Feb  1 19:00:04 2006",
            "From ada at example.org  Wed Feb  1 19:00:04 2006",
            "From <> Wed Feb  1 19:00:04 2006",
        ] {
            assert_eq!(form(line), Form::Sure, "{line}");
        }
        for line in ["From ", "From -", "From    "] {
            assert_eq!(form(line), Form::Bare, "{line}");
        }
    }

    #[test]
    fn a_paragraph_is_none_and_one_with_a_date_is_doubtful() {
        for line in [
            "From the quay we took the early ferry.",
            "From here on it is easy",
            "From Monday on, Feb 1 is free",
            "From ada@example.org",
            "From ada@example.org Wed Feb  1 19:00:04 2006, as I said",
            "From 19:00 to 20:00 on Wed Feb 1",
        ] {
            assert!(
                matches!(form(line), Form::Prose | Form::Loose | Form::Undated),
                "{line}"
            );
        }
        for line in [
            "From Monday on, Feb 1 19:00 2006",
            "From what I saw on Wed Feb  1 19:00:04 2006",
            "From Wed Feb  1 19:00:04 2006",
            "From yesterday 2006-02-01 19:00",
        ] {
            assert_eq!(form(line), Form::Likely, "{line}");
        }
    }

    #[test]
    fn a_month_and_a_time_that_are_no_date_are_told_from_prose() {
        for line in [
            "From ada@example.org Wed Feb  1 19:00:04 2006, as I said",
            "From ada Feb 19:00",
            "From 19:00 to 20:00 on Wed Feb 1",
        ] {
            assert_eq!(form(line), Form::Loose, "{line}");
        }
    }

    #[test]
    fn a_sender_may_have_blanks_in_quotes() {
        for (line, sender, behind) in [
            ("From ada x y", "ada", "x y"),
            ("From  \"a b\"@example.org  x", "\"a b\"@example.org", "x"),
            (
                "From \"a \\\" b\"@example.org x",
                "\"a \\\" b\"@example.org",
                "x",
            ),
            ("From o\"brien x", "o\"brien", "x"),
            ("From ", "", ""),
        ] {
            let parts = (sender.as_bytes(), behind.as_bytes());
            assert_eq!(sender_of(line.as_bytes()), Some(parts), "{line}");
        }
        assert_eq!(sender_of(b"from ada x"), None);
    }

    #[test]
    fn fields_are_told_from_prose() {
        for line in ["Subject: x", "X-Y:", "a:b", "Status : O"] {
            assert!(is_field(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            ":",
            " a: b",
            "two words: x",
            "https://example.org",
            "no colon",
        ] {
            assert!(!is_field(line.as_bytes()), "{line}");
        }
    }
}
