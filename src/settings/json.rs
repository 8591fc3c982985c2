//! Reads the text of a JSON file, such as the `appsettings.json` of a .NET service.
//!
//! As .NET reads it: comments and commas at the end of a list are allowed, and nothing else that JSON
//! has not.

use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, ParseStringErrorKind, parse_to_ast};

use super::file::Node;

/// Where the schema of a file is, for editors.
const SCHEMA: &str = "$schema";

/// Returns what the text has behind each name.
///
/// # Errors
/// The line, and what is wrong there. Nothing of the file is quoted: it may hold a password.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Node)>, String> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options);
    let value = parsed.map_err(|error| told(&error))?.value;
    let Some(Value::Object(object)) = value else {
        return Err("it must be one object, with the sections in it".to_owned());
    };
    let mut sections = table(object.properties);
    sections.retain(|(name, _)| name != SCHEMA);
    Ok(sections)
}

fn table(properties: Vec<ObjectProp<'_>>) -> Vec<(String, Node)> {
    let entry = |property: ObjectProp<'_>| (property.name.into_string(), node(property.value));
    properties.into_iter().map(entry).collect()
}

fn node(value: Value<'_>) -> Node {
    match value {
        Value::StringLit(text) => Node::Text(text.value.into_owned()),
        Value::NumberLit(number) => Node::Text(number.value.to_owned()),
        Value::BooleanLit(truth) => Node::Text(truth.value.to_string()),
        Value::Object(object) => Node::Table(table(object.properties)),
        Value::Array(array) => Node::List(array.elements.into_iter().map(node).collect()),
        Value::NullKeyword(_) => Node::Nothing,
    }
}

