//! Reads settings from a file: TOML, or JSON if its name ends so.

use std::fs;
use std::path::Path;

use config::{FileFormat, Source, Value, ValueKind};

use super::load::{ConfigError, Given, GivenValue};
use super::{json, names, suite};

/// What a file has behind a name.
pub(super) enum Node {
    /// A value, as text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// Names, with what is behind them.
    Table(Vec<(String, Self)>),
    /// `null`: as if the name were not there.
    Nothing,
}

/// The form of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Toml,
    Json,
}

/// Reads what a file says.
pub(super) fn read(path: &Path) -> Result<Given, ConfigError> {
    let file = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(source) => Err(ConfigError::Unreadable { file, source }),
    }
}

/// Reads what the text of a file says.
pub(super) fn parse(file: &str, text: &str) -> Result<Given, ConfigError> {
    let form = Form::of(file);
    let sections = match form {
        Form::Toml => toml(text),
        Form::Json => json::parse(text),
    };
    let sections = sections.map_err(|reason| ConfigError::Malformed {
        file: file.to_owned(),
        form: form.name(),
        reason,
    })?;
    let mut given = Given::default();
    for (spelled, node) in sorted(sections) {
        let origin = format!("{file}: {spelled}");
        match names::section(&spelled) {
            Ok(section) => add_section(&mut given, form, section, &origin, node)?,
            Err(_) if form == Form::Json && suite::has_section(&spelled) => {
                add_of_suite(&mut given, file, spelled, node)?;
            }
            Err(near) => {
                let near = form.section(near);
                return Err(ConfigError::unknown("section", origin, near));
            }
        }
    }
    Ok(given)
}

impl Form {
    fn of(file: &str) -> Self {
        let extension = Path::new(file).extension();
        if extension.is_some_and(|it| it.eq_ignore_ascii_case("json")) {
            Self::Json
        } else {
            Self::Toml
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Json => "JSON",
        }
    }

    /// Returns how a section is written.
    fn section(self, name: &str) -> String {
        match self {
            Self::Toml => format!("[{name}]"),
            Self::Json => format!("{:?}: {{…}}", names::pascal(name)),
        }
    }
}

fn toml(text: &str) -> Result<Vec<(String, Node)>, String> {
    let sections = config::File::from_str(text, FileFormat::Toml).collect();
    let sections = sections.map_err(|error| without_source(&error.to_string()))?;
    Ok(table(sections))
}

fn table(entries: impl IntoIterator<Item = (String, Value)>) -> Vec<(String, Node)> {
    let entries = entries.into_iter();
    entries.map(|(name, value)| (name, node(value))).collect()
}

fn node(value: Value) -> Node {
    if let ValueKind::Table(entries) = value.kind {
        return Node::Table(table(entries));
    }
    if let ValueKind::Array(values) = value.kind {
        return Node::List(values.into_iter().map(node).collect());
    }
    value.into_string().map_or(Node::Nothing, Node::Text)
}

fn add_section(
    given: &mut Given,
    form: Form,
    section: &str,
    origin: &str,
    node: Node,
) -> Result<(), ConfigError> {
    let settings = match node {
        Node::Table(settings) => settings,
        Node::Nothing => return Ok(()),
        Node::Text(_) | Node::List(_) => {
            let written = form.section(section);
            let reason = match form {
                Form::Toml => format!("this is a section, which begins with a line {written}"),
                Form::Json => format!("this is a section, which is an object: {written}"),
            };
            return Err(ConfigError::invalid(origin, reason));
        }
    };
    for (spelled, node) in sorted(settings) {
        let origin = format!("{origin}.{spelled}");
        add(given, form, section, &spelled, origin, node)?;
    }
    Ok(())
}

fn add(
    given: &mut Given,
    form: Form,
    section: &str,
    spelled: &str,
    origin: String,
    node: Node,
) -> Result<(), ConfigError> {
    let setting = match names::setting(section, spelled) {
        Ok(setting) => setting,
        Err(near) => {
            let near = match form {
                Form::Toml => format!("{section}.{near}"),
                Form::Json => format!("{}.{}", names::pascal(section), names::pascal(near)),
            };
            return Err(ConfigError::unknown("setting", origin, near));
        }
    };
    if matches!(node, Node::Nothing) {
        return Ok(());
    }
    let Some(text) = text_of(node, setting.takes_lists) else {
        let reason = if setting.takes_lists {
            "this takes one value, or a list of them"
        } else {
            "this takes one value, neither a list nor a table"
        };
        return Err(ConfigError::invalid(origin, reason));
    };
    given.add(setting.path, GivenValue { origin, text })
}

/// Adds what a section of the suite says: what is another name of a setting, and the names of the rest.
fn add_of_suite(
    given: &mut Given,
    file: &str,
    name: String,
    node: Node,
) -> Result<(), ConfigError> {
    match (suite::other_name(&name), node) {
        (_, Node::Nothing) => Ok(()),
        (_, Node::Table(entries)) => sorted(entries)
            .into_iter()
            .try_for_each(|(key, node)| add_of_suite(given, file, format!("{name}.{key}"), node)),
        (Some(other), Node::Text(text)) => {
            let origin = format!("{file}: {name}");
            given.add(other.spelled, GivenValue { origin, text })
        }
        (Some(_), Node::List(_)) => {
            let reason = "this takes one value, neither a list nor a table";
            Err(ConfigError::invalid(format!("{file}: {name}"), reason))
        }
        (None, Node::Text(_) | Node::List(_)) => {
            given.without_effect.push(name);
            Ok(())
        }
    }
}

