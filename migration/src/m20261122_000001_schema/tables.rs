//! Names of the tables and columns, as they were when this change was released.

use sea_orm_migration::prelude::*;

#[derive(DeriveIden)]
pub(super) enum Users {
    Table,
    Id,
    Address,
    CreatedAtMs,
    DisabledAtMs,
    MaildropVersion,
    QuotaOctets,
    QuotaMessages,
    RemovedAtMs,
}

#[derive(DeriveIden)]
pub(super) enum Addresses {
    Table,
    Address,
    UserId,
}

#[derive(DeriveIden)]
pub(super) enum ApiKeys {
    Table,
    Id,
    UserId,
    Name,
    Prefix,
    Hash,
    Verifier,
    Scopes,
    Networks,
    CreatedAtMs,
    LastUsedAtMs,
    ExpiresAtMs,
    RevokedAtMs,
}

#[derive(DeriveIden)]
pub(super) enum Scram {
    Table,
    Id,
    Salt,
}

#[derive(DeriveIden)]
pub(super) enum Contents {
    Table,
    Id,
    Octets,
    Digest,
}

#[derive(DeriveIden)]
pub(super) enum Chunks {
    Table,
    ContentId,
    Number,
    Data,
}

#[derive(DeriveIden)]
pub(super) enum PendingContents {
    Table,
    ContentId,
    WrittenAtMs,
}

#[derive(DeriveIden)]
pub(super) enum Messages {
    Table,
    Id,
    UserId,
    ContentId,
    Octets,
    UniqueId,
    ReceivedAtMs,
    TraceOctets,
    StoredAtMs,
}

#[derive(DeriveIden)]
pub(super) enum TraceHeaders {
    Table,
    MessageId,
    Data,
}

#[derive(DeriveIden)]
pub(super) enum ImportedMessages {
    Table,
    Id,
    UserId,
    UniqueId,
    Digest,
    Octets,
    MessageId,
}

#[derive(DeriveIden)]
pub(super) enum Deletions {
    Table,
    UserId,
    MaildropVersion,
    SessionId,
    DeletedAtMs,
    KeptUntilMs,
}

#[derive(DeriveIden)]
pub(super) enum DeletedMessages {
    Table,
    MessageId,
    ContentId,
    UserId,
    MaildropVersion,
    Octets,
    TraceOctets,
    UniqueId,
    ReceivedAtMs,
    SessionId,
    DeletedAtMs,
    KeptUntilMs,
}

#[derive(DeriveIden)]
pub(super) enum DeletionBatches {
    Table,
    UserId,
    MaildropVersion,
    Number,
    Messages,
    Octets,
    MessageIds,
}

#[derive(DeriveIden)]
pub(super) enum Servers {
    Table,
    Id,
    Heartbeat,
}

#[derive(DeriveIden)]
pub(super) enum RemoteLeases {
    Table,
    ServerId,
    UserId,
    MaildropVersion,
}

#[derive(DeriveIden)]
pub(super) enum ClockChecks {
    Table,
    Id,
    RightAtMs,
    JumpedByMs,
    BootId,
    UptimeMs,
}
