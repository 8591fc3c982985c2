//! Durations as people write them: `10m`, `1h30m`, `90` (seconds), `00:10:00`, `1.00:00:00`.

use std::time::Duration;

use serde_json::Value as Json;

use super::value::SettingValue;

/// A hundred years. With this bound, adding a setting to the time of day cannot overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// The units from long to short, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Writes a duration with units, such as `1h30m`, so that it reads back as the same.
fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, ms) in UNITS {
        let count = rest / u128::from(ms);
        rest %= u128::from(ms);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

impl SettingValue for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        let plain = text.trim().to_ascii_lowercase();
        let duration = if plain.contains(':') {
            clock(&plain)
        } else if let Ok(seconds) = plain.parse() {
            Some(Self::from_secs(seconds))
        } else {
            units(&plain)
        };
        duration
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a duration; write 10m, 90s, 1h30m, 1d, 500ms, 00:10:00 \
                     or a number of seconds, up to 36500d"
                )
            })
    }

    fn to_json(&self) -> Json {
        format_duration(*self).into()
    }
}

/// Reads `[days.]hh:mm:ss`.
fn clock(text: &str) -> Option<Duration> {
    let (days, time) = text.split_once('.').unwrap_or(("0", text));
    let mut parts = time.split(':');
    let hours = part(parts.next()?, 24)?;
    let minutes = part(parts.next()?, 60)?;
    let seconds = part(parts.next()?, 60)?;
    if parts.next().is_some() {
        return None;
    }
    let days = days.parse::<u64>().ok()?.checked_mul(24 * 60 * 60)?;
    days.checked_add(hours * 60 * 60 + minutes * 60 + seconds)
        .map(Duration::from_secs)
}

/// Reads one or two digits that stand for less than `limit`.
fn part(text: &str, limit: u64) -> Option<u64> {
    let digits = text.len() <= 2 && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < limit)
}

/// Reads numbers with units, the longest unit first.
fn units(mut text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    // The search continues after the last unit, so neither "1m1h" nor "1h1h" is accepted.
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !text.is_empty() {
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let end = rest.find(|c: char| c.is_ascii_digit());
        let (unit, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let (_, ms) = units.find(|(name, _)| *name == unit.trim())?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*ms)?)?;
        text = rest;
    }
    Some(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(text: &str) -> Option<u128> {
        let duration = Duration::from_text(text).ok()?;
        Some(duration.as_millis())
    }

    #[test]
    fn every_form_is_read() {
        for (text, seconds) in [
            ("10m", 600),
            (" 90s ", 90),
            ("1h", 3600),
            ("1H", 3600),
            ("1d", 86_400),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("1d2h3m4s", 93_784),
            ("600", 600),
            ("0", 0),
            ("0s", 0),
            ("00:10:00", 600),
            ("1:2:3", 3723),
            ("23:59:59", 86_399),
            ("1.00:00:00", 86_400),
            ("36500d", 36_500 * 86_400),
        ] {
            assert_eq!(milliseconds(text), Some(seconds * 1000), "{text}");
        }
        assert_eq!(milliseconds("500ms"), Some(500));
        assert_eq!(milliseconds("1s500ms"), Some(1500));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            " ",
            "soon",
            "m",
            "-10m",
            "1.5h",
            "10w",
            "10m1h",
            "1m1m",
            "10m5",
            "10é",
            "00:10",
            "24:00:00",
            "00:60:00",
            "00:00:60",
            "00:10:00:00",
            "00:10:00.5",
            "-1:00:00",
            "00:+1:00",
            "1.",
            ":",
            "::",
            "1..00:00:00",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_past_the_longest_is_refused_whatever_its_size() {
        for text in [
            "36500d1ms",
            "36500.00:00:01",
            "3153600001",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551615d",
            "213503982334d18446744073709551615ms",
            "18446744073709551615.00:00:00",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (600_000, "10m"),
            (5_400_000, "1h30m"),
            (86_400_000, "1d"),
            (86_461_001, "1d1m1s1ms"),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(format_duration(duration), text);
            assert_eq!(Duration::from_text(text), Ok(duration));
        }
    }
}