fn told(error: &ParseError) -> String {
    let quotes = matches!(
        error.kind(),
        ParseErrorKind::String(ParseStringErrorKind::InvalidUnicodeEscapeSequence(_))
    );
    let what = if quotes {
        "invalid unicode escape sequence".to_owned()
    } else {
        error.kind().to_string().to_lowercase()
    };
    let (line, column) = (error.line_display(), error.column_display());
    format!("line {line}, column {column}: {what}")
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::super::load::Given;

    fn given(text: &str) -> Given {
        file::parse("appsettings.json", text).unwrap()
    }

    fn values(text: &str) -> Vec<(String, String)> {
        let values = given(text).values.into_iter();
        values
            .map(|(path, value)| (path.to_owned(), value.text))
            .collect()
    }

    fn error(text: &str) -> String {
        file::parse("a.json", text).err().unwrap().to_string()
    }

    #[test]
    fn every_spelling_of_a_key_works() {
        let expected = [("pop3.max_connections_per_user".to_owned(), "7".to_owned())];
        for text in [
            r#"{"Pop3": {"MaxConnectionsPerUser": 7}}"#,
            r#"{"pop3": {"max_connections_per_user": "7"}}"#,
            "\u{feff}{\r\n\"POP3\": {\"MAX_CONNECTIONS_PER_USER\": 7}}",
            r#"{"Pop3": {"MaxConnectionsPerUser": 7, "Port": null}, "Lmtp": null, "Otel": {}}"#,
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_may_be_a_text_a_number_a_truth_or_a_list() {
        let text = r#"{"Pop3": {"Port": 1110, "RequireAuthentication": false, "ServerName": "a\u0062\"",
            "SessionTimeout": "00:10:00", "CrlPath": ["/a.crl", "/b.crl"]}}"#;
        let texts: Vec<_> = values(text).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            ["/a.crl,/b.crl", "1110", "false", "ab\"", "00:10:00"]
        );
    }

    #[test]
    fn comments_and_last_commas_are_passed_over_as_dot_net_does() {
        let text = "// of the host\n{ /* ports */ \"Pop3\": { \"Port\": 110, // clear\n },\n}\n";
        assert_eq!(values(text), [("pop3.port".to_owned(), "110".to_owned())]);
        let schema = r#"{"$schema": "https://json.schemastore.org/appsettings.json"}"#;
        assert_eq!(values(schema), []);
    }

    #[test]
    fn what_the_suite_has_beside_is_known() {
        let text = r#"{
            "Logging": {"LogLevel": {"Default": "Warning", "Microsoft.AspNetCore": "Error"}},
            "AllowedHosts": "*",
            "ConnectionStrings": {"DefaultConnection": "Host=db;Database=d", "Redis": "r"},
            "Jwt": {"Key": "hunter2", "Audiences": ["a", "b"]}, "Oidc": {}, "Smtp": {"Port": 25},
            "Security": {"RateLimit": {"BaseBackoffDelay": "00:00:01", "MaxAttempts": 5}}
        }"#;
        let values = values(text);
        let expected = [
            ("connectionstrings.defaultconnection", "Host=db;Database=d"),
            ("logging.loglevel.default", "Warning"),
            ("security.ratelimit.basebackoffdelay", "00:00:01"),
        ];
        assert_eq!(
            values,
            expected.map(|(path, text)| (path.to_owned(), text.to_owned()))
        );
        assert_eq!(
            given(text).without_effect,
            [
                "AllowedHosts",
                "ConnectionStrings.Redis",
                "Jwt.Audiences",
                "Jwt.Key",
                "Logging.LogLevel.Microsoft.AspNetCore",
                "Security.RateLimit.MaxAttempts",
                "Smtp.Port",
            ]
        );
    }

    #[test]
    fn an_unknown_section_or_key_is_named_with_its_nearest() {
        for (text, expected) in [
            (
                r#"{"Pop": {"Port": 110}}"#,
                "a.json: Pop: there is no such section; did you mean \"Pop3\": {…}?",
            ),
            (
                r#"{"Pop3": {"MaxConns": 3}}"#,
                "a.json: Pop3.MaxConns: there is no such setting; did you mean \
                 Pop3.MaxConnections?",
            ),
            (
                r#"{"Pop3": 110}"#,
                "a.json: Pop3: this is a section, which is an object: \"Pop3\": {…}",
            ),
            (
                r#"{"Pop3": {"Port": {"Number": 110}}}"#,
                "a.json: Pop3.Port: this takes one value, neither a list nor a table",
            ),
            (
                r#"{"Logging": {"LogLevel": {"Default": ["Warning"]}}}"#,
                "a.json: Logging.LogLevel.Default: this takes one value, neither a list nor a table",
            ),
            (
                r#"{"Pop3": {"Port": 110, "port": 110}}"#,
                "a.json: Pop3.Port and a.json: Pop3.port are the same setting; keep one of them",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        // In TOML the sections of the suite are as unknown as others.
        assert!(file::parse("a.toml", "[smtp]\nport = 25").is_err());
    }

    #[test]
    fn a_syntax_error_names_the_line_and_quotes_nothing() {
        for text in [
            "{\n\"Admin\": hunter2}",
            "{\n\"Admin\": \"hunter2}",
            "{\n\"Admin\" \"hunter2\"}",
            "{\n'Admin': {}}",
            "{\nAdmin: {}}",
            "{\n\"Admin\": {} \"Pop3\": {}}",
            "{\n\"Admin\": {\"Token\": \"\\uDEAD\"}}",
            "{\n\"Admin\": {\"Port\": +0x1}}",
            "{\n} {}",
        ] {
            let error = error(text);
            let begins = "a.json is not valid JSON: line 2, column ";
            assert!(error.starts_with(begins), "{text}: {error}");
            assert!(!error.contains("hunter2") && !error.to_lowercase().contains("dead"));
        }
        for text in ["", "[]", "7", "null"] {
            let expected =
                "a.json is not valid JSON: it must be one object, with the sections in it";
            assert_eq!(error(text), expected, "{text}");
        }
        // However deep it is nested.
        assert!(error(&"{\"a\":".repeat(100_000)).contains("depth"));
    }
}
