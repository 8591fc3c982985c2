//! The addresses at which mail reaches users.

use sea_orm::entity::prelude::*;

/// An address of a user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "addresses")]
pub struct Model {
    /// In lower case.
    #[sea_orm(primary_key, auto_increment = false)]
    pub address: String,
    /// Whose it is.
    pub user_id: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
