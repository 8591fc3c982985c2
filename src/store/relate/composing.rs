//! Reads rows of messages and composes them.

use std::collections::HashMap;

use entity::relate::{attachment, composed_mail, email, recipient};
use sea_orm::prelude::{TimeDateTimeWithTimeZone, Uuid};
use sea_orm::sea_query::{Expr, Func, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QuerySelect,
};

use super::composition::{self, Attachment, Composition, Mail, NamedRecipient, RecipientKind};
use super::{COMPOSITION_VERSION, RelateStore};
use crate::store::{KEYS_PER_STATEMENT, StoreError};

/// The most messages that are read at once to compose them.
const MAX_MAILS: usize = 100;

/// The octets of text that are read at once to compose messages, unless one has more.
const MAX_TEXT_OCTETS: u64 = 8 * 1024 * 1024;

/// The octets of text in a message.
#[derive(FromQueryResult)]
struct TextSize {
    id: Uuid,
    octets: i64,
}

/// A recipient that a message names.
#[derive(FromQueryResult)]
struct RecipientRow {
    id: Uuid,
    email_id: Uuid,
    address: String,
    name: Option<String>,
    kind: String,
}

/// An attachment without its octets.
#[derive(FromQueryResult)]
struct AttachmentRow {
    id: Uuid,
    email_id: Uuid,
    file_name: String,
    content_type: String,
    octets: i32,
}

impl RelateStore {
    /// Composes messages that no session has listed yet, and stores their sizes and recipients. A
    /// message that is gone is left out.
    pub(super) async fn compose_new(&self, mails: &[Uuid]) -> Result<(), StoreError> {
        for mails in mails.chunks(KEYS_PER_STATEMENT) {
            for batch in self.batches(mails).await? {
                self.compose_batch(batch).await?;
            }
        }
        Ok(())
    }

    /// Divides messages into batches that fit into memory.
    async fn batches(&self, mails: &[Uuid]) -> Result<Vec<Vec<Uuid>>, StoreError> {
        let octets_of = |column| {
            let octets = Func::cust("octet_length").arg(Expr::col((email::Entity, column)));
            Expr::expr(Func::coalesce([octets.into(), Expr::val(0)]))
        };
        let octets = octets_of(email::Column::Text).add(octets_of(email::Column::Html));
        let sizes = email::Entity::find()
            .select_only()
            .column_as(email::Column::Id, "id")
            .expr_as(Func::cast_as(octets, "BIGINT"), "octets")
            .filter(email::Column::Id.is_in(mails.iter().copied()))
            .into_model::<TextSize>()
            .all(self.database.read());
        let (mut batches, mut batch, mut octets) = (Vec::new(), Vec::new(), 0);
        for size in sizes.await? {
            octets += size.octets.unsigned_abs();
            if !batch.is_empty() && (octets > MAX_TEXT_OCTETS || batch.len() >= MAX_MAILS) {
                batches.push(std::mem::take(&mut batch));
                octets = size.octets.unsigned_abs();
            }
            batch.push(size.id);
        }
        batches.push(batch);
        Ok(batches)
    }

