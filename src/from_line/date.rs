//! The date of a From_ line, in every form that programs have written.

use std::time::SystemTime;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;

/// A date that words end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dated {
    pub(super) at: SystemTime,
    /// True if it names the day of the week.
    pub(super) has_weekday: bool,
}

/// The most words that a date has, with its zone and the host that it is `remote from`.
pub(super) const MAX_WORDS: usize = 14;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// Names of time zones, in minutes east of Greenwich.
const ZONES: [(&str, i32); 33] = [
    ("Z", 0),
    ("UT", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("MET", 60),
    ("MEST", 120),
    ("MEZ", 60),
    ("MESZ", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("MSD", 240),
    ("JST", 540),
    ("KST", 540),
    ("HKT", 480),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("HST", -600),
];

/// The date that these words are, and nothing else.
///
/// Without a zone, or with one of an unknown name, the time is UTC (RFC 4155).
pub(super) fn of_words(words: &[&str]) -> Option<Dated> {
    let words = without_remark(words);
    let (first, behind) = words.split_first()?;
    let has_weekday = is_weekday(first);
    let words = if has_weekday { behind } else { words };
    let (date, rest) = day(words)?;
    Some(Dated {
        at: rest_of_date(date, &rest)?,
        has_weekday,
    })
}

/// Without a comment in parentheses, and without the host from which UUCP had the message.
fn without_remark<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    let remark = words.iter().position(|word| word.starts_with('('));
    let words = words.get(..remark.unwrap_or(words.len())).unwrap_or(words);
    match words {
        [date @ .., "remote", "from", _host] => date,
        _ => words,
    }
}

/// A year, a month and a day; the year may stand elsewhere.
type Day = (Option<i16>, i8, i8);

/// The day that the words begin with, and what stands behind it.
fn day<'a>(words: &[&'a str]) -> Option<(Day, Vec<&'a str>)> {
    let (first, behind) = words.split_first()?;
    let rest = |from: usize| behind.get(from..).unwrap_or_default().to_vec();
    let next = || behind.first().copied();
    // "Feb  1"
    if let Some(month) = month(first) {
        return Some(((None, month, day_of_month(next()?)?), rest(1)));
    }
    // "1 Feb"
    if let Some(day) = day_of_month(first) {
        return Some(((None, month(next()?)?, day), rest(1)));
    }
    let parts: Vec<&str> = first.splitn(3, ['-', '/']).collect();
    let [one, two, three] = parts[..] else {
        return None;
    };
    // "01-Feb-06"
    if let Some(month) = month(two) {
        return Some(((Some(year(three)?), month, day_of_month(one)?), rest(0)));
    }
    // "2006-02-01", with or without the time in the same word
    let (three, time) = three.split_once(['T', 't']).unwrap_or((three, ""));
    let month = two.parse().ok()?;
    let year = if one.len() == 4 {
        year(one)?
    } else {
        return None;
    };
    let mut words = time_and_zone(time);
    words.extend(rest(0));
    Some(((Some(year), month, day_of_month(three)?), words))
}

/// `19:00:04+01:00` is a time and a zone.
fn time_and_zone(time: &str) -> Vec<&str> {
    let zone = time.find(['+', '-', 'Z', 'z']).unwrap_or(time.len());
    let (time, zone) = time.split_at_checked(zone).unwrap_or((time, ""));
    [time, zone]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect()
}

/// A time, a year if there was none yet, and any zones, in any order.
fn rest_of_date((mut known_year, month, day): Day, words: &[&str]) -> Option<SystemTime> {
    let (mut known_time, mut offset, mut zones) = (None, 0, 0);
    for word in words {
        if known_time.is_none() && word.contains(':') && !word.starts_with(['+', '-']) {
            known_time = Some(time(word)?);
        } else if known_year.is_none() && word.starts_with(|c: char| c.is_ascii_digit()) {
            known_year = Some(year(word)?);
        } else {
            offset += zone(word)?;
            zones += 1;
        }
    }
    // "MET DST", and both a name and a number.
    if zones > 3 {
        return None;
    }
    let date = Date::new(known_year?, month, day).ok()?;
    let offset = Offset::from_seconds(offset.clamp(-840, 840) * 60).ok()?;
    let timestamp = offset.to_timestamp(date.to_datetime(known_time?)).ok()?;
    SystemTime::try_from(timestamp).ok()
}

