//! Messages of a large deletion that have not been moved out of `messages` yet.

use sea_orm::entity::prelude::*;

/// Some messages of a deletion. No login sees them. One transaction moves them to
/// `deleted_messages` and removes this row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deletion_batches")]
pub struct Model {
    /// The user of the maildrop.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The deletion.
    #[sea_orm(primary_key, auto_increment = false)]
    pub maildrop_version: i64,
    /// The number of the batch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// The number of messages.
    pub messages: i64,
    /// The sum of their octets.
    pub octets: i64,
    /// Their primary keys, separated by commas.
    #[sea_orm(column_type = "Text")]
    pub message_ids: String,
}

/// The rows that a batch refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The deletion that it is a part of.
    #[sea_orm(
        belongs_to = "super::deletion::Entity",
        from = "(Column::UserId, Column::MaildropVersion)",
        to = "(super::deletion::Column::UserId, super::deletion::Column::MaildropVersion)",
        skip_fk
    )]
    Deletion,
}

impl Related<super::deletion::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Deletion.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