    async fn compose_batch(&self, mails: Vec<Uuid>) -> Result<(), StoreError> {
        let rows = email::Entity::find().filter(email::Column::Id.is_in(mails.iter().copied()));
        let rows = rows.all(self.database.read()).await?;
        let mut recipients = self.recipients(&mails).await?;
        let mut attachments = self.attachments(&mails).await?;
        // A large text takes long to compose, and other sessions are served by this thread.
        let compose = move || {
            let composed = rows.into_iter().map(|row| {
                let id = row.id;
                let recipients = recipients.remove(&id).unwrap_or_default();
                let recipient_lines = composition::recipient_lines(&recipients);
                let attachments = attachments.remove(&id).unwrap_or_default();
                let octets = Composition::new(&mail(row), &recipient_lines, &attachments).octets();
                composed_mail::ActiveModel {
                    email_id: Set(id),
                    version: Set(COMPOSITION_VERSION),
                    octets: Set(i64::try_from(octets).unwrap_or(i64::MAX)),
                    recipient_lines: Set(recipient_lines),
                }
            });
            composed.collect::<Vec<_>>()
        };
        let composed = tokio::task::spawn_blocking(compose).await;
        let mut composed = composed.map_err(|error| StoreError::Other(error.into()))?;
        if composed.is_empty() {
            return Ok(());
        }
        // In one order, so that two servers do not wait for each other.
        composed.sort_by_key(|mail| mail.email_id.clone().take());
        let transaction = self.database.begin().await?;
        // What another server has stored meanwhile stays: its clients may have seen it.
        composed_mail::Entity::insert_many(composed)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(&transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Composes messages that have been listed, in this order; none stands for one that is gone.
    pub(super) async fn compositions(
        &self,
        mails: &[Uuid],
    ) -> Result<Vec<Option<Composition>>, StoreError> {
        let rows = email::Entity::find()
            .find_also_related(composed_mail::Entity)
            .filter(email::Column::Id.is_in(mails.iter().copied()))
            .all(self.database.read())
            .await?;
        let mut attachments = self.attachments(mails).await?;
        let mut attachments = |mail: Uuid| attachments.remove(&mail).unwrap_or_default();
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(row, composed)| (attachments(row.id), row, composed))
            .collect();
        // A large text takes long to compose, and other sessions are served by this thread.
        let octets = |(_, row, _): &(_, email::Model, _)| {
            let octets = |text: &Option<String>| text.as_ref().map_or(0, String::len) as u64;
            octets(&row.text) + octets(&row.html)
        };
        let is_large = rows.iter().map(octets).sum::<u64>() > LARGE_TEXT_OCTETS;
        let compose = move || rows.into_iter().map(compose_listed).collect();
        let composed: Result<HashMap<_, _>, StoreError> = match is_large {
            true => {
                let composed = tokio::task::spawn_blocking(compose).await;
                composed.map_err(|error| StoreError::Other(error.into()))?
            }
            false => compose(),
        };
        let mut composed = composed?;
        Ok(mails.iter().map(|mail| composed.remove(mail)).collect())
    }

    async fn recipients(
        &self,
        mails: &[Uuid],
    ) -> Result<HashMap<Uuid, Vec<NamedRecipient>>, DbErr> {
        let rows = recipient::Entity::find()
            .select_only()
            .column_as(recipient::Column::Id, "id")
            .column_as(recipient::Column::EmailId, "email_id")
            .column_as(recipient::Column::Address, "address")
            .column_as(recipient::Column::Name, "name")
            .column_as(recipient::Column::Kind, "kind")
            .filter(recipient::Column::EmailId.is_in(mails.iter().copied()))
            .into_model::<RecipientRow>()
            .all(self.database.read());
        let mut recipients = HashMap::<_, Vec<_>>::new();
        for row in rows.await? {
            recipients
                .entry(row.email_id)
                .or_default()
                .push(NamedRecipient {
                    id: row.id.as_u128(),
                    kind: RecipientKind::from_column(&row.kind),
                    address: row.address,
                    name: row.name,
                });
        }
        Ok(recipients)
    }

    async fn attachments(&self, mails: &[Uuid]) -> Result<HashMap<Uuid, Vec<Attachment>>, DbErr> {
        let content = Expr::col((attachment::Entity, attachment::Column::Content));
        let rows = attachment::Entity::find()
            .select_only()
            .column_as(attachment::Column::Id, "id")
            .column_as(attachment::Column::EmailId, "email_id")
            .column_as(attachment::Column::FileName, "file_name")
            .column_as(attachment::Column::ContentType, "content_type")
            // The column of sizes is what somebody wrote, and this is what is there.
            .expr_as(Func::cust("octet_length").arg(content), "octets")
            .filter(attachment::Column::EmailId.is_in(mails.iter().copied()))
            .into_model::<AttachmentRow>()
            .all(self.database.read());
        let mut attachments = HashMap::<_, Vec<_>>::new();
        for row in rows.await? {
            attachments
                .entry(row.email_id)
                .or_default()
                .push(Attachment {
                    id: row.id.as_u128(),
                    file_name: row.file_name,
                    content_type: row.content_type,
                    octets: u64::from(row.octets.unsigned_abs()),
                });
        }
        Ok(attachments)
    }
}

/// Composing this much text takes longer than to wake another thread for it.
const LARGE_TEXT_OCTETS: u64 = 256 * 1024;

/// Composes a message as the sessions that have listed it saw it.
fn compose_listed(
    (attachments, row, composed): (Vec<Attachment>, email::Model, Option<composed_mail::Model>),
) -> Result<(Uuid, Composition), StoreError> {
    let id = row.id;
    let corrupt = |why: &str| StoreError::Corrupt(format!("message {id} {why}"));
    let composed = composed.ok_or_else(|| corrupt("is no longer among the composed ones"))?;
    if composed.version > COMPOSITION_VERSION {
        return Err(corrupt("was composed by a newer version of this program"));
    }
    let composition = Composition::new(&mail(row), &composed.recipient_lines, &attachments);
    if composition.octets() != composed.octets.unsigned_abs() {
        return Err(corrupt("has changed since it was listed"));
    }
    Ok((id, composition))
}

fn mail(row: email::Model) -> Mail {
    Mail {
        id: row.id.as_u128(),
        message_id: row.message_id,
        from_address: row.from_address,
        from_name: row.from_name,
        subject: row.subject,
        text: row.text,
        html: row.html,
        received_at_us: microseconds(row.received_at),
        in_reply_to: row.in_reply_to,
        references: row.references,
    }
}

/// Returns the microseconds since 1970, which is as exact as PostgreSQL's times are.
fn microseconds(time: TimeDateTimeWithTimeZone) -> i64 {
    let microseconds = time.unix_timestamp_nanos() / 1000;
    i64::try_from(microseconds).unwrap_or(i64::MAX)
}
