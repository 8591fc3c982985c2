//! Each deletion as a row, so that large ones are done in steps, and what they leave is found by
//! them. Users that are removed are emptied in steps, too.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Users {
    Table,
    RemovedAtMs,
}

#[derive(DeriveIden)]
enum Deletions {
    Table,
    UserId,
    MaildropVersion,
    SessionId,
    DeletedAtMs,
    KeptUntilMs,
}

#[derive(DeriveIden)]
enum DeletionBatches {
    Table,
    UserId,
    MaildropVersion,
    Number,
    Messages,
    Octets,
    MessageIds,
}

#[derive(DeriveIden)]
enum Departures {
    Table,
    UserId,
    MaildropVersion,
    MessageId,
    KeptUntilMs,
}

#[derive(DeriveIden)]
enum Holds {
    Table,
    ServerId,
    MessageId,
}

#[derive(DeriveIden)]
enum RemoteLeases {
    Table,
    ServerId,
    UserId,
    MaildropVersion,
}

/// Finds what a deletion has left, when nobody reads it any more.
const OF_DELETION: &str = "departures_of_deletion";
const BY_END: &str = "departures_by_end";
/// Finds the users whose maildrops are to be emptied.
const REMOVED_USERS: &str =
    "CREATE INDEX users_removed ON users (removed_at_ms) WHERE removed_at_ms IS NOT NULL";

const DELETIONS_BY_END: &str = "deletions_by_end";

/// What was deleted before this change.
const EARLIER_DELETIONS: &str = "INSERT INTO deletions \
    (user_id, maildrop_version, deleted_at_ms, kept_until_ms) \
    SELECT user_id, maildrop_version, MAX(departed_at_ms), MAX(kept_until_ms) FROM departures \
    GROUP BY user_id, maildrop_version";

#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait spells its method so, and async_trait wants the same spelling"
)]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut users = Table::alter();
        let mut removed_at = ColumnDef::new(Users::RemovedAtMs);
        users
            .table(Users::Table)
            .add_column(removed_at.big_integer().take());
        manager.alter_table(users.to_owned()).await?;
        // Servers say anew what their sessions can read.
        drop_table(manager, Holds::Table.into_iden()).await?;
        for table in [deletions(), deletion_batches(), remote_leases()] {
            manager.create_table(table).await?;
        }
        let mut by_end = Index::drop();
        manager.drop_index(by_end.name(BY_END).to_owned()).await?;
        let of_deletion = Index::create()
            .name(OF_DELETION)
            .table(Departures::Table)
            .col(Departures::UserId)
            .col(Departures::MaildropVersion)
            .to_owned();
        manager.create_index(of_deletion).await?;
        // What is kept no longer: for garbage collection.
        let by_end = Index::create()
            .name(DELETIONS_BY_END)
            .table(Deletions::Table)
            .col(Deletions::KeptUntilMs)
            .to_owned();
        manager.create_index(by_end).await?;
        let database = manager.get_connection();
        database.execute_unprepared(EARLIER_DELETIONS).await?;
        database.execute_unprepared(REMOVED_USERS).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut of_deletion = Index::drop();
        manager
            .drop_index(of_deletion.name(OF_DELETION).to_owned())
            .await?;
        let by_end = Index::create()
            .name(BY_END)
            .table(Departures::Table)
            .col(Departures::KeptUntilMs)
            .col(Departures::MessageId)
            .to_owned();
        manager.create_index(by_end).await?;
        for table in [
            Deletions::Table.into_iden(),
            DeletionBatches::Table.into_iden(),
            RemoteLeases::Table.into_iden(),
        ] {
            drop_table(manager, table).await?;
        }
        let holds = Table::create()
            .table(Holds::Table)
            .col(text(Holds::ServerId))
            .col(number(Holds::MessageId))
            .primary_key(Index::create().col(Holds::MessageId).col(Holds::ServerId))
            .to_owned();
        manager.create_table(holds).await?;
        let mut removed_users = Index::drop();
        manager
            .drop_index(removed_users.name("users_removed").to_owned())
            .await?;
        let mut users = Table::alter();
        users.table(Users::Table).drop_column(Users::RemovedAtMs);
        manager.alter_table(users.to_owned()).await
    }
}

fn deletions() -> TableCreateStatement {
    Table::create()
        .table(Deletions::Table)
        .col(number(Deletions::UserId))
        .col(number(Deletions::MaildropVersion))
        .col(ColumnDef::new(Deletions::SessionId).text().take())
        .col(number(Deletions::DeletedAtMs))
        .col(number(Deletions::KeptUntilMs))
        .primary_key(
            Index::create()
                .col(Deletions::UserId)
                .col(Deletions::MaildropVersion),
        )
        .to_owned()
}

fn deletion_batches() -> TableCreateStatement {
    Table::create()
        .table(DeletionBatches::Table)
        .col(number(DeletionBatches::UserId))
        .col(number(DeletionBatches::MaildropVersion))
        .col(number(DeletionBatches::Number))
        .col(number(DeletionBatches::Messages))
        .col(number(DeletionBatches::Octets))
        .col(text(DeletionBatches::MessageIds))
        // What of a user's maildrop is deleted: at a login, and when it is taken out.
        .primary_key(
            Index::create()
                .col(DeletionBatches::UserId)
                .col(DeletionBatches::MaildropVersion)
                .col(DeletionBatches::Number),
        )
        .to_owned()
}

fn remote_leases() -> TableCreateStatement {
    Table::create()
        .table(RemoteLeases::Table)
        .col(text(RemoteLeases::ServerId))
        .col(number(RemoteLeases::UserId))
        .col(number(RemoteLeases::MaildropVersion))
        .primary_key(
            Index::create()
                .col(RemoteLeases::ServerId)
                .col(RemoteLeases::UserId)
                .col(RemoteLeases::MaildropVersion),
        )
        .to_owned()
}

async fn drop_table(manager: &SchemaManager<'_>, table: DynIden) -> Result<(), DbErr> {
    let mut gone = Table::drop();
    manager.drop_table(gone.table(table).to_owned()).await
}

fn number(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

fn text(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}
