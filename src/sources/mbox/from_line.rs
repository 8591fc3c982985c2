//! Recognising From_ lines.
//!
//! A line of a body may begin with "From " too, and not every writer quotes it. So a From_ line is
//! known by its form, a sender and a date, and by what stands around it.

use std::time::SystemTime;

use memchr::memchr;

use super::date::{self, Dated};
use super::header::is_field;

/// The beginning of a line that separates the messages of an mbox.
pub(in crate::sources) const FROM: &[u8] = b"From ";

/// The longest From_ line that is recognised, in octets.
pub(super) const MAX_OCTETS: usize = 2048;

/// Octets behind a From_ line that show whether a header begins there.
pub(super) const BEHIND_OCTETS: usize = 2048;

/// The form of a line that begins with "From ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A sender and a date, as programs write them.
    Sure,
    /// A date behind something that may be a sender or prose.
    Likely,
    /// Nothing behind "From ", or a dash: as Thunderbird writes it.
    Bare,
    /// One word without a date.
    Undated,
    /// Anything else.
    Prose,
}

/// A From_ line, or a line that may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FromLine {
    pub(super) form: Form,
    pub(super) date: Option<SystemTime>,
    /// True if Thunderbird or another Mozilla writes such lines.
    pub(super) is_mozilla: bool,
    /// Did a program of this machine write the message?
    pub(super) is_daemon: bool,
}

/// The kinds of text behind a From_ line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// A header: a field, and another line of a header or nothing.
    Header,
    /// Something that may be a broken header.
    Mixed,
    /// An empty line, or the end of the file.
    Nothing,
    /// Neither.
    Prose,
}

