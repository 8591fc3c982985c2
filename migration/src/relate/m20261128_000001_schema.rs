//! The first schema. The entities say what each table and column holds; `tests/relate` keeps both
//! equal.
//!
//! No table refers to one of Relate's by a foreign key: that would take a lock on theirs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, blob, integer, small_integer, text, timestamp_with_time_zone, uuid,
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
        for table in tables() {
            manager.create_table(table).await?;
        }
        let unique = Index::create()
            .name("unique_ids_of_user")
            .table(UniqueIds::Table)
            .col(UniqueIds::UserId)
            .col(UniqueIds::UniqueId)
            .unique()
            .take();
        manager.create_index(unique).await?;
        let salt = Query::insert()
            .into_table(Scram::Table)
            .columns([Scram::Id, Scram::Salt])
            .values([
                1.into(),
                Expr::cust("decode(replace(gen_random_uuid()::text, '-', ''), 'hex')"),
            ])
            .map_err(|error| DbErr::Custom(error.to_string()))?
            .take();
        manager.get_connection().execute(&salt).await?;
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        Table::create()
            .table(Scram::Table)
            .col(integer(Scram::Id).primary_key())
            .col(blob(Scram::Salt))
            .take(),
        Table::create()
            .table(KeyVerifiers::Table)
            .col(uuid(KeyVerifiers::KeyId).primary_key())
            .col(text(KeyVerifiers::KeyHash))
            .col(blob(KeyVerifiers::Digest))
            .col(text(KeyVerifiers::Verifier))
            .take(),
        Table::create()
            .table(ComposedMails::Table)
            .col(uuid(ComposedMails::EmailId).primary_key())
            .col(small_integer(ComposedMails::Version))
            .col(big_integer(ComposedMails::Octets))
            .col(text(ComposedMails::RecipientLines))
            .take(),
        Table::create()
            .table(UniqueIds::Table)
            .col(uuid(UniqueIds::UserId))
            .col(uuid(UniqueIds::EmailId))
            .col(text(UniqueIds::UniqueId))
            // Finds the unique-ids of a maildrop: at login.
            .primary_key(
                Index::create()
                    .col(UniqueIds::UserId)
                    .col(UniqueIds::EmailId),
            )
            .take(),
        Table::create()
            .table(HiddenMails::Table)
            .col(uuid(HiddenMails::UserId))
            .col(uuid(HiddenMails::EmailId))
            .col(text(HiddenMails::Session))
            .col(timestamp_with_time_zone(HiddenMails::HiddenAt))
            .primary_key(
                Index::create()
                    .col(HiddenMails::UserId)
                    .col(HiddenMails::EmailId),
            )
            .take(),
    ]
}

#[derive(DeriveIden)]
enum Scram {
    Table,
    Id,
    Salt,
}

#[derive(DeriveIden)]
enum KeyVerifiers {
    Table,
    KeyId,
    KeyHash,
    Digest,
    Verifier,
}

#[derive(DeriveIden)]
enum ComposedMails {
    Table,
    EmailId,
    Version,
    Octets,
    RecipientLines,
}

#[derive(DeriveIden)]
enum UniqueIds {
    Table,
    UserId,
    EmailId,
    UniqueId,
}

#[derive(DeriveIden)]
enum HiddenMails {
    Table,
    UserId,
    EmailId,
    Session,
    HiddenAt,
}
