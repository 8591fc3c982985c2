//! The names of files in a Maildir: size and flags.

/// Separators of the flags on file systems where a colon can't be in the name of a file: Courier
/// and Python write `!`, mbsync `;`, Python also `-`; Cygwin and Samba show a colon as U+F03A and
/// macOS' file server as U+F022; archives are unpacked with `_` and `WinSCP` writes `%3A`.
const OTHER_SEPARATORS: [&str; 7] = [";", "!", "-", "_", "\u{f03a}", "\u{f022}", "%3A"];

/// A name without its flags, and the flags: `1700000000.M1P2.host,S=40` and `RS` of
/// `1700000000.M1P2.host,S=40:2,RS`.
pub(super) fn split(name: &str) -> (&str, &str) {
    if let Some((base, info)) = name.split_once(':') {
        return (base, info.strip_prefix("2,").unwrap_or_default());
    }
    // The name of a host may hold one of the others too, but nothing but flags stands behind these.
    let Some((base, flags)) = name.rsplit_once("2,") else {
        return (name, "");
    };
    let is_flags = flags.bytes().all(|octet| octet.is_ascii_alphabetic());
    let mut stripped = OTHER_SEPARATORS
        .iter()
        .map(|separator| base.strip_suffix(separator));
    match stripped.find_map(|base| base) {
        Some(base) if is_flags && !base.is_empty() => (base, flags),
        Some(_) | None => (name, ""),
    }
}

/// The name without its flags.
pub(super) fn base(name: &str) -> &str {
    split(name).0
}

/// Returns the size in octets that the name of a file says: `,S=40`.
pub(super) fn octets(name: &str) -> Option<u64> {
    let (_, rest) = base(name).split_once(",S=")?;
    let digits = rest.split(',').next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_from_the_name_whatever_separates_them() {
        for (name, base, flags) in [
            ("1.M1.host,S=4:2,RS", "1.M1.host,S=4", "RS"),
            ("1.M1.host,S=4", "1.M1.host,S=4", ""),
            ("1.host:2,", "1.host", ""),
            ("1.host:1,x", "1.host", ""),
            ("1.host;2,S", "1.host", "S"),
            ("1.host!2,ST", "1.host", "ST"),
            ("1.host-2,", "1.host", ""),
            ("1.host_2,Sa", "1.host", "Sa"),
            ("1.host\u{f03a}2,S", "1.host", "S"),
            ("1.host\u{f022}2,S", "1.host", "S"),
            ("1.host%3A2,S", "1.host", "S"),
            ("1.host-2,S=40", "1.host-2,S=40", ""),
            ("1.host-2,S=40:2,S", "1.host-2,S=40", "S"),
            ("1.host-2", "1.host-2", ""),
            ("1.host-2,W=4,S=40!2,T", "1.host-2,W=4,S=40", "T"),
            (";2,S", ";2,S", ""),
            ("12,S", "12,S", ""),
            ("", "", ""),
        ] {
            assert_eq!(split(name), (base, flags), "{name}");
        }
    }

    #[test]
    fn the_size_in_a_name_is_read_up_to_what_follows() {
        for (name, expected) in [
            ("1.host,S=40", Some(40)),
            ("1.host,S=40,W=41:2,S", Some(40)),
            ("1.host,W=41,S=40;2,S", Some(40)),
            ("1.host,W=41", None),
            ("1.host,S=4x", None),
            ("1.host,S=", None),
            ("1.host:2,S=4", None),
            ("1.host,S=99999999999999999999", None),
        ] {
            assert_eq!(octets(name), expected, "{name}");
        }
    }
}
