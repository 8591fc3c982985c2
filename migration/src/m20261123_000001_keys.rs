//! What SCRAM needs of keys, and the networks that a key is for.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Verifier,
    Networks,
}

#[derive(DeriveIden)]
enum Scram {
    Table,
    Salt,
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
        let mut salt = Table::create();
        salt.table(Scram::Table)
            .col(ColumnDef::new(Scram::Salt).binary().not_null());
        manager.create_table(salt.to_owned()).await?;
        // 16 octets, which nobody chose.
        let random = if manager.get_database_backend() == DbBackend::Postgres {
            "decode(replace(gen_random_uuid()::text, '-', ''), 'hex')"
        } else {
            "randomblob(16)"
        };
        let database = manager.get_connection();
        let fill = format!("INSERT INTO scram (salt) VALUES ({random})");
        database.execute_unprepared(&fill).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut salt = Table::drop();
        manager
            .drop_table(salt.table(Scram::Table).to_owned())
            .await?;
        for column in [ApiKeys::Networks, ApiKeys::Verifier] {
            let mut change = Table::alter();
            change.table(ApiKeys::Table).drop_column(column);
            manager.alter_table(change.to_owned()).await?;
        }
        Ok(())
    }
}
