//! The settings of the database.

use super::relate::DatabaseSchema;
use super::section::section;
use super::types::SecretUrl;

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
        /// Whose schema the database has.
        restart schema: DatabaseSchema = DatabaseSchema::Auto;
        /// The free space in octets that SQLite's disk must have for mail to be taken in; 0 is no
        /// limit. `None` is chosen by the size of the disk.
        restart min_free_space: Option<u64> = None;
        /// The largest number of connections to PostgreSQL. Half of them read.
        restart max_connections: u32 = 8,
            refuse |most| !(2..=1000).contains(most) =>
                "PostgreSQL needs a connection that reads and one that writes: the least is 2, and \
                 the most 1000";
    }
}
