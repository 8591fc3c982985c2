//! What messages say, kept once however many users received it.

use sea_orm::entity::prelude::*;

/// The octets of one delivery; they stand in its chunks.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contents")]
pub struct Model {
    /// The key of the row.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// How many octets the chunks have together; 0 while they are being written.
    pub octets: i64,
    /// The SHA-256 of the octets, by which an import knows a message again.
    pub digest: Vec<u8>,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
