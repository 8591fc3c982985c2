//! Messages in maildrops.

use sea_orm::entity::prelude::*;

/// A message in the maildrop of one user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The user of the maildrop.
    #[sea_orm(unique_key = "messages_unique_id")]
    pub user_id: i64,
    /// Its content, which messages of other users may share.
    pub content_id: i64,
    /// The octets that RETR sends before byte-stuffing, trace headers included.
    pub octets: i64,
    /// Its unique-id, which never changes.
    #[sea_orm(column_type = "Text", unique_key = "messages_unique_id")]
    pub unique_id: String,
    /// When it was received; messages are numbered in this order.
    pub received_at_ms: i64,
    /// The size of its trace headers; see [`crate::trace_header`].
    #[sea_orm(default_value = 0)]
    pub trace_octets: i32,
    /// When it was stored in this database; it expires by this time.
    #[sea_orm(default_value = 0)]
    pub stored_at_ms: i64,
}

/// The rows that a message refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The user of the maildrop.
    #[sea_orm(
        belongs_to = "super::user::Entity",
        from = "Column::UserId",
        to = "super::user::Column::Id"
    )]
    User,
    /// Its content.
    #[sea_orm(
        belongs_to = "super::content::Entity",
        from = "Column::ContentId",
        to = "super::content::Column::Id"
    )]
    Content,
    /// Its trace headers.
    #[sea_orm(has_one = "super::trace_header::Entity")]
    TraceHeader,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl Related<super::content::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Content.def()
    }
}

impl Related<super::trace_header::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::TraceHeader.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
