//! Imported messages, so that an import can be repeated.

use sea_orm::entity::prelude::*;

/// A message that was imported. The row outlives the message, so that a deleted message is not
/// imported again.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "imported_messages")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The user of the maildrop.
    pub user_id: i64,
    /// Its unique-id at its source, if that is known.
    #[sea_orm(column_type = "Text", nullable)]
    pub unique_id: Option<String>,
    /// The SHA-256 of its octets.
    #[sea_orm(column_type = "Blob")]
    pub digest: Vec<u8>,
    /// Its size.
    pub octets: i64,
    /// The primary key of its row in `messages`, which may be gone.
    pub message_id: i64,
}

/// The rows that an imported message refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The user of the maildrop.
    #[sea_orm(
        belongs_to = "super::user::Entity",
        from = "Column::UserId",
        to = "super::user::Column::Id"
    )]
    User,
    /// The message, unless it has been deleted.
    #[sea_orm(
        belongs_to = "super::message::Entity",
        from = "Column::MessageId",
        to = "super::message::Column::Id",
        skip_fk
    )]
    Message,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl Related<super::message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Message.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
