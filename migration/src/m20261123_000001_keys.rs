//! What SCRAM needs of a key, and the networks that it is for.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Verifier,
    Networks,
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait spells its method so, and async_trait wants the same spelling"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in [ApiKeys::Verifier, ApiKeys::Networks] {
            let mut change = Table::alter();
            change
                .table(ApiKeys::Table)
                .add_column(ColumnDef::new(column).text().null());
            manager.alter_table(change.to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [ApiKeys::Networks, ApiKeys::Verifier] {
            let mut change = Table::alter();
            change.table(ApiKeys::Table).drop_column(column);
            manager.alter_table(change.to_owned()).await?;
        }
        Ok(())
    }
}
