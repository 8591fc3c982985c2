//! Deletions whose messages are still stored.

use sea_orm::entity::prelude::*;

/// What one QUIT, one round of expiry or the removal of a user has deleted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deletions")]
pub struct Model {
    /// The user of the maildrop.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The first version of the maildrop without the messages.
    #[sea_orm(primary_key, auto_increment = false)]
    pub maildrop_version: i64,
    /// The session whose QUIT it was; none if a user was removed.
    #[sea_orm(column_type = "Text", nullable)]
    pub session_id: Option<String>,
    /// When the messages were deleted.
    pub deleted_at_ms: i64,
    /// Until when they can be restored.
    pub kept_until_ms: i64,
}

/// The rows that belong to a deletion.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Its messages.
    #[sea_orm(has_many = "super::deleted_message::Entity")]
    DeletedMessage,
    /// Those that have not been moved out of `messages` yet.
    #[sea_orm(has_many = "super::deletion_batch::Entity")]
    DeletionBatch,
    /// The servers whose sessions can still read its messages.
    #[sea_orm(has_many = "super::remote_lease::Entity")]
    RemoteLease,
}

impl Related<super::deleted_message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::DeletedMessage.def()
    }
}

impl Related<super::deletion_batch::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::DeletionBatch.def()
    }
}

impl Related<super::remote_lease::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::RemoteLease.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
