//! The last check of the database's clock, by which mail expires.

use sea_orm::entity::prelude::*;

/// The last check. There is one row, once a server has checked the clock.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clock_checks")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The time when the clock was last found right.
    pub right_at_ms: i64,
    /// How far it has jumped since; 0 if it has not.
    pub jumped_by_ms: i64,
    /// The boot of the machine that found it right.
    #[sea_orm(column_type = "Text")]
    pub boot_id: String,
    /// How long that machine had been up.
    pub uptime_ms: i64,
}

/// A check refers to no other row.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
