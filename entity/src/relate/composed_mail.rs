//! Compositions of messages, in Restante's own schema.

use sea_orm::entity::prelude::*;

/// A message that a session has listed: what is needed to compose the same octets again.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "restante", table_name = "composed_mails")]
pub struct Model {
    /// The message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub email_id: Uuid,
    /// The version of the composition.
    pub version: i16,
    /// Its octets, as RETR sends them.
    pub octets: i64,
    /// The To and Cc header lines.
    #[sea_orm(column_type = "Text")]
    pub recipient_lines: String,
}

/// The rows that it refers to, or that refer to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The message.
    #[sea_orm(
        belongs_to = "super::email::Entity",
        from = "Column::EmailId",
        to = "super::email::Column::Id",
        skip_fk
    )]
    Email,
}

impl Related<super::email::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Email.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
