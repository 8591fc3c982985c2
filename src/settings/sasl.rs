//! The settings of AUTH: which mechanisms it offers, and whether SCRAM is bound to TLS.

use pop3::{ChannelBinding, Mechanism, Mechanisms};
use serde_json::Value as Json;

use super::value::SettingValue;

/// The mechanisms that AUTH may offer and accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthMechanisms {
    /// All, also those of later versions.
    All,
    /// These; without any there is no AUTH.
    Listed(Vec<Mechanism>),
}

impl AuthMechanisms {
    /// Returns the mechanisms as a set.
    pub fn allowed(&self) -> Mechanisms {
        match self {
            Self::All => Mechanisms::ALL,
            Self::Listed(mechanisms) => mechanisms.iter().copied().collect(),
        }
    }

    /// Returns whether this one is listed by name.
    pub(super) fn names(&self, mechanism: Mechanism) -> bool {
        match self {
            Self::All => false,
            Self::Listed(mechanisms) => mechanisms.contains(&mechanism),
        }
    }
}

/// Reads `all`, or names that are separated by commas or blanks.
impl SettingValue for AuthMechanisms {
    const TAKES_LISTS: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        let names = text.split([',', ' ']).filter(|name| !name.is_empty());
        let mechanism = |name: &str| {
            Mechanism::named(name.as_bytes()).ok_or_else(|| {
                let all = Mechanism::ALL.map(Mechanism::as_str).join(", ");
                format!("{name:?} is no mechanism of AUTH; choose from {all}, or write all")
            })
        };
        names
            .map(mechanism)
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }

    fn to_json(&self) -> Json {
        match self {
            Self::All => "all".into(),
            Self::Listed(mechanisms) => mechanisms.iter().map(|it| it.as_str()).collect(),
        }
    }
}

impl SettingValue for ChannelBinding {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "offer" => Ok(Self::Offer),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is not one of auto, offer and never")),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Auto => "auto".into(),
            Self::Offer => "offer".into(),
            Self::Never => "never".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_listed_by_name_in_any_case() {
        let listed = |text| AuthMechanisms::from_text(text).unwrap();
        for all in ["all", " ALL "] {
            assert_eq!(listed(all), AuthMechanisms::All);
            assert_eq!(listed(all).allowed(), Mechanisms::ALL);
        }
        let two = vec![Mechanism::ScramSha256, Mechanism::Plain];
        for text in [
            "SCRAM-SHA-256,PLAIN",
            " scram-sha-256 , plain,",
            "Scram-Sha-256 Plain",
        ] {
            assert_eq!(listed(text), AuthMechanisms::Listed(two.clone()), "{text}");
        }
        for nothing in ["", " , "] {
            assert_eq!(listed(nothing), AuthMechanisms::Listed(Vec::new()));
        }
    }

    #[test]
    fn an_unknown_mechanism_is_named_with_those_that_there_are() {
        for (text, unknown) in [
            ("PLAIN, USER", "USER"),
            ("all,PLAIN", "all"),
            ("plain-", "plain-"),
        ] {
            let reason = AuthMechanisms::from_text(text).unwrap_err();
            let expected = format!(
                "{unknown:?} is no mechanism of AUTH; choose from SCRAM-SHA-256-PLUS, \
                 SCRAM-SHA-256, EXTERNAL, PLAIN, LOGIN, or write all"
            );
            assert_eq!(reason, expected);
        }
    }

    #[test]
    fn a_binding_is_one_of_three_words() {
        assert_eq!(
            ChannelBinding::from_text("Offer"),
            Ok(ChannelBinding::Offer)
        );
        let reason = ChannelBinding::from_text("always").unwrap_err();
        assert_eq!(reason, "\"always\" is not one of auto, offer and never");
    }
}
