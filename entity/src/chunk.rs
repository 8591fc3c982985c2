//! The octets of contents, in pieces of limited size.

use sea_orm::entity::prelude::*;

/// A piece of a content.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chunks")]
pub struct Model {
    /// The content that it is a part of.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// Its place; the first is 0. All chunks but the last have the same size.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// The octets, as RETR sends them before byte-stuffing.
    #[sea_orm(column_type = "Blob")]
    pub data: Vec<u8>,
}

/// The rows that a chunk refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The content that it is a part of.
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
