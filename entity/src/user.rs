//! Users, each with a maildrop.

use sea_orm::entity::prelude::*;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The primary address, in lower case.
    #[sea_orm(column_type = "Text", unique)]
    pub address: String,
    /// When the user was added.
    pub created_at_ms: i64,
    /// When the user was disabled. A disabled user gets mail and can't log in.
    pub disabled_at_ms: Option<i64>,
    /// Grows with every change of the maildrop, so that an unchanged one is not read again.
    #[sea_orm(default_value = 0)]
    pub maildrop_version: i64,
    /// The limit on the octets of the maildrop; none is no limit.
    pub quota_octets: Option<i64>,
    /// The limit on the messages of the maildrop; none is no limit.
    pub quota_messages: Option<i64>,
    /// When the user was removed. The row goes when the maildrop is empty.
    pub removed_at_ms: Option<i64>,
}

/// The rows that belong to a user.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The addresses.
    #[sea_orm(has_many = "super::address::Entity")]
    Address,
    /// The API keys.
    #[sea_orm(has_many = "super::api_key::Entity")]
    ApiKey,
    /// The messages.
    #[sea_orm(has_many = "super::message::Entity")]
    Message,
    /// The messages that were ever imported.
    #[sea_orm(has_many = "super::imported_message::Entity")]
    ImportedMessage,
}

impl Related<super::address::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Address.def()
    }
}

impl Related<super::api_key::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ApiKey.def()
    }
}

impl Related<super::message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Message.def()
    }
}

impl Related<super::imported_message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ImportedMessage.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
