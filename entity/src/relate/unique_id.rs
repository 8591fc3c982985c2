//! Unique-ids, in Restante's own schema.

use sea_orm::entity::prelude::*;

/// The unique-id of a message in one maildrop. It stays when the message goes, so that no other gets it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "restante", table_name = "unique_ids")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// The message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub email_id: Uuid,
    /// The unique-id.
    #[sea_orm(column_type = "Text")]
    pub unique_id: String,
}

/// It refers to no other row.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
