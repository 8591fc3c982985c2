//! What keeps deleted messages from garbage collection.

use sea_orm::entity::prelude::*;

/// Sessions of this server can still read what this deletion has taken out of its maildrop.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "remote_leases")]
pub struct Model {
    /// The server.
    #[sea_orm(primary_key, auto_increment = false)]
    pub server_id: String,
    /// The user of the maildrop.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The version of the maildrop that the deletion has made.
    #[sea_orm(primary_key, auto_increment = false)]
    pub maildrop_version: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
