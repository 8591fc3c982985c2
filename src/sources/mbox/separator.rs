//! Decides which From_ lines separate the messages of an mbox.
//!
//! A line of a body may begin with "From " too, and not every writer quotes it. So such a line is
//! known by its form, and by what stands around it.

use crate::from_line::{Form, FromLine, is_field, line_of};

/// The longest From_ line that is recognised, in octets.
pub(super) const MAX_OCTETS: usize = 2048;

/// Octets behind a From_ line that show whether a header begins there.
pub(super) const BEHIND_OCTETS: usize = 2048;

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
        Form::Loose | Form::Prose => false,
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
        Form::Undated | Form::Loose | Form::Prose => look_behind(behind) != Behind::Prose,
    }
}

/// Returns the size in octets of the From_ line that a message in a file of its own begins with;
/// none if it begins with none.
pub(in crate::sources) fn octets_of_from_line(octets: &[u8]) -> usize {
    let (line, behind) = line_of(octets);
    let is_one = FromLine::of(line).is_some_and(|from_line| match from_line.form {
        Form::Sure => look_behind(behind) != Behind::Prose,
        Form::Likely | Form::Bare | Form::Undated => look_behind(behind) == Behind::Header,
        Form::Loose | Form::Prose => false,
    });
    if is_one {
        octets.len() - behind.len()
    } else {
        0
    }
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
