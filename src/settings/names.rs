//! The names of sections and settings, however they are spelled.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Config;

/// Every name there is, in `snake_case`: the keys by their section.
pub(super) struct Names(BTreeMap<String, Vec<String>>);

impl Names {
    /// Takes the names from the fields of [`Config`].
    pub(super) fn new() -> Self {
        let keys = |section: &Value| section.as_object().map(|it| it.keys().cloned().collect());
        let sections = json(&Config::default())
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, section)| (name.clone(), keys(section).unwrap_or_default()))
            .collect();
        Self(sections)
    }

    /// The section of this name, or else the one whose name is nearest.
    pub(super) fn section(&self, spelled: &str) -> Result<&str, &str> {
        find(self.0.keys(), spelled)
    }

    /// The key of this name in a section, or else the one whose name is nearest.
    pub(super) fn key(&self, section: &str, spelled: &str) -> Result<&str, &str> {
        find(self.0.get(section).into_iter().flatten(), spelled)
    }
}

/// The settings as JSON.
pub(super) fn json(config: &Config) -> Value {
    serde_json::to_value(config).expect("keys are names, and every path came from text")
}

/// What a name has in common with its other spellings.
pub(super) fn squash(name: &str) -> String {
    name.replace(['_', '-'], "").to_lowercase()
}

/// `max_connections_per_user` as the environment likes it: `MaxConnectionsPerUser`.
pub(super) fn pascal(name: &str) -> String {
    let capitalised = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_uppercase() + rest,
        None => word.to_owned(),
    };
    name.split('_').map(capitalised).collect()
}

fn find<'a>(names: impl Iterator<Item = &'a String>, spelled: &str) -> Result<&'a str, &'a str> {
    let spelled = squash(spelled);
    let mut nearest = ("", -1.0);
    for name in names {
        let squashed = squash(name);
        if squashed == spelled {
            return Ok(name);
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
        let names = Names::new();
        for section in ["pop3", "Pop3", "POP3"] {
            assert_eq!(names.section(section), Ok("pop3"));
        }
        for key in [
            "max_connections_per_user",
            "MaxConnectionsPerUser",
            "MAX_CONNECTIONS_PER_USER",
            "maxconnectionsperuser",
            "max-connections-per-user",
        ] {
            assert_eq!(names.key("pop3", key), Ok("max_connections_per_user"));
        }
    }

    #[test]
    fn a_name_that_is_not_there_leads_to_the_nearest() {
        let names = Names::new();
        assert_eq!(names.section("pop"), Err("pop3"));
        assert_eq!(names.section("databse"), Err("database"));
        for (spelled, nearest) in [
            ("MaxConns", "max_connections"),
            ("ServrName", "server_name"),
            ("prot", "port"),
            ("CertificatPath", "certificate_path"),
        ] {
            assert_eq!(names.key("pop3", spelled), Err(nearest), "{spelled}");
        }
    }

    #[test]
    fn a_name_is_written_in_pascal_case() {
        let pascals = ["pop3", "max_connections_per_user", "url"].map(pascal);
        assert_eq!(pascals, ["Pop3", "MaxConnectionsPerUser", "Url"]);
    }
}
