//! The settings of the suite of .NET services whose POP3 host Restante replaces.
//!
//! A deployment keeps its environment and its `appsettings.json`: some of their settings are other
//! names of ours, and the rest is known by name, so that it is no mistake.

use super::connection_string;
use super::names::squash;

/// A setting of the suite that is read here.
pub(super) struct OtherName {
    /// Its path in the form of [`squash`], with a dot between the parts.
    pub(super) spelled: &'static str,
    /// The path of our setting.
    pub(super) path: &'static str,
    /// Returns its value as ours, or why it makes no sense.
    pub(super) translate: fn(&str) -> Result<Translated, String>,
}

/// The text of our setting, and the parts of the other text that have no effect.
type Translated = (String, Vec<String>);

/// The settings that are read here.
pub(super) const OTHER_NAMES: [OtherName; 4] = [
    OtherName {
        spelled: "connectionstrings.defaultconnection",
        path: "database.url",
        translate: connection_string::parse,
    },
    OtherName {
        spelled: "logging.loglevel.default",
        path: "log.level",
        translate: log_level,
    },
    OtherName {
        spelled: "security.ratelimit.basebackoffdelay",
        path: "pop3.auth_failure_delay",
        translate: same,
    },
    OtherName {
        spelled: "security.ratelimit.maxbackoffdelay",
        path: "pop3.max_auth_failure_delay",
        translate: same,
    },
];

/// The sections that have no effect here but for [`OTHER_NAMES`], in the form of [`squash`].
const SECTIONS: [&str; 14] = [
    "allowedhosts",
    "api",
    "authentication",
    "connectionstrings",
    "cors",
    "imap",
    "jwt",
    "kestrel",
    "logging",
    "oidc",
    "opentelemetry",
    "security",
    "serilog",
    "smtp",
];

/// The prefix of the variables of ASP.NET.
const ASPNETCORE: &str = "ASPNETCORE_";

/// Variables that are of no section. Others of `DOTNET_` are for the runtime and its tools.
const VARIABLES: [&str; 4] = [
    "AllowedHosts",
    "DOTNET_CONTENTROOT",
    "DOTNET_ENVIRONMENT",
    "DOTNET_URLS",
];

/// Returns whether this is a section of the suite.
pub(super) fn has_section(spelled: &str) -> bool {
    SECTIONS.contains(&squash(spelled).as_str())
}

/// Returns whether a variable without a section is one of the suite or of ASP.NET.
pub(super) fn has_variable(name: &str) -> bool {
    let is_aspnetcore = name
        .get(..ASPNETCORE.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(ASPNETCORE));
    is_aspnetcore || VARIABLES.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// Returns the setting of the suite that is read here under this path, whose parts have a dot between
/// them.
pub(super) fn other_name(path: &str) -> Option<&'static OtherName> {
    let squashed = squash(path);
    OTHER_NAMES.iter().find(|it| it.spelled == squashed)
}

fn same(text: &str) -> Result<Translated, String> {
    Ok((text.to_owned(), Vec::new()))
}

/// Translates a level of `Microsoft.Extensions.Logging`.
fn log_level(text: &str) -> Result<Translated, String> {
    let level = match text.trim().to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "information" => "info",
        "warning" => "warn",
        "error" | "critical" => "error",
        "none" => "off",
        _ => {
            return Err(format!(
                "{text:?} is not one of Trace, Debug, Information, Warning, Error, Critical and \
                 None; Log__Level takes other levels and filters"
            ));
        }
    };
    Ok((level.to_owned(), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Config;

    #[test]
    fn every_other_name_is_in_a_section_of_the_suite_and_stands_for_a_setting() {
        for other in &OTHER_NAMES {
            let (section, _) = other.spelled.split_once('.').unwrap();
            assert!(has_section(section), "{section}");
            assert!(Config::settings().any(|setting| setting.path == other.path));
        }
    }

    #[test]
    fn no_section_of_the_suite_is_one_of_ours() {
        for setting in Config::settings() {
            let (section, _) = setting.section_and_key();
            assert!(!has_section(section), "{section}");
        }
    }

    #[test]
    fn the_levels_of_dot_net_have_levels_here() {
        for (theirs, ours) in [
            ("Trace", "trace"),
            ("DEBUG", "debug"),
            ("Information", "info"),
            (" warning ", "warn"),
            ("Error", "error"),
            ("Critical", "error"),
            ("none", "off"),
        ] {
            assert_eq!(log_level(theirs).unwrap().0, ours);
        }
        for wrong in ["", "info", "3", "Verbose"] {
            let error = log_level(wrong).unwrap_err();
            assert!(error.contains("is not one of Trace, Debug"), "{error}");
        }
    }

    #[test]
    fn the_variables_of_asp_net_are_known_and_those_of_tools_are_not() {
        for known in [
            "ASPNETCORE_URLS",
            "aspnetcore_environment",
            "ALLOWEDHOSTS",
            "DOTNET_ENVIRONMENT",
        ] {
            assert!(has_variable(known), "{known}");
        }
        for other in [
            "DOTNET_ROOT",
            "ALLOWED_HOSTS",
            "ASPNETCORE",
            "PATH",
            "\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
        ] {
            assert!(!has_variable(other), "{other}");
        }
    }
}
