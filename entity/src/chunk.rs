//! The octets of contents, in pieces that fit into memory.

use sea_orm::entity::prelude::*;

/// A piece of a content.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chunks")]
pub struct Model {
    /// Of which content.
    #[sea_orm(primary_key, auto_increment = false)]
    pub content_id: i64,
    /// The first is 0. All but the last have the same size.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// The octets, as RETR sends them before byte-stuffing.
    pub octets: Vec<u8>,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