/// Returns a value as text; those of a list are separated by commas, as in the environment.
fn text_of(node: Node, takes_lists: bool) -> Option<String> {
    match node {
        Node::Text(text) => Some(text),
        Node::List(nodes) if takes_lists => {
            let texts = nodes.into_iter().map(|node| text_of(node, false));
            Some(texts.collect::<Option<Vec<_>>>()?.join(","))
        }
        Node::List(_) | Node::Table(_) | Node::Nothing => None,
    }
}

/// Sorts by name, so that the same file always has the same first mistake.
fn sorted(mut entries: Vec<(String, Node)>) -> Vec<(String, Node)> {
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries
}

/// Returns the place and the reason of a syntax error.
///
/// The lines between them quote the file, which may hold a password.
fn without_source(error: &str) -> String {
    let Some(error) = error.strip_prefix("TOML parse error at ") else {
        return error.to_owned();
    };
    let mut lines = error.lines();
    let place = lines.next().unwrap_or_default();
    let reason: Vec<_> = lines.skip(3).collect();
    format!("{place}: {}", reason.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Vec<(String, String)> {
        let given = parse("r.toml", text).unwrap();
        let text = |(path, setting): (&'static str, GivenValue)| (path.to_owned(), setting.text);
        given.values.into_iter().map(text).collect()
    }

    fn error(text: &str) -> String {
        let error = parse("r.toml", text).err().unwrap();
        error.to_string()
    }

    #[test]
    fn every_spelling_of_a_key_works() {
        let expected = [("pop3.max_connections_per_user".to_owned(), "7".to_owned())];
        for text in [
            "[pop3]\nmax_connections_per_user = 7",
            "[Pop3]\nMaxConnectionsPerUser = 7",
            "[POP3]\nMAX_CONNECTIONS_PER_USER = '7'",
            "pop3.max-connections-per-user = 7",
            "\u{feff}[pop3]\r\nmaxconnectionsperuser = 7\r\n",
        ] {
            assert_eq!(given(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_may_be_a_number_a_truth_or_a_time() {
        let text =
            "[pop3]\nport = 1_110\nrequire_authentication = false\nsession_timeout = 00:10:00";
        let texts: Vec<_> = given(text).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["1110", "false", "00:10:00"]);
    }

    #[test]
    fn an_unknown_section_or_key_is_named_with_its_nearest() {
        assert_eq!(
            error("[pop]\nport = 110"),
            "r.toml: pop: there is no such section; did you mean [pop3]?"
        );
        assert_eq!(
            error("[Pop3]\nMaxConns = 3"),
            "r.toml: Pop3.MaxConns: there is no such setting; \
             did you mean pop3.max_connections?"
        );
    }

    #[test]
    fn a_setting_given_twice_is_refused() {
        assert_eq!(
            error("[pop3]\nport = 110\nPort = 111"),
            "r.toml: pop3.Port and r.toml: pop3.port are the same setting; keep one of them"
        );
        assert_eq!(
            error("[pop3]\nport = 110\n[POP3]\nport = 110"),
            "r.toml: POP3.port and r.toml: pop3.port are the same setting; keep one of them"
        );
    }

    #[test]
    fn a_list_is_what_the_environment_separates_by_commas() {
        let [(_, text)] = given("[pop3]\ncrl_path = ['/a.crl', '/b.crl']")
            .try_into()
            .unwrap();
        assert_eq!(text, "/a.crl,/b.crl");
    }

    #[test]
    fn a_value_of_the_wrong_shape_is_refused() {
        assert_eq!(
            error("pop3 = 110"),
            "r.toml: pop3: this is a section, which begins with a line [pop3]"
        );
        assert_eq!(
            error("[admin]\ntoken = ['hunter2']"),
            "r.toml: admin.token: this takes one value, neither a list nor a table"
        );
    }

    #[test]
    fn a_syntax_error_names_the_line_and_quotes_nothing() {
        for text in [
            "[admin]\ntoken = hunter2",
            "[admin]\ntoken = \"hunter2",
            "[admin]\ntoken hunter2 = 2",
            "[admin]\nhunter2",
            "[admin]\ntoken = 'a' 'hunter2'",
            "[admin]\ntoken = \"\\hunter2\"",
        ] {
            let error = error(text);
            assert!(
                error.starts_with("r.toml is not valid TOML: line 2, column "),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
            assert!(!error.contains('\n') && !error.ends_with(": "), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Path::new("no/such/restante.toml");
        let error = read(missing).err().unwrap().to_string();
        assert!(
            error.starts_with("cannot read no/such/restante.toml: "),
            "{error}"
        );
    }
}
