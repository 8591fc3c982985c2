//! What was ever imported, so that an import can be repeated.

use sea_orm::entity::prelude::*;

/// A message that was imported. It is remembered when it is deleted, so that it does not come back.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "imports")]
pub struct Model {
    /// The key of the row.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Into whose maildrop.
    pub user_id: i64,
    /// What UIDL called it where it came from, if that is known.
    pub unique_id: Option<String>,
    /// The SHA-256 of its octets.
    pub digest: Vec<u8>,
    /// How many octets it has.
    pub octets: i64,
    /// The key of the row that it had in `messages`.
    pub message_id: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
