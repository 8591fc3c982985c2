//! Messages that left their maildrop, and whose octets are still here: an open session may read
//! them, or they are kept so that the deletion can be undone.

use sea_orm::entity::prelude::*;

/// A message that has left its maildrop.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "departures")]
pub struct Model {
    /// The key that its row in `messages` had.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: i64,
    /// From whose maildrop.
    pub user_id: i64,
    /// What it said.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// The version of the maildrop that was the first without it.
    pub maildrop_version: i64,
    /// As it was in `messages`.
    pub octets: i64,
    /// As it was in `messages`.
    pub head_octets: i32,
    /// As it was in `messages`; none if it left before this was kept.
    pub unique_id: Option<String>,
    /// As it was in `messages`.
    pub received_at_ms: i64,
    /// The session whose QUIT deleted it, if one did.
    pub session_id: Option<String>,
    /// When it left, in milliseconds since 1970.
    pub departed_at_ms: i64,
    /// Until when it can be brought back, in milliseconds since 1970.
    pub kept_until_ms: i64,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