fn is_weekday(word: &str) -> bool {
    begins_one_of(&WEEKDAYS, word).is_some()
}

fn month(word: &str) -> Option<i8> {
    let at = begins_one_of(&MONTHS, word)?;
    i8::try_from(at + 1).ok()
}

/// Returns the index of the name that a word is, or is short for.
fn begins_one_of(names: &[&str], word: &str) -> Option<usize> {
    let word = word.trim_end_matches([',', '.']).to_ascii_lowercase();
    let fits = |name: &&str| word.len() >= 3 && name.starts_with(&word);
    names.iter().position(fits)
}

fn day_of_month(word: &str) -> Option<i8> {
    let word = word.trim_end_matches([',', '.']);
    let day = digits(word, 1..=2)?.parse().ok()?;
    (1..=31).contains(&day).then_some(day)
}

/// Years of two digits are 1970 to 2069. Programs of the last century made 100 of the year 2000,
/// and 19100.
fn year(word: &str) -> Option<i16> {
    let word = word.trim_end_matches(',');
    let year: i16 = digits(word, 2..=5)?.parse().ok()?;
    let year = match (word.len(), year) {
        (2, 70..) => 1900 + year,
        (2, _) => 2000 + year,
        (3, 100..=199) => 1900 + year,
        (4, 1970..=2199) => year,
        (5, 19_100..=19_199) => year - 17_100,
        _ => return None,
    };
    Some(year)
}

fn time(word: &str) -> Option<Time> {
    let mut parts = word.split(':');
    let hour = digits(parts.next()?, 1..=2)?.parse().ok()?;
    let minute = digits(parts.next()?, 2..=2)?.parse().ok()?;
    let second: i8 = match parts.next() {
        Some(seconds) => {
            let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            digits(fraction, 1..=9)?;
            digits(seconds, 2..=2)?.parse().ok()?
        }
        None => 0,
    };
    if parts.next().is_some() || second > 60 {
        return None;
    }
    // A leap second is not counted.
    Time::new(hour, minute, second.min(59), 0).ok()
}

/// Minutes east of Greenwich.
fn zone(word: &str) -> Option<i32> {
    let sign = word.find(['+', '-']);
    let (name, number) = word.split_at_checked(sign.unwrap_or(word.len()))?;
    let mut minutes = match name {
        "" if number.is_empty() => return None,
        "" => 0,
        "DST" => 60,
        name => named(name)?,
    };
    if let Some(digits_of_zone) = number.strip_prefix(['+', '-']) {
        let plain = digits_of_zone.replace(':', "");
        let number: i32 = digits(&plain, 1..=4)?.parse().ok()?;
        let east = match plain.len() {
            1 | 2 => number * 60,
            _ => number / 100 * 60 + number % 100,
        };
        minutes += if word.contains('-') { -east } else { east };
    }
    Some(minutes)
}

/// A zone by its name. What has the form of one and is unknown counts as UTC.
fn named(name: &str) -> Option<i32> {
    let is_one = name.len() <= 5 && name.bytes().all(|octet| octet.is_ascii_uppercase());
    let known = || ZONES.iter().find(|(known, _)| *known == name);
    is_one.then(|| known().map_or(0, |(_, minutes)| *minutes))
}

