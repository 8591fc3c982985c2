//! What stands in front of a message in one maildrop, and not in the others that got it too.

use sea_orm::entity::prelude::*;

/// The header lines that delivery put there: Return-Path, Delivered-To and Received.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "heads")]
pub struct Model {
    /// The key of the message's row, in `messages` or `departures`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: i64,
    /// Whole lines with CRLF.
    pub octets: Vec<u8>,
}

/// None that queries use: they name their joins.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
