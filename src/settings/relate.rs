//! The settings for a database of Relate Mail.

use serde_json::Value as Json;

use super::section::section;
use super::value::SettingValue;

section! {
    /// How a database of Relate Mail is served.
    pub struct RelateSettings in "relate" {
        /// What QUIT does with the messages that it deletes.
        restart delete: RelateDelete = RelateDelete::Remove;
    }
}

/// Whose schema the database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseSchema {
    /// It is recognized by its tables.
    Auto,
    /// Restante's own, also beside the tables of another program.
    Own,
    /// That of Relate Mail.
    Relate,
}

/// What QUIT does on a database of Relate Mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelateDelete {
    /// Removes the user's copy; what nobody else has is gone.
    Remove,
    /// Hides the message from the user's sessions. Relate's web page shows it still.
    Hide,
}

impl SettingValue for DatabaseSchema {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "own" => Ok(Self::Own),
            "relate" => Ok(Self::Relate),
            _ => Err(format!("{text:?} is not one of auto, own and relate")),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Auto => "auto".into(),
            Self::Own => "own".into(),
            Self::Relate => "relate".into(),
        }
    }
}

impl SettingValue for RelateDelete {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "remove" => Ok(Self::Remove),
            "hide" => Ok(Self::Hide),
            _ => Err(format!("{text:?} is not one of remove and hide")),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Remove => "remove".into(),
            Self::Hide => "hide".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_any_case_and_others_refused() {
        for schema in [
            DatabaseSchema::Auto,
            DatabaseSchema::Own,
            DatabaseSchema::Relate,
        ] {
            let text = schema.to_json().as_str().unwrap().to_uppercase();
            assert_eq!(DatabaseSchema::from_text(&text), Ok(schema));
        }
        for delete in [RelateDelete::Remove, RelateDelete::Hide] {
            let text = delete.to_json().as_str().unwrap().to_uppercase();
            assert_eq!(RelateDelete::from_text(&text), Ok(delete));
        }
        assert!(DatabaseSchema::from_text("public").is_err());
        assert!(RelateDelete::from_text("").is_err());
    }
}
