//! What delivery, import and undo need: quotas, what stands in front of a copy, what was deleted
//! when, and what was imported.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Users {
    Table,
    Id,
    QuotaOctets,
    QuotaMessages,
}

#[derive(DeriveIden)]
enum Messages {
    Table,
    HeadOctets,
    StoredAtMs,
}

#[derive(DeriveIden)]
enum Heads {
    Table,
    MessageId,
    Octets,
}

#[derive(DeriveIden)]
enum Departures {
    Table,
    MessageId,
    UserId,
    Octets,
    HeadOctets,
    UniqueId,
    ReceivedAtMs,
    SessionId,
    DepartedAtMs,
    KeptUntilMs,
}

#[derive(DeriveIden)]
enum Imports {
    Table,
    Id,
    UserId,
    UniqueId,
    Digest,
    Octets,
    MessageId,
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait spells its method so, and async_trait wants the same spelling"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in new_columns() {
            // SQLite adds one column at a time.
            let mut change = Table::alter();
            change.table(table).add_column(column);
            manager.alter_table(change.to_owned()).await?;
        }
        for table in new_tables() {
            manager.create_table(table).await?;
        }
        let now = if manager.get_database_backend() == DbBackend::Postgres {
            "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
        } else {
            "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
        };
        // What is here already has been here since now, so that no old mail expires at once.
        let since_now = format!("UPDATE messages SET stored_at_ms = {now}");
        let database = manager.get_connection();
        database.execute_unprepared(&since_now).await?;
        for index in new_indices() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for index in [
            "messages_by_storing",
            "departures_by_end",
            "departures_of_session",
        ] {
            let mut gone = Index::drop();
            manager.drop_index(gone.name(index).to_owned()).await?;
        }
        for table in [Imports::Table.into_iden(), Heads::Table.into_iden()] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        for (table, column) in new_columns().into_iter().rev() {
            let mut change = Table::alter();
            change.table(table).drop_column(column.get_column_name());
            manager.alter_table(change.to_owned()).await?;
        }
        Ok(())
    }
}

fn new_columns() -> Vec<(DynIden, ColumnDef)> {
    let users = || Users::Table.into_iden();
    let messages = || Messages::Table.into_iden();
    let departures = || Departures::Table.into_iden();
    vec![
        (users(), optional_number(Users::QuotaOctets)),
        (users(), optional_number(Users::QuotaMessages)),
        (messages(), head_octets(Messages::HeadOctets)),
        (messages(), number_or_zero(Messages::StoredAtMs)),
        (departures(), number_or_zero(Departures::Octets)),
        (departures(), head_octets(Departures::HeadOctets)),
        (departures(), optional_text(Departures::UniqueId)),
        (departures(), number_or_zero(Departures::ReceivedAtMs)),
        (departures(), optional_text(Departures::SessionId)),
        (departures(), number_or_zero(Departures::DepartedAtMs)),
        (departures(), number_or_zero(Departures::KeptUntilMs)),
    ]
}

fn new_tables() -> Vec<TableCreateStatement> {
    let mut user_of_import = ForeignKey::create();
    user_of_import
        .from(Imports::Table, Imports::UserId)
        .to(Users::Table, Users::Id);
    vec![
        Table::create()
            .table(Heads::Table)
            // Finds what stands in front of a message: at RETR and TOP.
            .col(
                ColumnDef::new(Heads::MessageId)
                    .big_integer()
                    .not_null()
                    .primary_key(),
            )
            .col(ColumnDef::new(Heads::Octets).blob().not_null())
            .to_owned(),
        Table::create()
            .table(Imports::Table)
            .col(
                ColumnDef::new(Imports::Id)
                    .big_integer()
                    .not_null()
                    .auto_increment()
                    .primary_key(),
            )
            .col(ColumnDef::new(Imports::UserId).big_integer().not_null())
            .col(optional_text(Imports::UniqueId))
            .col(ColumnDef::new(Imports::Digest).blob().not_null())
            .col(ColumnDef::new(Imports::Octets).big_integer().not_null())
            .col(ColumnDef::new(Imports::MessageId).big_integer().not_null())
            .foreign_key(&mut user_of_import)
            .to_owned(),
    ]
}

fn new_indices() -> Vec<IndexCreateStatement> {
    vec![
        // The messages that have been here for too long.
        Index::create()
            .name("messages_by_storing")
            .table(Messages::Table)
            .col(Messages::StoredAtMs)
            .to_owned(),
        // The departed messages that nothing keeps any more: every few seconds.
        Index::create()
            .name("departures_by_end")
            .table(Departures::Table)
            .col(Departures::KeptUntilMs)
            .col(Departures::MessageId)
            .to_owned(),
        // What a session deleted: when it is brought back.
        Index::create()
            .name("departures_of_session")
            .table(Departures::Table)
            .col(Departures::UserId)
            .col(Departures::SessionId)
            .to_owned(),
        // What was imported for a user: when an import begins, and whether another has gone on.
        Index::create()
            .name("imports_of_user")
            .table(Imports::Table)
            .col(Imports::UserId)
            .col(Imports::Id)
            .to_owned(),
    ]
}

fn number_or_zero(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.big_integer().not_null().default(0);
    column
}

fn head_octets(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.integer().not_null().default(0);
    column
}

fn optional_number(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.big_integer();
    column
}

fn optional_text(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.text();
    column
}
