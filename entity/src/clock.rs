//! The clock by which mail expires, when it was last found right.

use sea_orm::entity::prelude::*;

/// There is one row, once a server has looked at the clock.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clock")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// What it said then, in milliseconds since 1970.
    pub right_at_ms: i64,
    /// By how much it has jumped since; 0 if it has not.
    pub jumped_by_ms: i64,
    /// Which boot of which machine the server ran on that found it right.
    pub boot: String,
    /// How long that machine had been booted.
    pub since_boot_ms: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
