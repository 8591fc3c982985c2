//! Attachments of messages of Relate Mail.

use sea_orm::entity::prelude::*;

/// An attachment of a message.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "EmailAttachments")]
pub struct Model {
    /// The primary key. The order of attachments is theirs.
    #[sea_orm(primary_key, auto_increment = false, column_name = "Id")]
    pub id: Uuid,
    /// The message.
    #[sea_orm(column_name = "EmailId")]
    pub email_id: Uuid,
    /// The file name, decoded.
    #[sea_orm(column_name = "FileName")]
    pub file_name: String,
    /// The media type without parameters.
    #[sea_orm(column_name = "ContentType")]
    pub content_type: String,
    /// The octets, decoded.
    #[sea_orm(column_name = "Content")]
    pub content: Vec<u8>,
}

/// The rows that it refers to, or that refer to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The message.
    #[sea_orm(
        belongs_to = "super::email::Entity",
        from = "Column::EmailId",
        to = "super::email::Column::Id"
    )]
    Email,
}

impl Related<super::email::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Email.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
