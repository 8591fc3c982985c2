//! The schema, one file per change.

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::{Migration, MigrationStatus, MigratorTrait};

mod m20261122_000001_maildrops;
mod m20261123_000001_keys;
mod m20261127_000001_delivery;
mod m20261201_000001_clock;
mod m20261202_000001_deletions;

/// Applies the changes in their order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_maildrops::Migration),
            Box::new(m20261123_000001_keys::Migration),
            Box::new(m20261127_000001_delivery::Migration),
            Box::new(m20261201_000001_clock::Migration),
            Box::new(m20261202_000001_deletions::Migration),
        ]
    }
}
