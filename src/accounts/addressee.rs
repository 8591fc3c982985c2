//! Whom mail for an address reaches.

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::address_forms::{stored_forms, without_detail};
use super::{AccountError, Accounts, placeholders};
use crate::store::{Room, UserId, size_of_maildrop, statement};

/// Whom mail for an address reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Whose maildrop it goes to.
    pub user: UserId,
    /// The first of their addresses.
    pub address: String,
    /// How much their maildrop may still take.
    pub room: Room,
}

impl Accounts {
    /// Finds the user whom mail for this address reaches: in any of its spellings, by an alias, or by
    /// a sub-address (`name+anything@domain`, RFC 5233) that is nobody's own address.
    ///
    /// # Errors
    /// If there is nobody, or the database can't say.
    pub async fn addressee(&self, address: &str) -> Result<Addressee, AccountError> {
        self.first_addressee(&[address]).await
    }

    /// Finds the user whom mail for the first of these addresses reaches that is somebody's, in one
    /// query.
    ///
    /// # Errors
    /// If there is nobody, or the database can't say.
    pub async fn first_addressee<A: AsRef<str>>(
        &self,
        addresses: &[A],
    ) -> Result<Addressee, AccountError> {
        let mut forms = Vec::new();
        for address in addresses.iter().map(AsRef::as_ref) {
            forms.extend(stored_forms(address));
            if let Some(main) = without_detail(address) {
                forms.extend(stored_forms(&main));
            }
        }
        let rows = match forms.as_slice() {
            [] => Vec::new(),
            forms => addressees(self.database.read(), forms).await?,
        };
        let place = |row: &str| forms.iter().position(|form| form == row);
        let first = rows.into_iter().min_by_key(|(row, _)| place(row));
        first.map(|(_, addressee)| addressee).ok_or_else(|| {
            let address = addresses.first().map(AsRef::as_ref);
            AccountError::NoSuchUser(address.unwrap_or_default().to_owned())
        })
    }
}

/// The users of these addresses, each with the address that it was found by.
async fn addressees(
    connection: &impl ConnectionTrait,
    forms: &[String],
) -> Result<Vec<(String, Addressee)>, DbErr> {
    // What a maildrop holds is counted only where a quota limits it.
    let (messages, octets) = size_of_maildrop("u.id");
    let sql = format!(
        "SELECT a.address, u.id, u.address, u.quota_octets, u.quota_messages, \
            CASE WHEN u.quota_messages IS NULL THEN 0 ELSE {messages} END, \
            CASE WHEN u.quota_octets IS NULL THEN 0 ELSE {octets} END \
         FROM addresses a JOIN users u ON u.id = a.user_id WHERE a.address IN ({})",
        placeholders(1, forms.len())
    );
    let question = statement(connection, &sql, forms.iter().map(|form| form.into()));
    let rows = connection.query_all_raw(question).await?;
    let addressee = |row: QueryResult| {
        let (messages, octets): (i64, i64) = (row.try_get_by_index(5)?, row.try_get_by_index(6)?);
        let quota_octets: Option<i64> = row.try_get_by_index(3)?;
        let quota_messages: Option<i64> = row.try_get_by_index(4)?;
        let addressee = Addressee {
            user: UserId(row.try_get_by_index(1)?),
            address: row.try_get_by_index(2)?,
            room: Room {
                octets: quota_octets.map(|quota| quota.saturating_sub(octets)),
                messages: quota_messages.map(|quota| quota.saturating_sub(messages)),
            },
        };
        Ok((row.try_get_by_index(0)?, addressee))
    };
    rows.into_iter().map(addressee).collect()
}
