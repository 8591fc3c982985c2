//! API keys of Relate Mail.

use sea_orm::entity::prelude::*;

/// A key of a user, for any protocol.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "SmtpApiKeys")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key, auto_increment = false, column_name = "Id")]
    pub id: Uuid,
    /// The user.
    #[sea_orm(column_name = "UserId")]
    pub user_id: Uuid,
    /// The name that its user gave it.
    #[sea_orm(column_name = "Name")]
    pub name: String,
    /// The bcrypt hash of the key.
    #[sea_orm(column_name = "KeyHash")]
    pub key_hash: String,
    /// Its scopes: a JSON array of strings.
    #[sea_orm(column_name = "Scopes")]
    pub scopes: String,
    /// When it was made.
    #[sea_orm(column_name = "CreatedAt")]
    pub created_at: TimeDateTimeWithTimeZone,
    /// When it was last used.
    #[sea_orm(column_name = "LastUsedAt")]
    pub last_used_at: Option<TimeDateTimeWithTimeZone>,
    /// When it was revoked.
    #[sea_orm(column_name = "RevokedAt")]
    pub revoked_at: Option<TimeDateTimeWithTimeZone>,
    /// The first 12 characters of the key; keys of before February 2026 have none.
    #[sea_orm(column_name = "KeyPrefix")]
    pub key_prefix: Option<String>,
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
    /// The verifier that this server has stored.
    #[sea_orm(has_one = "super::key_verifier::Entity")]
    KeyVerifier,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl Related<super::key_verifier::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::KeyVerifier.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
