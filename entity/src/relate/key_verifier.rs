//! Fast verifiers of keys, in Restante's own schema.

use sea_orm::entity::prelude::*;

/// A key that has been verified by its bcrypt hash once.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "restante", table_name = "key_verifiers")]
pub struct Model {
    /// The key's row.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: Uuid,
    /// The bcrypt hash that it was verified by. If the key's row has another, this row is void.
    #[sea_orm(column_type = "Text")]
    pub key_hash: String,
    /// The SHA-256 of the key.
    #[sea_orm(column_type = "Blob")]
    pub digest: Vec<u8>,
    /// The SCRAM-SHA-256 verifier of the key.
    #[sea_orm(column_type = "Text")]
    pub verifier: String,
}

/// The rows that it refers to, or that refer to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The key.
    #[sea_orm(
        belongs_to = "super::api_key::Entity",
        from = "Column::KeyId",
        to = "super::api_key::Column::Id",
        skip_fk
    )]
    ApiKey,
}

impl Related<super::api_key::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ApiKey.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
