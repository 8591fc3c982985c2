//! The configured database, as the commands open it.

use anyhow::Context;

use super::output;
use crate::accounts::Accounts;
use crate::settings::Config;
use crate::store::relate::RelateStore;
use crate::store::{Database, Directory, OpenError, SchemaKind, give_up_some_reserve};
use std::process::ExitCode;

/// The log line for a privilege that the role lacks, with the statement that grants it.
pub(super) const MISSING_GRANT: &str =
    "the server's role lacks a privilege on Relate Mail's database";

/// A database with its schema up to date.
#[derive(Debug)]
pub(super) enum Opened {
    /// Of our own schema.
    Own(Database),
    /// Of Relate Mail.
    Relate(RelateStore),
}

impl Opened {
    /// Returns our own database, for what can't be done on one of Relate Mail.
    ///
    /// # Errors
    /// If it is Relate Mail's: this sentence says where it is done there.
    pub(super) fn own(self, elsewhere: &'static str) -> anyhow::Result<Database> {
        match self {
            Self::Own(database) => Ok(database),
            Self::Relate(_) => anyhow::bail!(elsewhere),
        }
    }

    /// Returns its users and keys.
    pub(super) fn directory(&self) -> Box<dyn Directory> {
        match self {
            Self::Own(database) => Box::new(Accounts::new(database.clone())),
            Self::Relate(store) => Box::new(store.accounts().clone()),
        }
    }
}

/// Opens the configured database.
pub(super) async fn open(config: &Config) -> anyhow::Result<Opened> {
    Ok(open_and_migrate(config).await?.0)
}

/// Opens the database for a command that stores no mail: a full disk has the reserve for it.
pub(super) async fn open_by_reserve(config: &Config) -> anyhow::Result<Opened> {
    Ok(migrate_by_reserve(config).await?.0)
}

/// Opens the database; returns the number of changes of the schema that were applied.
pub(super) async fn migrate_by_reserve(config: &Config) -> Result<(Opened, usize), OpenError> {
    loop {
        match open_and_migrate(config).await {
            Err(OpenError::DiskFull(_)) if give_up_some_reserve(&config.database.url) => {}
            opened => return opened,
        }
    }
}

async fn open_and_migrate(config: &Config) -> Result<(Opened, usize), OpenError> {
    let settings = &config.database;
    let database = Database::open_with(&settings.url, settings.max_connections).await?;
    match database.recognize(settings.schema).await? {
        SchemaKind::Own => {
            let applied = database.migrate().await?;
            database.set_min_free_space(settings.min_free_space);
            Ok((Opened::Own(database), applied))
        }
        SchemaKind::Relate => {
            let applied = match database.migrate_beside_relate().await {
                Ok(applied) => applied,
                Err(error) => {
                    for grant in database.missing_grants().await.unwrap_or_default() {
                        tracing::error!(%grant, "{MISSING_GRANT}");
                    }
                    return Err(error);
                }
            };
            let store = RelateStore::new(database, config.relate.delete);
            Ok((Opened::Relate(store), applied))
        }
    }
}

/// `restante migrate`.
pub(super) async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let (opened, applied) = migrate_by_reserve(config).await?;
    let (database, which) = match opened {
        Opened::Own(database) => (database, "the schema"),
        Opened::Relate(store) => (
            store.database().clone(),
            "the schema restante beside Relate Mail's",
        ),
    };
    database
        .close()
        .await
        .context("while closing the database")?;
    output::print(&format!(
        "{applied} schema changes applied, {which} is up to date"
    ))?;
    Ok(ExitCode::SUCCESS)
}
