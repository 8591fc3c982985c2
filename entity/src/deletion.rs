//! Deletions whose messages are still here, as departures or in batches.

use sea_orm::entity::prelude::*;

/// What one QUIT, one round of expiry or the removal of a user has deleted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deletions")]
pub struct Model {
    /// From whose maildrop.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The version of the maildrop that was the first without the messages.
    #[sea_orm(primary_key, auto_increment = false)]
    pub maildrop_version: i64,
    /// The session whose QUIT it was, if it was one.
    pub session_id: Option<String>,
    /// When it was, in milliseconds since 1970.
    pub deleted_at_ms: i64,
    /// Until when the messages can be brought back, in milliseconds since 1970.
    pub kept_until_ms: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