/// A word of so many digits.
fn digits(word: &str, many: std::ops::RangeInclusive<usize>) -> Option<&str> {
    let all = word.bytes().all(|octet| octet.is_ascii_digit());
    (all && many.contains(&word.len())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    /// Seconds since 1970 of 1 February 2006, 19:00:04 UTC.
    const SECONDS: u64 = 1_138_820_404;

    fn seconds(text: &str) -> Option<u64> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let dated = of_words(&words)?;
        Some(dated.at.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn a_date_without_a_zone_is_utc() {
        for text in [
            "Wed Feb  1 19:00:04 2006",
            "Wed Feb 01 19:00:04 2006",
            "wed feb 1 19:00:04 2006",
            // The day of the week says nothing that the rest does not.
            "Sat Feb  1 19:00:04 2006",
            "Feb  1 19:00:04 2006",
            "Wednesday, February 1, 2006 19:00:04",
            "Wed. Feb 1 2006 19:00:04",
            "Wed Feb  1 19:00:04 06",
            "Wed Feb  1 19:00:04 106",
            "Wed Feb  1 19:00:04 19106",
            "Wed, 1 Feb 2006 19:00:04",
            "1 Feb 06 19:00:04",
            "Wednesday, 01-Feb-06 19:00:04",
            "2006-02-01 19:00:04",
            "2006-02-01T19:00:04.123",
            "2006/02/01 19:00:04",
            "Wed Feb  1 19:00:04 2006 remote from example",
            "Wed Feb  1 19:00:04 2006 (a comment)",
        ] {
            assert_eq!(seconds(text), Some(SECONDS), "{text}");
        }
        assert_eq!(seconds("Wed Feb  1 19:00 2006"), Some(SECONDS - 4));
        assert_eq!(seconds("Wed Feb  1 9:00 2006"), Some(SECONDS - 36_004));
        assert_eq!(seconds("Fri Dec 31 23:59:60 99"), Some(946_684_799));
    }

    #[test]
    fn a_zone_is_heeded_by_number_and_by_name_before_the_year_and_behind_it() {
        for text in [
            "Wed Feb  1 20:00:04 2006 +0100",
            "Wed Feb 01 20:00:04 +0100 2006",
            "Wed Feb  1 14:00:04 2006 -0500",
            "Wed Feb  1 19:00:04 2006 -0000",
            "Wed Feb  1 19:00:04 GMT 2006",
            "Wed Feb  1 20:00:04 CET 2006",
            "Wed Feb  1 20:00:04 2006 CET",
            "Wed Feb  1 21:00:04 MET DST 2006",
            "Wed Feb  1 11:00:04 PST 2006",
            "Wed Feb  1 19:00:04 QQQ 2006",
            "Wed Feb  1 20:00:04 2006 GMT+1",
            "Wed, 1 Feb 2006 20:00:04 +0100 (CET)",
            "Wed, 1 Feb 2006 14:00:04 EST",
            "2006-02-01T19:00:04Z",
            "2006-02-01T20:00:04+01:00",
            "2006-02-01 20:00:04 +0100",
            "Wed Feb  1 20:00:04 2006 +0100 remote from example",
        ] {
            assert_eq!(seconds(text), Some(SECONDS), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_or_more_than_one_is_none() {
        for text in [
            "",
            "Wed",
            "Wed Feb 32 01:05:34 1996",
            "Wed Feb 30 01:05:34 1996",
            "Wed Feb 3 25:05:34 1996",
            "Wed Feb 3 01:05:34",
            "Wed Foo 3 01:05:34 1996",
            "Wed Feb 3 1996",
            "Wed Feb 1 19:00:04 2006 and then",
            "Wed Feb 1 19:00:04 2006 it rained",
            "Wed Feb 1 19:00:04 2006 20:00",
            "1996-13-03T01:05:34Z",
            "one 2006-02-01",
            "remote from example",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(text in "(Wed|Feb|[0-9:+/TZ-]{1,9}|\\PC{1,3}| ){0,12}") {
            seconds(&text);
        }
    }
}
