//! The processes that serve sessions from this database.

use sea_orm::entity::prelude::*;

/// A running server.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "servers")]
pub struct Model {
    /// A random name that it gives itself at start.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Grows while it lives.
    pub beat: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
