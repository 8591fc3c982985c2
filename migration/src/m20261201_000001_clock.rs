//! When the clock of the database was last found right, so that no mail expires by a wrong one.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Clock {
    Table,
    Id,
    RightAtMs,
    JumpedByMs,
    Boot,
    SinceBootMs,
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait spells its method so, and async_trait wants the same spelling"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let number = |name| ColumnDef::new(name).big_integer().not_null().to_owned();
        let mut clock = Table::create();
        clock
            .table(Clock::Table)
            // There is one row, whose key is 1.
            .col(ColumnDef::new(Clock::Id).integer().not_null().primary_key())
            .col(number(Clock::RightAtMs))
            .col(number(Clock::JumpedByMs))
            .col(ColumnDef::new(Clock::Boot).text().not_null())
            .col(number(Clock::SinceBootMs));
        manager.create_table(clock.to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut clock = Table::drop();
        manager
            .drop_table(clock.table(Clock::Table).to_owned())
            .await
    }
}
