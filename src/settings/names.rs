//! The names of sections and settings, however they are spelled.

use super::{Config, Setting};

/// Returns the section of this name, or else the one whose name is nearest.
pub(super) fn section(spelled: &str) -> Result<&'static str, &'static str> {
    let sections = Config::settings().map(|setting| setting.section_and_key().0);
    find(sections.map(|section| (section, section)), spelled)
}

/// Returns the setting of this name in a section, or else the key whose name is nearest.
pub(super) fn setting(section: &str, spelled: &str) -> Result<&'static Setting, &'static str> {
    let settings = Config::settings().map(|setting| (setting.section_and_key(), setting));
    let in_section = settings.filter(|((of, _), _)| *of == section);
    find(
        in_section.map(|((_, key), setting)| (key, setting)),
        spelled,
    )
}

/// Returns what all spellings of a name have in common.
pub(super) fn squash(name: &str) -> String {
    name.replace(['_', '-'], "").to_lowercase()
}

/// Returns `MaxConnectionsPerUser` for `max_connections_per_user`: the spelling of variables.
pub(super) fn pascal(name: &str) -> String {
    let capitalised = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_uppercase() + rest,
        None => word.to_owned(),
    };
    name.split('_').map(capitalised).collect()
}

/// Finds what has this name, or else the nearest name.
fn find<T>(
    named: impl Iterator<Item = (&'static str, T)>,
    spelled: &str,
) -> Result<T, &'static str> {
    let spelled = squash(spelled);
    let mut nearest = ("", -1.0);
    for (name, value) in named {
        let squashed = squash(name);
        if squashed == spelled {
            return Ok(value);
        }
        // The first two forgive swapped letters, the third missing words.
        let likeness = strsim::jaro_winkler(&squashed, &spelled)
            + strsim::normalized_damerau_levenshtein(&squashed, &spelled)
            + strsim::sorensen_dice(&squashed, &spelled);
        if likeness > nearest.1 {
            nearest = (name, likeness);
        }
    }
    Err(nearest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_name_is_the_name() {
        for spelled in ["pop3", "Pop3", "POP3"] {
            assert_eq!(section(spelled), Ok("pop3"));
        }
        for key in [
            "max_connections_per_user",
            "MaxConnectionsPerUser",
            "MAX_CONNECTIONS_PER_USER",
            "maxconnectionsperuser",
            "max-connections-per-user",
        ] {
            assert_eq!(
                setting("pop3", key).unwrap().path,
                "pop3.max_connections_per_user"
            );
        }
    }

    #[test]
    fn a_name_that_is_not_there_leads_to_the_nearest() {
        assert_eq!(section("pop"), Err("pop3"));
        assert_eq!(section("databse"), Err("database"));
        for (spelled, nearest) in [
            ("MaxConns", "max_connections"),
            ("ServrName", "server_name"),
            ("prot", "port"),
            ("CertificatPath", "certificate_path"),
        ] {
            assert_eq!(setting("pop3", spelled).unwrap_err(), nearest, "{spelled}");
        }
    }

    #[test]
    fn a_name_is_written_in_pascal_case() {
        let pascals = ["pop3", "max_connections_per_user", "url"].map(pascal);
        assert_eq!(pascals, ["Pop3", "MaxConnectionsPerUser", "Url"]);
    }
}
