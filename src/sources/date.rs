//! The date of a From_ line.

use std::time::SystemTime;

use jiff::Timestamp;

/// The date of a line like `From ada@example.org Sat Jan  3 01:05:34 1996 +0100`.
///
/// The zone may also stand before the year, as some programs write it. Without one the time is
/// UTC (RFC 4155).
pub(super) fn of_from_line(line: &[u8]) -> Option<SystemTime> {
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    // A sender may contain spaces, so the date is wherever there is one. Its day of the week says
    // nothing that the rest does not.
    (0..words.len()).find_map(|at| of_words(words.get(at..)?))
}

/// The date that begins with these words, the first of which is the month.
fn of_words(words: &[&str]) -> Option<SystemTime> {
    let [month, day, time, rest @ ..] = words else {
        return None;
    };
    let rest = rest.iter().take(3);
    let year = rest.clone().find(|word| is_year(word))?;
    let zone = rest.clone().find(|word| is_zone(word));
    let zone = zone.unwrap_or(&"+0000");
    let date = format!("{month} {day} {time} {year} {zone}");
    let timestamp = Timestamp::strptime("%b %d %H:%M:%S %Y %z", date).ok()?;
    Some(SystemTime::from(timestamp))
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && word.bytes().all(|octet| octet.is_ascii_digit())
}

fn is_zone(word: &str) -> bool {
    word.strip_prefix(['+', '-']).is_some_and(is_year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    /// Seconds since 1970 of 3 January 1996, 01:05:34 UTC.
    const SECONDS: u64 = 820_631_134;

    fn seconds(line: &str) -> Option<u64> {
        let date = of_from_line(line.as_bytes())?;
        Some(date.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn a_date_without_a_zone_is_utc() {
        for line in [
            "From ada@example.org Wed Jan  3 01:05:34 1996\n",
            "From ada@example.org Wed Jan 03 01:05:34 1996\r\n",
            "From ada@example.org Wed Jan 3 01:05:34 1996",
            "From ada@example.org Sat Jan  3 01:05:34 1996\n",
            "From MAILER-DAEMON Wed Jan  3 01:05:34 1996 remote from example\n",
            "From ada lovelace at 12:00 Wed Jan  3 01:05:34 1996\n",
            "From  Wed Jan  3 01:05:34 1996\n",
        ] {
            assert_eq!(seconds(line), Some(SECONDS), "{line}");
        }
    }

    #[test]
    fn a_zone_is_heeded_behind_the_year_and_before_it() {
        for line in [
            "From a Wed Jan  3 02:05:34 1996 +0100\n",
            "From 1587@xxx Wed Jan 03 02:05:34 +0100 1996\r\n",
            "From a Tue Jan  2 20:05:34 1996 -0500\n",
            "From a Wed Jan  3 01:05:34 1996 -0000\n",
            "From a Wed Jan  3 01:05:34 GMT 1996\n",
        ] {
            assert_eq!(seconds(line), Some(SECONDS), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_date_has_none() {
        for line in [
            "From ",
            "From here to eternity\n",
            "From a Wed Jan 32 01:05:34 1996\n",
            "From a Wed Jan 3 25:05:34 1996\n",
            "From a Wed Jan 3 01:05:34\n",
            "From a Wed Foo 3 01:05:34 1996\n",
            "From a 1996-01-03T01:05:34Z\n",
        ] {
            assert_eq!(seconds(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "From (Jan|Feb|[0-9:+-]{1,9}|\\PC{1,3}| ){0,9}") {
            of_from_line(line.as_bytes());
        }
    }
}
