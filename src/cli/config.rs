//! `restante config`: the settings in force, and where each came from.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::output::print;
use crate::settings::Loaded;

/// The origin of a setting that is not set.
const DEFAULT: &str = "default";

pub(super) fn run(loaded: &Loaded, as_json: bool) -> anyhow::Result<ExitCode> {
    for warning in loaded.warnings.iter().chain(&loaded.without_effect) {
        eprintln!("restante: {warning}");
    }
    let sections = serde_json::to_value(&loaded.config)?;
    let sections = sections.as_object().into_iter().flatten();
    let sections = sections.map(|(name, section)| (name, section.as_object()));
    if as_json {
        let section = |(name, keys): (&String, Option<&Map<_, _>>)| {
            let keys = keys.into_iter().flatten();
            let keys = keys.map(|(key, value)| (key.clone(), described(loaded, name, key, value)));
            (name.clone(), Value::Object(keys.collect()))
        };
        let sections = Value::Object(sections.map(section).collect());
        print(&format!("{sections:#}"))?;
    } else {
        let text: Vec<_> = sections
            .map(|(name, keys)| as_text(loaded, name, keys.into_iter().flatten()))
            .collect();
        print(&text.join("\n\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn described(loaded: &Loaded, section: &str, key: &str, value: &Value) -> Value {
    json!({ "value": value, "origin": origin(loaded, section, key).unwrap_or(DEFAULT) })
}

/// Returns a section as the file has it: `key = value`, then a comment with its origin.
fn as_text<'a>(
    loaded: &Loaded,
    section: &str,
    keys: impl Iterator<Item = (&'a String, &'a Value)>,
) -> String {
    let lines: Vec<_> = keys
        .map(|(key, value)| {
            let setting = format!("{key} = {}", as_toml(value));
            (setting, origin(loaded, section, key).unwrap_or(DEFAULT))
        })
        .collect();
    let width = lines.iter().map(|(setting, _)| setting.chars().count());
    let width = width.max().unwrap_or_default();
    let line = |(setting, origin): (String, &str)| format!("{setting:width$}  # {origin}");
    let lines = lines.into_iter().map(line);
    let heading = std::iter::once(format!("[{section}]"));
    heading.chain(lines).collect::<Vec<_>>().join("\n")
}

fn origin<'a>(loaded: &'a Loaded, section: &str, key: &str) -> Option<&'a str> {
    let path = format!("{section}.{key}");
    loaded.origins.get(&path).map(String::as_str)
}

/// Returns a value as the file spells it; no value is the empty text.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Null => r#""""#.to_owned(),
        // A text of JSON is a text of TOML but for this one character.
        Value::String(_) => value.to_string().replace('\u{7f}', "\\u007F"),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(values) if values.is_empty() => r#""""#.to_owned(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(as_toml).collect();
            format!("[{}]", values.join(", "))
        }
        // No setting has settings in it.
        Value::Object(_) => value.to_string(),
    }
}
