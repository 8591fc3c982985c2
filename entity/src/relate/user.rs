//! Users of Relate Mail, with the columns that are read.

use sea_orm::entity::prelude::*;

/// A user of the suite.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "Users")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key, auto_increment = false, column_name = "Id")]
    pub id: Uuid,
    /// The address, in the case that the identity provider gave. Two users may have the same one.
    #[sea_orm(column_name = "Email")]
    pub email: String,
    /// When the user was added.
    #[sea_orm(column_name = "CreatedAt")]
    pub created_at: TimeDateTimeWithTimeZone,
}

/// The rows that it refers to, or that refer to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The keys.
    #[sea_orm(has_many = "super::api_key::Entity")]
    ApiKey,
    /// The further addresses.
    #[sea_orm(has_many = "super::user_address::Entity")]
    UserAddress,
    /// Where mail names the user.
    #[sea_orm(has_many = "super::recipient::Entity")]
    Recipient,
}

impl Related<super::api_key::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ApiKey.def()
    }
}

impl Related<super::user_address::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::UserAddress.def()
    }
}

impl Related<super::recipient::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Recipient.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
