//! The history of Relate Mail's schema.

use sea_orm::entity::prelude::*;

/// A change of the schema that the suite has applied.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "__EFMigrationsHistory")]
pub struct Model {
    /// Its name.
    #[sea_orm(primary_key, auto_increment = false, column_name = "MigrationId")]
    pub id: String,
    /// The version of Entity Framework that applied it.
    #[sea_orm(column_name = "ProductVersion")]
    pub product_version: String,
}

/// It refers to no other row.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
