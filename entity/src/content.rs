//! Contents of messages, stored once for all recipients.

use sea_orm::entity::prelude::*;

/// The content of one delivery; its octets are in its chunks.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contents")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The size of all chunks together; 0 while they are written.
    pub octets: i64,
    /// The SHA-256 of the octets, by which an import recognizes a message.
    #[sea_orm(column_type = "Blob")]
    pub digest: Vec<u8>,
}

/// The rows that refer to a content.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Its octets.
    #[sea_orm(has_many = "super::chunk::Entity")]
    Chunk,
    /// The messages that share it.
    #[sea_orm(has_many = "super::message::Entity")]
    Message,
    /// The deleted messages that share it.
    #[sea_orm(has_many = "super::deleted_message::Entity")]
    DeletedMessage,
    /// The mark that it is not complete.
    #[sea_orm(has_one = "super::pending_content::Entity")]
    PendingContent,
}

impl Related<super::chunk::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Chunk.def()
    }
}

impl Related<super::message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Message.def()
    }
}

impl Related<super::deleted_message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::DeletedMessage.def()
    }
}

impl Related<super::pending_content::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::PendingContent.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
