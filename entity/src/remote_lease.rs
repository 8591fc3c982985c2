//! Leases that keep deleted messages from garbage collection, published for other servers.

use sea_orm::entity::prelude::*;

/// A lease: sessions of this server can still read the messages of this deletion.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "remote_leases")]
pub struct Model {
    /// The server.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub server_id: String,
    /// The user of the maildrop.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The version of the maildrop that the deletion has made.
    #[sea_orm(primary_key, auto_increment = false)]
    pub maildrop_version: i64,
}

/// The rows that a lease refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The server.
    #[sea_orm(
        belongs_to = "super::server::Entity",
        from = "Column::ServerId",
        to = "super::server::Column::Id",
        skip_fk
    )]
    Server,
    /// The deletion.
    #[sea_orm(
        belongs_to = "super::deletion::Entity",
        from = "(Column::UserId, Column::MaildropVersion)",
        to = "(super::deletion::Column::UserId, super::deletion::Column::MaildropVersion)",
        skip_fk
    )]
    Deletion,
}

impl Related<super::server::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Server.def()
    }
}

impl Related<super::deletion::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Deletion.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
