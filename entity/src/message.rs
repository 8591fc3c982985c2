//! The messages in maildrops.

use sea_orm::entity::prelude::*;

/// One copy of a message, in the maildrop of one user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
pub struct Model {
    /// The key of the row.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// In whose maildrop.
    pub user_id: i64,
    /// What it says.
    pub content_id: i64,
    /// How many octets RETR sends before byte-stuffing, those of its head included.
    pub octets: i64,
    /// What UIDL calls it, for ever.
    pub unique_id: String,
    /// When it was received, in milliseconds since 1970; messages are numbered in this order.
    pub received_at_ms: i64,
    /// How many octets stand in front of what its copies share; see [`crate::head`].
    pub head_octets: i32,
    /// When it came into this database, in milliseconds since 1970; it expires by this.
    pub stored_at_ms: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
