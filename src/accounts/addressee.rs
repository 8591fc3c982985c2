//! Whom mail for an address reaches.

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult};

use super::address_forms::{stored_forms, without_detail};
use super::{AccountError, Accounts};
use crate::store::{Room, UserId, hot};

/// Whom mail for an address reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The owner of the maildrop.
    pub user: UserId,
    /// The first of their addresses.
    pub address: String,
    /// The room that is left in the maildrop.
    pub room: Room,
}

impl Accounts {
    /// Finds the user whom mail for this address reaches: in any of its spellings, by an alias, or by
    /// a sub-address (`name+anything@domain`, RFC 5233) that is nobody's own address.
    ///
    /// # Errors
    /// If there is no such user, or the database fails.
    pub async fn addressee(&self, address: &str) -> Result<Addressee, AccountError> {
        self.first_addressee(&[address]).await
    }

    /// Finds the user whom mail for the first of these addresses reaches that is somebody's, in one
    /// query.
    ///
    /// # Errors
    /// If there is no such user, or the database fails.
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
    let question = hot::addressees(connection.get_database_backend(), forms);
    let rows = connection.query_all_raw(question).await?;
    let addressee = |row: QueryResult| Ok(FoundAddressee::from_query_result(&row, "")?.into());
    rows.into_iter().map(addressee).collect()
}

/// A user, and how much the maildrop holds where a quota limits it.
#[derive(FromQueryResult)]
struct FoundAddressee {
    found_by: String,
    user_id: i64,
    address: String,
    quota_octets: Option<i64>,
    quota_messages: Option<i64>,
    messages: i64,
    octets: i64,
}

impl From<FoundAddressee> for (String, Addressee) {
    fn from(row: FoundAddressee) -> Self {
        let left = |quota: Option<i64>, used| quota.map(|quota| quota.saturating_sub(used));
        let addressee = Addressee {
            user: UserId::from_row(row.user_id),
            address: row.address,
            room: Room {
                octets: left(row.quota_octets, row.octets),
                messages: left(row.quota_messages, row.messages),
            },
        };
        (row.found_by, addressee)
    }
}
