//! Restante's own schema beside that of Relate Mail, one file per change.
//!
//! It is the PostgreSQL schema `restante`. Relate's tables are not touched.

use sea_orm_migration::prelude::*;

mod m20261128_000001_schema;

/// The name of the schema.
pub const SCHEMA: &str = "restante";

/// Applies the changes in their order, to the first schema of the connection's search path.
#[derive(Debug)]
pub struct RelateMigrator;

#[async_trait::async_trait]
impl MigratorTrait for RelateMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261128_000001_schema::Migration)]
    }
}
