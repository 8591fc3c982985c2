//! The salt of SCRAM, in Restante's own schema.

use sea_orm::entity::prelude::*;

/// The salt, which is the same for every key. There is one row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "restante", table_name = "scram")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// 16 random octets.
    #[sea_orm(column_type = "Blob")]
    pub salt: Vec<u8>,
}

/// It refers to no other row.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
