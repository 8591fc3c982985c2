//! The settings of the database, and of the database of Relate.

use serde_json::Value as Json;

use super::section::section;
use super::types::SecretUrl;
use super::value::SettingValue;

/// The schemes of a database URL.
const SCHEMES: [&str; 3] = ["sqlite:", "postgres://", "postgresql://"];

section! {
    /// Where the mail is.
    pub struct DatabaseSettings in "database" {
        /// `sqlite://…` or `postgres://…`, which may hold a password.
        restart url: SecretUrl = "sqlite://data/restante.db".into(),
            refuse |url| !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) =>
                "a database URL begins with sqlite:, postgres:// or postgresql:// (a string of the \
                 form Host=...;Database=... belongs in the environment variable \
                 ConnectionStrings__DefaultConnection)";
        /// The free space in octets that SQLite's disk must have for mail to be taken in; 0 is no
        /// limit. `None` is chosen by the size of the disk.
        restart min_free_space: Option<u64> = None;
        /// The largest number of connections to PostgreSQL. Half of them read.
        restart max_connections: u32 = 8,
            refuse |most| !(2..=1000).contains(most) =>
                "PostgreSQL needs a connection that reads and one that writes: the least is 2, and \
                 the most 1000";
        /// Whose tables the database has.
        restart schema: DatabaseSchema = DatabaseSchema::Auto;
    }
}

section! {
    /// What the server does in a database of Relate.
    pub struct RelateSettings in "relate" {
        /// What QUIT does with the messages that a session deletes.
        restart delete: RelateDelete = RelateDelete::Remove;
    }
}

/// Whose tables a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseSchema {
    /// Relate's where its history of migrations says so, else our own. A database that holds other
    /// tables is refused.
    Auto,
    /// Our own, also beside tables of other programs.
    Own,
    /// Relate's; any other database is refused.
    Relate,
}

/// What QUIT does in a database of Relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelateDelete {
    /// The user's copy leaves the database; other users keep theirs.
    Remove,
    /// The user's copy is hidden from POP3 and stays for Relate's other programs.
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
            _ => Err(format!("{text:?} is neither remove nor hide")),
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
    fn a_choice_is_read_in_any_case_and_a_wrong_one_is_told_what_is_possible() {
        let schema = DatabaseSchema::from_text;
        assert_eq!(schema("Auto"), Ok(DatabaseSchema::Auto));
        assert_eq!(schema(" OWN "), Ok(DatabaseSchema::Own));
        assert_eq!(schema("relate"), Ok(DatabaseSchema::Relate));
        let reason = schema("public").unwrap_err();
        assert_eq!(reason, "\"public\" is not one of auto, own and relate");
        let delete = RelateDelete::from_text;
        assert_eq!(delete("Remove"), Ok(RelateDelete::Remove));
        assert_eq!(delete("hide"), Ok(RelateDelete::Hide));
        assert_eq!(delete("").unwrap_err(), "\"\" is neither remove nor hide");
    }
}
