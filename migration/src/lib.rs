//! The schema, one file per change.

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::{Migration, MigrationStatus, MigratorTrait};

mod m20261122_000001_schema;
pub mod relate;

/// Applies the changes in their order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261122_000001_schema::Migration)]
    }
}
