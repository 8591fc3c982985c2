//! Messages that are hidden from one user, in Restante's own schema.

use sea_orm::entity::prelude::*;

/// A message that a user has deleted while `Relate__Delete` was `hide`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "restante", table_name = "hidden_mails")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// The message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub email_id: Uuid,
    /// The session that deleted it.
    #[sea_orm(column_type = "Text")]
    pub session: String,
    /// When.
    pub hidden_at: TimeDateTimeWithTimeZone,
}

/// It refers to no other row.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
