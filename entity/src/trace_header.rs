//! Trace headers, which differ from recipient to recipient.

use sea_orm::entity::prelude::*;

/// The header lines that delivery added in front of a message: Return-Path, Delivered-To and
/// Received.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "trace_headers")]
pub struct Model {
    /// The primary key of the message, in `messages` or `deleted_messages`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: i64,
    /// Whole lines with CRLF.
    #[sea_orm(column_type = "Blob")]
    pub data: Vec<u8>,
}

/// The rows that trace headers refer to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The message, unless it has been deleted.
    #[sea_orm(
        belongs_to = "super::message::Entity",
        from = "Column::MessageId",
        to = "super::message::Column::Id",
        skip_fk
    )]
    Message,
}

impl Related<super::message::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Message.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
