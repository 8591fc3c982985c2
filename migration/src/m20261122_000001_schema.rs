//! The first schema. The entities say what each table and column holds; `tests/schema.rs` keeps
//! both equal.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, big_pk_auto, blob, integer, text, text_null, text_uniq,
};
use sea_orm_migration::sea_orm::DbBackend;

mod indexes;
mod tables;

use indexes::indexes;
use tables::{
    Addresses, ApiKeys, Chunks, ClockChecks, Contents, DeletedMessages, DeletionBatches, Deletions,
    ImportedMessages, Messages, PendingContents, RemoteLeases, Scram, Servers, TraceHeaders, Users,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait spells its method so, and async_trait wants the same spelling"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            account_tables(),
            mail_tables(),
            deletion_tables(),
            server_tables(),
        ];
        for table in tables.into_iter().flatten() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        let database = manager.get_connection();
        let is_postgres = manager.get_database_backend() == DbBackend::Postgres;
        if is_postgres {
            // Mail is mostly compressed or encoded already. To try again costs time at each
            // delivery and each read.
            let plain = "ALTER TABLE chunks ALTER COLUMN data SET STORAGE EXTERNAL";
            database.execute_unprepared(plain).await?;
        }
        database.execute(&salt(is_postgres)?).await?;
        Ok(())
    }
}

/// Users, and what opens their maildrops.
fn account_tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table(Users::Table)
            // AUTOINCREMENT on SQLite, here and below: the key of a deleted row is not used again.
            .col(big_pk_auto(Users::Id))
            .col(text_uniq(Users::Address))
            .col(big_integer(Users::CreatedAtMs))
            .col(big_integer_null(Users::DisabledAtMs))
            .col(big_integer(Users::MaildropVersion).default(0))
            .col(big_integer_null(Users::QuotaOctets))
            .col(big_integer_null(Users::QuotaMessages))
            .col(big_integer_null(Users::RemovedAtMs))
            .take(),
        Table::create()
            .table(Addresses::Table)
            // Finds the user of an address: at login and at delivery.
            .col(text(Addresses::Address).primary_key())
            .col(big_integer(Addresses::UserId))
            .foreign_key(&mut user_of(Addresses::Table, Addresses::UserId))
            .take(),
        Table::create()
            .table(ApiKeys::Table)
            .col(big_pk_auto(ApiKeys::Id))
            .col(big_integer(ApiKeys::UserId))
            .col(text(ApiKeys::Name))
            // Its index finds the key at login.
            .col(text_uniq(ApiKeys::Prefix))
            .col(blob(ApiKeys::Hash))
            .col(text_null(ApiKeys::Verifier))
            .col(text(ApiKeys::Scopes))
            .col(text_null(ApiKeys::Networks))
            .col(big_integer(ApiKeys::CreatedAtMs))
            .col(big_integer_null(ApiKeys::LastUsedAtMs))
            .col(big_integer_null(ApiKeys::ExpiresAtMs))
            .col(big_integer_null(ApiKeys::RevokedAtMs))
            .foreign_key(&mut user_of(ApiKeys::Table, ApiKeys::UserId))
            .take(),
        Table::create()
            .table(Scram::Table)
            .col(integer(Scram::Id).primary_key())
            .col(blob(Scram::Salt))
            .take(),
    ]
}

/// Contents, and the messages that share them.
fn mail_tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table(Contents::Table)
            .col(big_pk_auto(Contents::Id))
            .col(big_integer(Contents::Octets))
            .col(blob(Contents::Digest))
            .take(),
        Table::create()
            .table(Chunks::Table)
            .col(big_integer(Chunks::ContentId))
            .col(integer(Chunks::Number))
            .col(blob(Chunks::Data))
            // Finds the octets of a message: at RETR and TOP.
            .primary_key(Index::create().col(Chunks::ContentId).col(Chunks::Number))
            .foreign_key(&mut content_of(Chunks::Table, Chunks::ContentId))
            .take(),
        Table::create()
            .table(PendingContents::Table)
            .col(big_integer(PendingContents::ContentId).primary_key())
            .col(big_integer(PendingContents::WrittenAtMs))
            .foreign_key(&mut content_of(
                PendingContents::Table,
                PendingContents::ContentId,
            ))
            .take(),
        Table::create()
            .table(Messages::Table)
            .col(big_pk_auto(Messages::Id))
            .col(big_integer(Messages::UserId))
            .col(big_integer(Messages::ContentId))
            .col(big_integer(Messages::Octets))
            .col(text(Messages::UniqueId))
            .col(big_integer(Messages::ReceivedAtMs))
            .col(integer(Messages::TraceOctets).default(0))
            .col(big_integer(Messages::StoredAtMs).default(0))
            .foreign_key(&mut user_of(Messages::Table, Messages::UserId))
            .foreign_key(&mut content_of(Messages::Table, Messages::ContentId))
            .take(),
        Table::create()
            .table(TraceHeaders::Table)
            // Finds the trace headers of a message: at RETR and TOP.
            .col(big_integer(TraceHeaders::MessageId).primary_key())
            .col(blob(TraceHeaders::Data))
            .take(),
        Table::create()
            .table(ImportedMessages::Table)
            .col(big_pk_auto(ImportedMessages::Id))
            .col(big_integer(ImportedMessages::UserId))
            .col(text_null(ImportedMessages::UniqueId))
            .col(blob(ImportedMessages::Digest))
            .col(big_integer(ImportedMessages::Octets))
            .col(big_integer(ImportedMessages::MessageId))
            .foreign_key(&mut user_of(
                ImportedMessages::Table,
                ImportedMessages::UserId,
            ))
            .take(),
    ]
}

