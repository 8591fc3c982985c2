//! Messages of Relate Mail, each once for all its recipients.

use sea_orm::entity::prelude::*;

/// A message as the suite has taken it apart. Rows are never changed.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(schema_name = "public", table_name = "Emails")]
pub struct Model {
    /// The primary key.
    #[sea_orm(primary_key, auto_increment = false, column_name = "Id")]
    pub id: Uuid,
    /// The Message-ID without its angle brackets.
    #[sea_orm(column_name = "MessageId")]
    pub message_id: String,
    /// The address of the first From mailbox; empty if there was none.
    #[sea_orm(column_name = "FromAddress")]
    pub from_address: String,
    /// The name of that mailbox.
    #[sea_orm(column_name = "FromDisplayName")]
    pub from_name: Option<String>,
    /// The subject, decoded.
    #[sea_orm(column_name = "Subject")]
    pub subject: String,
    /// The plain text.
    #[sea_orm(column_name = "TextBody")]
    pub text: Option<String>,
    /// The HTML.
    #[sea_orm(column_name = "HtmlBody")]
    pub html: Option<String>,
    /// When the suite accepted it.
    #[sea_orm(column_name = "ReceivedAt")]
    pub received_at: TimeDateTimeWithTimeZone,
    /// The octets that the suite received, which differ from those of the composition.
    #[sea_orm(column_name = "SizeBytes")]
    pub octets: i64,
    /// In-Reply-To without angle brackets.
    #[sea_orm(column_name = "InReplyTo")]
    pub in_reply_to: Option<String>,
    /// References: ids in angle brackets, separated by blanks.
    #[sea_orm(column_name = "References")]
    pub references: Option<String>,
    /// The user who submitted it, if one did.
    #[sea_orm(column_name = "SentByUserId")]
    pub sent_by_user_id: Option<Uuid>,
}

/// The rows that it refers to, or that refer to it.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The recipients.
    #[sea_orm(has_many = "super::recipient::Entity")]
    Recipient,
    /// The attachments.
    #[sea_orm(has_many = "super::attachment::Entity")]
    Attachment,
    /// Its composition.
    #[sea_orm(has_one = "super::composed_mail::Entity")]
    ComposedMail,
}

impl Related<super::recipient::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Recipient.def()
    }
}

impl Related<super::attachment::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Attachment.def()
    }
}

impl Related<super::composed_mail::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ComposedMail.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
