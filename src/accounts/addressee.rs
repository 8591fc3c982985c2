//! Whom mail for an address reaches.

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::{AccountError, Accounts};
use crate::store::{Room, UserId, statement};

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
    /// Finds the user whom mail for this address reaches: in any case, by an alias, or by a
    /// sub-address (`name+anything@domain`, RFC 5233) that is nobody's own address.
    ///
    /// # Errors
    /// If there is nobody, or the database can't say.
    pub async fn addressee(&self, address: &str) -> Result<Addressee, AccountError> {
        let whole = address.to_lowercase();
        let main = without_detail(&whole).unwrap_or_else(|| whole.clone());
        let forms = [whole, main];
        let rows = addressees(self.database.read(), &forms).await?;
        let place = |row: &str| forms.iter().position(|form| form == row);
        let first = rows.into_iter().min_by_key(|(row, _)| place(row));
        let first = first.map(|(_, addressee)| addressee);
        first.ok_or_else(|| AccountError::NoSuchUser(address.to_owned()))
    }
}

/// The address to which a sub-address belongs.
fn without_detail(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let (name, _) = local.split_once('+')?;
    (!name.is_empty()).then(|| format!("{name}@{domain}"))
}

/// The users of these addresses, each with the address that it was found by.
async fn addressees(
    connection: &impl ConnectionTrait,
    forms: &[String; 2],
) -> Result<Vec<(String, Addressee)>, DbErr> {
    // What a maildrop holds is counted only where a quota limits it.
    const SQL: &str = "SELECT a.address, u.id, u.address, u.quota_octets, u.quota_messages, \
            CASE WHEN u.quota_messages IS NULL THEN 0 ELSE \
                (SELECT COUNT(*) FROM messages m WHERE m.user_id = u.id) END, \
            CASE WHEN u.quota_octets IS NULL THEN 0 ELSE \
                (SELECT CAST(COALESCE(SUM(m.octets), 0) AS BIGINT) \
                FROM messages m WHERE m.user_id = u.id) END \
         FROM addresses a JOIN users u ON u.id = a.user_id WHERE a.address IN ($1, $2)";
    let question = statement(connection, SQL, forms.iter().map(|form| form.into()));
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
