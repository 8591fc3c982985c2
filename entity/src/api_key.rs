//! The keys that open maildrops.

use sea_orm::entity::prelude::*;

/// A key, of which a hash is kept, and what SCRAM needs.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// The key of the row, by which `key revoke` names it.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Whose maildrop it opens.
    pub user_id: i64,
    /// What its owner calls it.
    pub name: String,
    /// The public part of the key, by which it is found.
    pub prefix: String,
    /// The SHA-256 of the whole key.
    pub hash: Vec<u8>,
    /// What proves by SCRAM that a client knows it; keys made before there was SCRAM have none.
    pub verifier: Option<String>,
    /// What it may be used for, separated by blanks.
    pub scopes: String,
    /// From where it may be used, separated by commas; from everywhere if there is nothing.
    pub networks: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it last opened a maildrop, give or take a minute.
    pub last_used_at_ms: Option<i64>,
    /// From when on it opens nothing any more.
    pub expires_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