/// Deletions, and their messages.
fn deletion_tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table(Deletions::Table)
            .col(big_integer(Deletions::UserId))
            .col(big_integer(Deletions::MaildropVersion))
            .col(text_null(Deletions::SessionId))
            .col(big_integer(Deletions::DeletedAtMs))
            .col(big_integer(Deletions::KeptUntilMs))
            .primary_key(
                Index::create()
                    .col(Deletions::UserId)
                    .col(Deletions::MaildropVersion),
            )
            .take(),
        Table::create()
            .table(DeletedMessages::Table)
            .col(big_integer(DeletedMessages::MessageId))
            .col(big_integer(DeletedMessages::ContentId))
            .col(big_integer(DeletedMessages::UserId))
            .col(big_integer(DeletedMessages::MaildropVersion))
            .col(big_integer(DeletedMessages::Octets))
            .col(integer(DeletedMessages::TraceOctets))
            .col(text(DeletedMessages::UniqueId))
            .col(big_integer(DeletedMessages::ReceivedAtMs))
            .col(text_null(DeletedMessages::SessionId))
            .col(big_integer(DeletedMessages::DeletedAtMs))
            .col(big_integer(DeletedMessages::KeptUntilMs))
            // Finds the deleted messages that share a content: when one is removed.
            .primary_key(
                Index::create()
                    .col(DeletedMessages::ContentId)
                    .col(DeletedMessages::MessageId),
            )
            .foreign_key(&mut content_of(
                DeletedMessages::Table,
                DeletedMessages::ContentId,
            ))
            .take(),
        Table::create()
            .table(DeletionBatches::Table)
            .col(big_integer(DeletionBatches::UserId))
            .col(big_integer(DeletionBatches::MaildropVersion))
            .col(big_integer(DeletionBatches::Number))
            .col(big_integer(DeletionBatches::Messages))
            .col(big_integer(DeletionBatches::Octets))
            .col(text(DeletionBatches::MessageIds))
            // Finds what of a maildrop is deleted: at a login, and when it is moved.
            .primary_key(
                Index::create()
                    .col(DeletionBatches::UserId)
                    .col(DeletionBatches::MaildropVersion)
                    .col(DeletionBatches::Number),
            )
            .take(),
    ]
}

/// Tables by which servers on one database coordinate.
fn server_tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table(Servers::Table)
            .col(text(Servers::Id).primary_key())
            .col(big_integer(Servers::Heartbeat))
            .take(),
        Table::create()
            .table(RemoteLeases::Table)
            .col(text(RemoteLeases::ServerId))
            .col(big_integer(RemoteLeases::UserId))
            .col(big_integer(RemoteLeases::MaildropVersion))
            .primary_key(
                Index::create()
                    .col(RemoteLeases::ServerId)
                    .col(RemoteLeases::UserId)
                    .col(RemoteLeases::MaildropVersion),
            )
            .take(),
        Table::create()
            .table(ClockChecks::Table)
            .col(integer(ClockChecks::Id).primary_key())
            .col(big_integer(ClockChecks::RightAtMs))
            .col(big_integer(ClockChecks::JumpedByMs))
            .col(text(ClockChecks::BootId))
            .col(big_integer(ClockChecks::UptimeMs))
            .take(),
    ]
}

/// Writes 16 octets that the database chooses at random.
fn salt(is_postgres: bool) -> Result<InsertStatement, DbErr> {
    let random = if is_postgres {
        "decode(replace(gen_random_uuid()::text, '-', ''), 'hex')"
    } else {
        "randomblob(16)"
    };
    let mut insert = Query::insert();
    insert
        .into_table(Scram::Table)
        .columns([Scram::Id, Scram::Salt])
        .values([1.into(), Expr::cust(random)])
        .map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(insert)
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
