//! Recognizes whose database this is, before anything is written to it.
//!
//! A database that holds tables of another program is not to be filled with ours. One of Relate Mail
//! is served as it is.

use entity::relate::applied_migration;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryOrder, Statement};

use super::{Database, OpenError};
use crate::settings::DatabaseSchema;

/// The kind of schema that a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaKind {
    /// Ours, or none yet.
    Own,
    /// That of Relate Mail.
    Relate,
}

/// The changes of Relate Mail's schema that are known, in the order of their names.
const RELATE_MIGRATIONS: [&str; 4] = [
    "20260131230315_InitialCreate",
    "20260206125502_AddApiKeyPrefix",
    "20260209000000_AddEmailVerificationToken",
    "20260209000000_AddOutboundEmailTables",
];

/// The table in which Entity Framework keeps its history.
const RELATE_HISTORY: &str = "__EFMigrationsHistory";

/// The table by which a database of Relate Mail is recognized if the history is missing.
const RELATE_MAIL: &str = "EmailRecipients";

/// The table in which our migrations are kept.
const OWN_HISTORY: &str = "seaql_migrations";

/// The most names of tables in a message.
const MAX_NAMES: usize = 8;

#[derive(FromQueryResult)]
struct TableRow {
    name: String,
}

impl Database {
    /// Returns whose database this is, as far as the setting leaves it open. Nothing is written.
    ///
    /// # Errors
    /// If it holds the tables of another program, is not what the setting says, or can't say.
    pub(crate) async fn recognize(&self, wanted: DatabaseSchema) -> Result<SchemaKind, OpenError> {
        match wanted {
            DatabaseSchema::Own => Ok(SchemaKind::Own),
            DatabaseSchema::Relate if !self.is_relate().await? => {
                let found = self.tables(OF_RELATE).await?;
                Err(OpenError::NotRelate(named(&found)))
            }
            DatabaseSchema::Relate => Ok(SchemaKind::Relate),
            DatabaseSchema::Auto if self.is_relate().await? => Ok(SchemaKind::Relate),
            DatabaseSchema::Auto => {
                let found = self.tables(self.of_ours()).await?;
                if found.is_empty() || found.iter().any(|table| table == OWN_HISTORY) {
                    return Ok(SchemaKind::Own);
                }
                Err(OpenError::ForeignTables(named(&found)))
            }
        }
    }

    /// Returns true if this is a database of Relate Mail that is known.
    ///
    /// # Errors
    /// If it is one of another version.
    async fn is_relate(&self) -> Result<bool, OpenError> {
        if self.read().get_database_backend() != DbBackend::Postgres {
            return Ok(false);
        }
        let tables = self.tables(OF_RELATE).await?;
        let has = |name: &str| tables.iter().any(|table| table == name);
        if !has(RELATE_HISTORY) {
            return match has(RELATE_MAIL) {
                true => Err(OpenError::UnknownRelate(
                    "no history of its schema".to_owned(),
                )),
                false => Ok(false),
            };
        }
        if let Some(grant) = self.missing_history_grant().await? {
            return Err(OpenError::HistoryDenied(grant));
        }
        let applied = applied_migration::Entity::find()
            .order_by_asc(applied_migration::Column::Id)
            .all(self.read())
            .await
            .map_err(OpenError::Connect)?;
        let applied: Vec<String> = applied.into_iter().map(|row| row.id).collect();
        if applied == RELATE_MIGRATIONS {
            return Ok(true);
        }
        Err(OpenError::UnknownRelate(format!(
            "the changes {}",
            if applied.is_empty() {
                "none".to_owned()
            } else {
                applied.join(", ")
            }
        )))
    }

    /// The query for the tables of the schema that ours would be made in.
    fn of_ours(&self) -> &'static str {
        if self.read().get_database_backend() == DbBackend::Postgres {
            "SELECT tablename::text AS name FROM pg_catalog.pg_tables \
             WHERE schemaname = current_schema() ORDER BY 1"
        } else {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' \
             ESCAPE '\\' ORDER BY 1"
        }
    }

    async fn tables(&self, query: &str) -> Result<Vec<String>, OpenError> {
        let read = self.read();
        let query = Statement::from_string(read.get_database_backend(), query);
        let rows = TableRow::find_by_statement(query).all(read).await;
        let rows = rows.map_err(OpenError::Connect)?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}

/// The query for the tables of the schema that Relate Mail uses. Those that the role may not read
/// are listed too.
const OF_RELATE: &str = "SELECT tablename::text AS name FROM pg_catalog.pg_tables \
     WHERE schemaname = 'public' ORDER BY 1";

/// Names tables in a message.
fn named(tables: &[String]) -> String {
    let shown = tables.iter().take(MAX_NAMES).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match tables.len() {
        0 => "no tables".to_owned(),
        all if all > MAX_NAMES => format!("{shown} and {} more", all - MAX_NAMES),
        _ => shown,
    }
}
