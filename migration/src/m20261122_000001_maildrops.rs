//! Users, their keys, and their maildrops.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DbBackend, Statement};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Users {
    Table,
    Id,
    Address,
    CreatedAtMs,
    DisabledAtMs,
    MaildropVersion,
}

#[derive(DeriveIden)]
enum Addresses {
    Table,
    Address,
    UserId,
}

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Id,
    UserId,
    Name,
    Prefix,
    Hash,
    Scopes,
    CreatedAtMs,
    LastUsedAtMs,
    ExpiresAtMs,
    RevokedAtMs,
}

#[derive(DeriveIden)]
enum Contents {
    Table,
    Id,
    Octets,
    Digest,
}

#[derive(DeriveIden)]
enum Chunks {
    Table,
    ContentId,
    Number,
    Octets,
}

#[derive(DeriveIden)]
enum Messages {
    Table,
    Id,
    UserId,
    ContentId,
    Octets,
    UniqueId,
    ReceivedAtMs,
}

#[derive(DeriveIden)]
enum Departures {
    Table,
    MessageId,
    UserId,
    ContentId,
    MaildropVersion,
}

#[derive(DeriveIden)]
enum Unfinished {
    Table,
    ContentId,
    TouchedAtMs,
}

#[derive(DeriveIden)]
enum Servers {
    Table,
    Id,
    Beat,
}

#[derive(DeriveIden)]
enum Holds {
    Table,
    ServerId,
    MessageId,
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait spells its method so, and async_trait wants the same spelling"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indices() {
            manager.create_index(index).await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            // Mail is mostly compressed or encoded already; trying again costs time at each
            // delivery and each read.
            let plain = "ALTER TABLE chunks ALTER COLUMN octets SET STORAGE EXTERNAL";
            let connection = manager.get_connection();
            let plain = Statement::from_string(DbBackend::Postgres, plain);
            connection.execute_raw(plain).await?;
        }
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table(Users::Table)
            .col(row_id(Users::Id))
            .col(text(Users::Address).unique_key())
            .col(number(Users::CreatedAtMs))
            .col(optional_number(Users::DisabledAtMs))
            .col(number(Users::MaildropVersion).default(0))
            .to_owned(),
        Table::create()
            .table(Addresses::Table)
            // Finds the user of an address: at login and at delivery.
            .col(text(Addresses::Address).primary_key())
            .col(number(Addresses::UserId))
            .foreign_key(&mut user_of(Addresses::Table, Addresses::UserId))
            .to_owned(),
        Table::create()
            .table(ApiKeys::Table)
            .col(row_id(ApiKeys::Id))
            .col(number(ApiKeys::UserId))
            .col(text(ApiKeys::Name))
            // Unique: finds the key at login.
            .col(text(ApiKeys::Prefix).unique_key())
            .col(octets(ApiKeys::Hash))
            .col(text(ApiKeys::Scopes))
            .col(number(ApiKeys::CreatedAtMs))
            .col(optional_number(ApiKeys::LastUsedAtMs))
            .col(optional_number(ApiKeys::ExpiresAtMs))
            .col(optional_number(ApiKeys::RevokedAtMs))
            .foreign_key(&mut user_of(ApiKeys::Table, ApiKeys::UserId))
            .to_owned(),
        Table::create()
            .table(Contents::Table)
            .col(row_id(Contents::Id))
            .col(number(Contents::Octets))
            .col(octets(Contents::Digest))
            .to_owned(),
        Table::create()
            .table(Chunks::Table)
            .col(number(Chunks::ContentId))
            .col(ColumnDef::new(Chunks::Number).integer().not_null())
            .col(octets(Chunks::Octets))
            // Finds the octets of a message: at RETR and TOP.
            .primary_key(Index::create().col(Chunks::ContentId).col(Chunks::Number))
            .foreign_key(&mut content_of(Chunks::Table, Chunks::ContentId))
            .to_owned(),
        Table::create()
            .table(Messages::Table)
            .col(row_id(Messages::Id))
            .col(number(Messages::UserId))
            .col(number(Messages::ContentId))
            .col(number(Messages::Octets))
            .col(text(Messages::UniqueId))
            .col(number(Messages::ReceivedAtMs))
            .foreign_key(&mut user_of(Messages::Table, Messages::UserId))
            .foreign_key(&mut content_of(Messages::Table, Messages::ContentId))
            .to_owned(),
        Table::create()
            .table(Departures::Table)
            .col(number(Departures::MessageId))
            .col(number(Departures::UserId))
            .col(number(Departures::ContentId))
            .col(number(Departures::MaildropVersion))
            // Does a departed message still refer to this content? Asked when one is removed.
            .primary_key(
                Index::create()
                    .col(Departures::ContentId)
                    .col(Departures::MessageId),
            )
            .foreign_key(&mut content_of(Departures::Table, Departures::ContentId))
            .to_owned(),
        Table::create()
            .table(Unfinished::Table)
            .col(number(Unfinished::ContentId).primary_key())
            .col(number(Unfinished::TouchedAtMs))
            .foreign_key(&mut content_of(Unfinished::Table, Unfinished::ContentId))
            .to_owned(),
        Table::create()
            .table(Servers::Table)
            .col(text(Servers::Id).primary_key())
            .col(number(Servers::Beat))
            .to_owned(),
        Table::create()
            .table(Holds::Table)
            .col(text(Holds::ServerId))
            .col(number(Holds::MessageId))
            .primary_key(Index::create().col(Holds::MessageId).col(Holds::ServerId))
            .to_owned(),
    ]
}

fn indices() -> Vec<IndexCreateStatement> {
    vec![
        // The snapshot at login: the newest messages of one user, in order.
        Index::create()
            .name("messages_of_user_by_age")
            .table(Messages::Table)
            .col(Messages::UserId)
            .col(Messages::ReceivedAtMs)
            .col(Messages::Id)
            .to_owned(),
        // No unique-id twice in one maildrop.
        Index::create()
            .name("messages_unique_id")
            .table(Messages::Table)
            .col(Messages::UserId)
            .col(Messages::UniqueId)
            .unique()
            .to_owned(),
        // Does a message still refer to this content? Asked when a departed message is removed.
        Index::create()
            .name("messages_of_content")
            .table(Messages::Table)
            .col(Messages::ContentId)
            .to_owned(),
        // The keys and addresses of one user: for the commands that list them.
        Index::create()
            .name("api_keys_of_user")
            .table(ApiKeys::Table)
            .col(ApiKeys::UserId)
            .to_owned(),
        Index::create()
            .name("addresses_of_user")
            .table(Addresses::Table)
            .col(Addresses::UserId)
            .to_owned(),
    ]
}

fn row_id(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    // AUTOINCREMENT on SQLite: the number of a deleted row is never given out again.
    column
        .big_integer()
        .not_null()
        .auto_increment()
        .primary_key();
    column
}

fn number(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.big_integer().not_null();
    column
}

fn optional_number(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.big_integer();
    column
}

fn text(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.text().not_null();
    column
}

fn octets(name: impl IntoIden) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.blob().not_null();
    column
}

fn user_of(table: impl IntoIden, column: impl IntoIden) -> ForeignKeyCreateStatement {
    let mut key = ForeignKey::create();
    key.from(table.into_iden(), column.into_iden())
        .to(Users::Table, Users::Id);
    key
}

fn content_of(table: impl IntoIden, column: impl IntoIden) -> ForeignKeyCreateStatement {
    let mut key = ForeignKey::create();
    key.from(table.into_iden(), column.into_iden())
        .to(Contents::Table, Contents::Id);
    key
}
