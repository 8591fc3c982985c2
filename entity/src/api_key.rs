//! API keys, which open maildrops.

use sea_orm::entity::prelude::*;

/// An API key: its hash, and what SCRAM needs.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// The primary key, by which `key revoke` names the key.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The user whose maildrop it opens.
    pub user_id: i64,
    /// The name that its user gave it.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// The public part of the key, by which a login finds it.
    #[sea_orm(column_type = "Text", unique)]
    pub prefix: String,
    /// The SHA-256 of the whole key.
    #[sea_orm(column_type = "Blob")]
    pub hash: Vec<u8>,
    /// The SCRAM verifier; none if SCRAM can't be used with this key.
    #[sea_orm(column_type = "Text", nullable)]
    pub verifier: Option<String>,
    /// The scopes, separated by blanks.
    #[sea_orm(column_type = "Text")]
    pub scopes: String,
    /// The networks from which it works, separated by commas; none is all.
    #[sea_orm(column_type = "Text", nullable)]
    pub networks: Option<String>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it last opened a maildrop, to the minute.
    pub last_used_at_ms: Option<i64>,
    /// When it stops working; none is never.
    pub expires_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// The rows that a key refers to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The user whose maildrop it opens.
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
