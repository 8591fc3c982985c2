//! Further addresses of users, by which mail is linked to them.

use sea_orm::entity::prelude::*;

/// A further address of a user, which they may not have proven to be theirs.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "UserEmailAddresses")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key, auto_increment = false, column_name = "Id")]
    pub id: Uuid,
    /// The user.
    #[sea_orm(column_name = "UserId")]
    pub user_id: Uuid,
    /// The address.
    #[sea_orm(column_name = "Address")]
    pub address: String,
}

/// The rows that it refers to, or that refer to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The user.
    #[sea_orm(
        belongs_to = "super::user::Entity",
        from = "Column::UserId",
        to = "super::user::Column::Id"
    )]
    User,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
