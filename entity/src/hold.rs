//! What keeps the octets of departed messages from being removed.

use sea_orm::entity::prelude::*;

/// Sessions of this server can still read this departed message.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "holds")]
pub struct Model {
    /// The server.
    #[sea_orm(primary_key, auto_increment = false)]
    pub server_id: String,
    /// The departed message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
