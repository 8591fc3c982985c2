//! Contents whose last octets have not arrived yet.

use sea_orm::entity::prelude::*;

/// A delivery that is being written, or that was broken off.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "unfinished")]
pub struct Model {
    /// The content that is being written.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// When it last grew, in milliseconds since 1970.
    pub touched_at_ms: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
