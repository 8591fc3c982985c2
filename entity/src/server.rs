//! Servers that share this database.

use sea_orm::entity::prelude::*;

/// A running server.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "servers")]
pub struct Model {
    /// A random name that it takes at start.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub id: String,
    /// A counter that grows while it lives and there is something to remove.
    pub heartbeat: i64,
}

/// The rows that belong to a server.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The leases of its sessions.
    #[sea_orm(has_many = "super::remote_lease::Entity")]
    RemoteLease,
}

impl Related<super::remote_lease::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::RemoteLease.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
