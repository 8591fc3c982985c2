//! Reads settings from environment variables named `Section__Key`.

use std::ffi::OsString;

use super::load::{ConfigError, Given, GivenValue};
use super::names::{self, pascal};
use super::suite;

/// What a variable is.
enum Variable {
    /// A setting of ours, or one of the suite that is read here: its path.
    Setting(&'static str),
    /// A setting of the suite that does nothing here.
    WithoutEffect,
    /// Another program's.
    Foreign,
}

/// Reads what the environment says.
///
/// A variable whose section is neither one of ours nor of the suite belongs to another program.
pub(super) fn read(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Given, ConfigError> {
    let mut given = Given::default();
    for (name, text) in environment {
        let name = name.to_string_lossy();
        let path = match variable(&name)? {
            Variable::Setting(path) => path,
            Variable::WithoutEffect => {
                given.without_effect.push(name.into_owned());
                continue;
            }
            Variable::Foreign => continue,
        };
        let origin = format!("environment variable {name}");
        let Ok(text) = text.into_string() else {
            return Err(ConfigError::invalid(origin, "the value is not UTF-8"));
        };
        given.add(path, GivenValue { origin, text })?;
    }
    Ok(given)
}

fn variable(name: &str) -> Result<Variable, ConfigError> {
    if suite::has_variable(name) {
        return Ok(Variable::WithoutEffect);
    }
    let Some((section, key)) = name.split_once("__") else {
        return Ok(Variable::Foreign);
    };
    let Ok(ours) = names::section(section) else {
        return Ok(match suite::other_name(&name.replace("__", ".")) {
            Some(other) => Variable::Setting(other.spelled),
            None if suite::has_section(section) => Variable::WithoutEffect,
            None => Variable::Foreign,
        });
    };
    match names::setting(ours, key) {
        Ok(setting) => Ok(Variable::Setting(setting.path)),
        Err(near) => {
            let origin = format!("environment variable {name}");
            let near = format!("{}__{}", pascal(ours), pascal(near));
            Err(ConfigError::unknown("setting", origin, near))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    type Read = Result<(Vec<(String, String)>, Vec<String>), String>;

    /// The paths with their texts and the warnings, or the error.
    fn read(pairs: &[(&str, &str)]) -> Read {
        let os = |(name, text): &(&str, &str)| (name.into(), text.into());
        read_os(pairs.iter().map(os).collect())
    }

    fn read_os(pairs: Vec<(OsString, OsString)>) -> Read {
        let given = super::read(pairs).and_then(Given::settled);
        let (given, warnings) = given.map_err(|e| e.to_string())?;
        let text = |(path, setting): (&'static str, GivenValue)| (path.to_owned(), setting.text);
        Ok((given.values.into_iter().map(text).collect(), warnings))
    }

    fn only(path: &str, text: &str) -> Read {
        Ok((vec![(path.to_owned(), text.to_owned())], Vec::new()))
    }

    #[test]
    fn every_spelling_of_a_variable_works() {
        for name in [
            "Pop3__MaxConnectionsPerUser",
            "POP3__MAX_CONNECTIONS_PER_USER",
            "pop3__maxconnectionsperuser",
            "pOP3__Max_ConnectionsPERUser",
        ] {
            let expected = only("pop3.max_connections_per_user", "7");
            assert_eq!(read(&[(name, "7")]), expected, "{name}");
        }
    }

    #[test]
    fn a_variable_of_another_section_or_of_none_is_ignored() {
        for name in [
            "PATH",
            "POP3_PORT",
            "Pop3",
            "__",
            "__PORT",
            "Smtp__Port",
            "A__B__C",
        ] {
            assert_eq!(read(&[(name, "7")]), Ok((Vec::new(), Vec::new())), "{name}");
        }
        let name = "ConnectionStrings__Cache";
        assert_eq!(read(&[(name, "redis")]), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_nearest() {
        assert_eq!(
            read(&[("Pop3__MaxConns", "7")]),
            Err(
                "environment variable Pop3__MaxConns: there is no such setting; \
                 did you mean Pop3__MaxConnections?"
                    .to_owned()
            )
        );
        for name in ["LOG__", "LOG__LEVEL__DEFAULT", "Otel__Token"] {
            assert!(read(&[(name, "7")]).is_err(), "{name}");
        }
    }

    #[test]
    fn two_spellings_of_one_setting_are_refused() {
        assert_eq!(
            read(&[("Pop3__Port", "110"), ("POP3__PORT", "110")]),
            Err(
                "environment variable Pop3__Port and environment variable POP3__PORT \
                 are the same setting; keep one of them"
                    .to_owned()
            )
        );
        let text = "Host=db;Database=d";
        let one = ("ConnectionStrings__DefaultConnection", text);
        let other = ("CONNECTIONSTRINGS__DEFAULTCONNECTION", text);
        assert!(read(&[one, other]).is_err());
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_refused_if_the_setting_is_ours() {
        let broken = || OsString::from_vec(vec![b'a', 0xff]);
        assert_eq!(
            read_os(vec![("Pop3__ServerName".into(), broken())]),
            Err("environment variable Pop3__ServerName: the value is not UTF-8".to_owned())
        );
        let others = vec![("LESSOPEN".into(), broken()), (broken(), broken())];
        assert_eq!(read_os(others), Ok((Vec::new(), Vec::new())));
        let name = OsString::from_vec(b"Pop3__P\xffrt".to_vec());
        assert!(read_os(vec![(name, "110".into())]).is_err());
    }

    #[test]
    fn a_connection_string_becomes_the_url_of_the_database() {
        let name = "ConnectionStrings__DefaultConnection";
        let url = only("database.url", "postgres://u@db/d");
        assert_eq!(read(&[(name, "Host=db;Database=d;Username=u")]), url);
        assert_eq!(read(&[(name, " ")]), Ok((Vec::new(), Vec::new())));
        let (_, warnings) = read(&[(name, "Host=db;Database=d;Pooling=true")]).unwrap();
        let warning = format!("environment variable {name}: Pooling has no effect");
        assert_eq!(warnings, [warning]);
        assert_eq!(
            read(&[(name, "Host=db")]),
            Err(format!(
                "environment variable {name}: the connection string has no Database"
            ))
        );
    }

    #[test]
    fn the_url_wins_over_the_connection_string() {
        let (settings, warnings) = read(&[
            ("ConnectionStrings__DefaultConnection", "Host=db"),
            ("DATABASE__URL", "postgres://db/d"),
        ])
        .unwrap();
        let url = ("database.url".to_owned(), "postgres://db/d".to_owned());
        assert_eq!(settings, [url]);
        assert_eq!(
            warnings,
            [
                "environment variable ConnectionStrings__DefaultConnection has no effect, \
                 because environment variable DATABASE__URL is set as well"
            ]
        );
    }
}
