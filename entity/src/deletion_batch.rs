//! Messages of a large deletion that are still in their maildrop's table.

use sea_orm::entity::prelude::*;

/// Some of the messages of a deletion. No login sees them; they are moved to the departures in one
/// transaction, which removes this row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deletion_batches")]
pub struct Model {
    /// From whose maildrop.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// Which deletion.
    #[sea_orm(primary_key, auto_increment = false)]
    pub maildrop_version: i64,
    /// Which batch of it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// How many messages there are.
    pub messages: i64,
    /// The sum of their octets.
    pub octets: i64,
    /// Their keys, with commas between.
    pub message_ids: String,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
