//! Restante's own schema beside Relate's.

use migration::MigratorTrait;
use migration::relate::{RelateMigrator, SCHEMA};
use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::super::{Database, OpenError, Transaction, raw};

impl Database {
    /// Applies the changes of the schema `restante` that are missing, all or none; returns how many
    /// there were. The schema is made if it is missing.
    ///
    /// # Errors
    /// If the database refuses, or knows changes that this program does not.
    pub(crate) async fn migrate_beside_relate(&self) -> Result<usize, OpenError> {
        self.apply_beside_relate().await.map_err(OpenError::Migrate)
    }

    async fn apply_beside_relate(&self) -> Result<usize, DbErr> {
        let transaction = self.begin_in_schema().await?;
        if has_schema(&transaction).await? && pending(&transaction).await? == 0 {
            transaction.rollback().await?;
            return Ok(0);
        }
        raw::lock_migrations(&transaction).await?;
        if !has_schema(&transaction).await? {
            let make = format!("CREATE SCHEMA {SCHEMA}");
            transaction.execute_unprepared(&make).await?;
        }
        let missing = RelateMigrator::get_pending_migrations(&*transaction)
            .await?
            .len();
        RelateMigrator::up(&*transaction, None).await?;
        transaction.commit().await?;
        Ok(missing)
    }

    /// Returns how many changes of the schema `restante` are missing. Nothing is changed.
    ///
    /// # Errors
    /// If the database can't say, or knows changes that this program does not.
    pub(crate) async fn pending_beside_relate(&self) -> Result<usize, OpenError> {
        let pending = async {
            let transaction = self.begin_in_schema().await?;
            let missing = pending(&transaction).await?;
            transaction.rollback().await?;
            Ok(missing)
        };
        pending.await.map_err(OpenError::Migrate)
    }

    /// Begins a transaction in which names without a schema are those of `restante`. Set here, not
    /// for the connection, since `PgBouncer` gives connections to others between transactions.
    async fn begin_in_schema(&self) -> Result<Transaction, DbErr> {
        let transaction = self.begin().await?;
        let set = format!("SET LOCAL search_path = {SCHEMA}");
        transaction.execute_unprepared(&set).await?;
        Ok(transaction)
    }
}

async fn pending(transaction: &Transaction) -> Result<usize, DbErr> {
    let pending = RelateMigrator::get_pending_migrations_read_only(&**transaction).await?;
    Ok(pending.len())
}

async fn has_schema(transaction: &Transaction) -> Result<bool, DbErr> {
    let look = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let backend = transaction.get_database_backend();
    let look = Statement::from_sql_and_values(backend, look, [SCHEMA.into()]);
    Ok(transaction.query_one_raw(look).await?.is_some())
}
