//! Contents that are not complete.

use sea_orm::entity::prelude::*;

/// The mark of a content that is being written, or whose delivery was broken off.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pending_contents")]
pub struct Model {
    /// The content.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// When its last chunk was written.
    pub written_at_ms: i64,
}

/// The rows that the mark refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The content.
    #[sea_orm(
        belongs_to = "super::content::Entity",
        from = "Column::ContentId",
        to = "super::content::Column::Id"
    )]
    Content,
}

impl Related<super::content::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Content.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
