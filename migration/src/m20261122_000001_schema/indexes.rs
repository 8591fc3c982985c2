//! The indexes. Each is named by its columns; its comment names the query that it serves.

use sea_orm_migration::prelude::*;

use super::tables::{
    Addresses, ApiKeys, DeletedMessages, Deletions, ImportedMessages, Messages, Users,
};

/// Returns all indexes.
pub(super) fn indexes() -> impl Iterator<Item = IndexCreateStatement> {
    let of_tables = [account_indexes(), mail_indexes(), deletion_indexes()];
    of_tables.into_iter().flatten()
}

/// Indexes of users, addresses and keys.
fn account_indexes() -> Vec<IndexCreateStatement> {
    vec![
        // Keys and addresses of one user: for the commands that list them.
        Index::create()
            .name("api_keys_user_id_idx")
            .table(ApiKeys::Table)
            .col(ApiKeys::UserId)
            .take(),
        Index::create()
            .name("addresses_user_id_idx")
            .table(Addresses::Table)
            .col(Addresses::UserId)
            .take(),
        // Users whose maildrops are to be emptied.
        Index::create()
            .name("users_removed_at_ms_idx")
            .table(Users::Table)
            .col(Users::RemovedAtMs)
            .and_where(Expr::col(Users::RemovedAtMs).is_not_null())
            .take(),
    ]
}

/// Indexes of messages.
fn mail_indexes() -> Vec<IndexCreateStatement> {
    vec![
        // The snapshot at login: the newest messages of one user, in order.
        Index::create()
            .name("messages_user_id_received_at_ms_idx")
            .table(Messages::Table)
            .col(Messages::UserId)
            .col(Messages::ReceivedAtMs)
            .col(Messages::Id)
            .take(),
        // No unique-id is twice in a maildrop.
        Index::create()
            .name("messages_user_id_unique_id_key")
            .table(Messages::Table)
            .col(Messages::UserId)
            .col(Messages::UniqueId)
            .unique()
            .take(),
        // Messages that still share a content: when a deleted one is removed.
        Index::create()
            .name("messages_content_id_idx")
            .table(Messages::Table)
            .col(Messages::ContentId)
            .take(),
        // Messages that have expired.
        Index::create()
            .name("messages_stored_at_ms_idx")
            .table(Messages::Table)
            .col(Messages::StoredAtMs)
            .take(),
        // For imports: the messages imported for a user, and whether another import goes on.
        Index::create()
            .name("imported_messages_user_id_id_idx")
            .table(ImportedMessages::Table)
            .col(ImportedMessages::UserId)
            .col(ImportedMessages::Id)
            .take(),
    ]
}

/// Indexes of deletions and their messages.
fn deletion_indexes() -> Vec<IndexCreateStatement> {
    vec![
        // For restoring: the messages that a session deleted.
        Index::create()
            .name("deleted_messages_user_id_session_id_idx")
            .table(DeletedMessages::Table)
            .col(DeletedMessages::UserId)
            .col(DeletedMessages::SessionId)
            .take(),
        // The messages of a deletion: when they are removed.
        Index::create()
            .name("deleted_messages_user_id_maildrop_version_idx")
            .table(DeletedMessages::Table)
            .col(DeletedMessages::UserId)
            .col(DeletedMessages::MaildropVersion)
            .take(),
        // Deletions that are kept no longer: for garbage collection.
        Index::create()
            .name("deletions_kept_until_ms_idx")
            .table(Deletions::Table)
            .col(Deletions::KeptUntilMs)
            .take(),
    ]
}