impl FromLine {
    /// Reads a line that begins with "From ", without its end.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line.strip_prefix(FROM)?);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let sender = words.first().copied().unwrap_or_default();
        let (form, date) = match dated(&words) {
            Some((sender, dated)) => (form_of(sender, dated), Some(dated.at)),
            None if matches!(words[..], [] | ["-"]) => (Form::Bare, None),
            None if words.len() == 1 => (Form::Undated, None),
            None => (Form::Prose, None),
        };
        Some(Self {
            form,
            date,
            is_mozilla: matches!(sender, "" | "-"),
            is_daemon: matches!(sender, "MAILER-DAEMON" | "MAILER_DAEMON"),
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

/// Decides whether a message begins here.
///
/// `octets` begin with the line, and go on for [`BEHIND_OCTETS`] behind it or to the end of the
/// file. A line that has the form of one and no empty line before it counts if a header follows:
/// some writers leave no empty lines, and those that do quote such lines.
pub(super) fn separator(
    octets: &[u8],
    is_behind_empty_line: bool,
    file_has_undated: bool,
) -> Option<FromLine> {
    let (line, behind) = line_of(octets);
    if line.len() > MAX_OCTETS {
        return None;
    }
    let from_line = FromLine::of(line)?;
    let behind = || look_behind(behind);
    let is_one = match from_line.form {
        // Prose may quote such a line. It hardly has this sender, which our own export writes of a
        // message without a header.
        Form::Sure if is_behind_empty_line => from_line.is_daemon || behind() != Behind::Prose,
        Form::Sure | Form::Bare => behind() == Behind::Header,
        Form::Likely => is_behind_empty_line && behind() == Behind::Header,
        Form::Undated => file_has_undated && is_behind_empty_line && behind() != Behind::Prose,
        Form::Prose => false,
    };
    is_one.then_some(from_line)
}

/// Returns whether a file that begins so begins with a From_ line.
pub(super) fn begins_mbox(octets: &[u8]) -> bool {
    let (line, behind) = line_of(octets);
    let Some(from_line) = FromLine::of(line) else {
        return false;
    };
    match from_line.form {
        Form::Sure | Form::Likely | Form::Bare => true,
        Form::Undated | Form::Prose => look_behind(behind) != Behind::Prose,
    }
}

/// Returns the size in octets of the From_ line that a message in a file of its own begins with;
/// none if it begins with none.
pub(in crate::sources) fn octets_of_from_line(octets: &[u8]) -> usize {
    let (line, behind) = line_of(octets);
    let is_one = FromLine::of(line).is_some_and(|from_line| match from_line.form {
        Form::Sure => look_behind(behind) != Behind::Prose,
        Form::Likely | Form::Bare | Form::Undated => look_behind(behind) == Behind::Header,
        Form::Prose => false,
    });
    if is_one {
        octets.len() - behind.len()
    } else {
        0
    }
}

/// The first line, without its end, and what stands behind it.
fn line_of(octets: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
    let (line, behind) = octets.split_at_checked(end).unwrap_or((octets, &[]));
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), behind)
}

fn look_behind(octets: &[u8]) -> Behind {
    let (mut first, mut behind) = line_of(octets);
    // UUCP left further From_ lines, and an MTA one that it had from another.
    for _ in 0..4 {
        let unquoted = first.strip_prefix(b">").unwrap_or(first);
        if !FromLine::of(unquoted).is_some_and(|line| line.form == Form::Sure) {
            break;
        }
        (first, behind) = line_of(behind);
    }
    if first.is_empty() {
        return Behind::Nothing;
    }
    let (second, behind) = line_of(behind);
    let (third, _) = line_of(behind);
    let goes_on =
        |line: &[u8]| line.is_empty() || line.starts_with(b" ") || line.starts_with(b"\t");
    if is_field(first) && (goes_on(second) || is_field(second) || second.starts_with(b">From ")) {
        Behind::Header
    } else if [first, second, third].into_iter().any(is_field) {
        Behind::Mixed
    } else {
        Behind::Prose
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            assert!(matches!(form(line), Form::Prose | Form::Undated), "{line}");
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
    fn what_stands_around_a_line_decides_with_its_form() {
        const SURE: &str = "From ada@example.org Wed Feb  1 19:00:04 2006\n";
        const DAEMON: &str = "From MAILER-DAEMON Wed Feb  1 19:00:04 2006\n";
        const LIKELY: &str = "From what I saw on Wed Feb  1 19:00:04 2006\n";
        for (line, behind, after_an_empty_line, within) in [
            (SURE, "Subject: x\nTo: y\n", true, true),
            (SURE, "Subject: x", true, true),
            (SURE, "Subject: x\n\nhi\n", true, true),
            (SURE, "Received: by x\n\tfor y\n", true, true),
            (
                SURE,
                ">From uucp Wed Feb  1 19:00 2006 remote from x\nTo: a\n",
                true,
                true,
            ),
            (SURE, "\nhi\n", true, false),
            (SURE, "", true, false),
            (SURE, "Note: this is\nno header\n", true, false),
            (SURE, "Version 2.0\nReceived: by x\n", true, false),
            (SURE, "was a strange line.\n\n", false, false),
            (DAEMON, "no header\n", true, false),
            (SURE, "https://example.org\nis it\n", false, false),
            (LIKELY, "Subject: x\nTo: y\n", true, false),
            (LIKELY, "\n", false, false),
            ("From \n", "Subject: x\nTo: y\n", true, true),
            ("From -\n", "Here\nTo\n", false, false),
            ("From \n", "\n", false, false),
            ("From here\n", "But: it\nis not\n", false, false),
            ("From here\n", "Subject: x\nTo: y\n", false, false),
        ] {
            let octets = format!("{line}{behind}");
            let is_one = |empty| separator(octets.as_bytes(), empty, false).is_some();
            assert_eq!(is_one(true), after_an_empty_line, "{octets:?}");
            assert_eq!(is_one(false), within, "{octets:?}");
        }
        let undated = b"From ada\nSubject: x\n";
        assert!(separator(undated, true, true).is_some());
        assert!(separator(undated, false, true).is_none());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "From (Jan|Feb|[0-9:+-]{1,9}|\\PC{1,3}| ){0,9}(\n\\PC{0,9}){0,3}") {
            separator(line.as_bytes(), true, true);
            begins_mbox(line.as_bytes());
            octets_of_from_line(line.as_bytes());
        }
    }
}
