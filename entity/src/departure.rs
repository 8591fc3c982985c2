//! Messages that a QUIT deleted and whose octets may still be read by an open session.

use sea_orm::entity::prelude::*;

/// A message that has left its maildrop.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "departures")]
pub struct Model {
    /// The key that its row in `messages` had.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: i64,
    /// From whose maildrop.
    pub user_id: i64,
    /// What it said.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// The version of the maildrop that was the first without it.
    pub maildrop_version: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
