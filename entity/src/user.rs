//! People and programs that have a maildrop.

use sea_orm::entity::prelude::*;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The key of the row.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The first of their addresses, in lower case.
    pub address: String,
    /// When they were added, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When they were disabled; a disabled user gets mail and cannot log in.
    pub disabled_at_ms: Option<i64>,
    /// Grows with every change of the maildrop, so that an unchanged one need not be read again.
    pub maildrop_version: i64,
    /// How many octets the maildrop may hold; none is no limit.
    pub quota_octets: Option<i64>,
    /// How many messages the maildrop may hold; none is no limit.
    pub quota_messages: Option<i64>,
    /// When they were removed; their maildrop is emptied, and then this row goes.
    pub removed_at_ms: Option<i64>,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
