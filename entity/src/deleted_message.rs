//! Deleted messages whose octets are still stored: an open session may read them, or they are kept
//! so that the deletion can be undone.

use sea_orm::entity::prelude::*;

/// A message that has been deleted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deleted_messages")]
pub struct Model {
    /// Its content. First in the primary key, which finds the references to a content.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// The primary key that its row in `messages` had.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: i64,
    /// The user of the maildrop.
    pub user_id: i64,
    /// The first version of the maildrop without it.
    pub maildrop_version: i64,
    /// As in `messages`.
    pub octets: i64,
    /// As in `messages`.
    pub trace_octets: i32,
    /// As in `messages`.
    #[sea_orm(column_type = "Text")]
    pub unique_id: String,
    /// As in `messages`.
    pub received_at_ms: i64,
    /// The session whose QUIT deleted it; none if its user was removed.
    #[sea_orm(column_type = "Text", nullable)]
    pub session_id: Option<String>,
    /// When it was deleted.
    pub deleted_at_ms: i64,
    /// Until when it can be restored.
    pub kept_until_ms: i64,
}

/// The rows that a deleted message refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Its content.
    #[sea_orm(
        belongs_to = "super::content::Entity",
        from = "Column::ContentId",
        to = "super::content::Column::Id"
    )]
    Content,
    /// The deletion that it is a part of.
    #[sea_orm(
        belongs_to = "super::deletion::Entity",
        from = "(Column::UserId, Column::MaildropVersion)",
        to = "(super::deletion::Column::UserId, super::deletion::Column::MaildropVersion)",
        skip_fk
    )]
    Deletion,
}

impl Related<super::content::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Content.def()
    }
}

impl Related<super::deletion::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Deletion.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
