//! Recipients that messages of Relate Mail name.

use sea_orm::entity::prelude::*;

/// A mailbox that To, Cc or Bcc of a message names.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "EmailRecipients")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key, auto_increment = false, column_name = "Id")]
    pub id: Uuid,
    /// The message.
    #[sea_orm(column_name = "EmailId")]
    pub email_id: Uuid,
    /// The address.
    #[sea_orm(column_name = "Address")]
    pub address: String,
    /// The name.
    #[sea_orm(column_name = "DisplayName")]
    pub name: Option<String>,
    /// `To`, `Cc` or `Bcc`.
    #[sea_orm(column_name = "Type")]
    pub kind: String,
    /// The user whose address it is, once the suite has linked them.
    #[sea_orm(column_name = "UserId")]
    pub user_id: Option<Uuid>,
    /// Whether that user has read the message.
    #[sea_orm(column_name = "IsRead")]
    pub is_read: bool,
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
    /// The user.
    #[sea_orm(
        belongs_to = "super::user::Entity",
        from = "Column::UserId",
        to = "super::user::Column::Id"
    )]
    User,
}

impl Related<super::email::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Email.def()
    }
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
