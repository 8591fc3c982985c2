//! Scopes of keys: a JSON array of strings.

/// The scope that opens a maildrop.
const POP3: &str = "pop3";

/// Returns the scopes of a key; none if the column holds no JSON array of strings.
pub(super) fn scopes(column: &str) -> Vec<String> {
    serde_json::from_str(column).unwrap_or_default()
}

/// Returns true if a key of these scopes opens a maildrop. Scopes are compared without case.
pub(super) fn allow_pop3(column: &str) -> bool {
    let scopes = scopes(column);
    scopes.iter().any(|scope| scope.eq_ignore_ascii_case(POP3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_a_maildrop_if_its_scopes_have_pop3_in_any_case() {
        for column in [r#"["pop3"]"#, r#"["smtp", "POP3"]"#] {
            assert!(allow_pop3(column), "{column}");
        }
        for column in [
            "",
            "[]",
            "pop3",
            r#""pop3""#,
            r#"["pop3""#,
            r#"["pop3s"]"#,
            "null",
        ] {
            assert!(!allow_pop3(column), "{column}");
        }
    }
}
