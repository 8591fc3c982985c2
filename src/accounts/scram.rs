//! Finds the keys that a client may prove by SCRAM.

use std::net::IpAddr;

use pop3::{Candidates, Verifier};
use sea_orm::{ConnectionTrait, QueryResult};

use super::authentication::{Claim, access_of, is_identity, may_be_used_from, valid};
use super::keys::SCRAM_ITERATIONS;
use super::{Accounts, placeholders};
use crate::store::{StoreError, statement};

/// So many keys of a user are read, of which those are tried that may be used.
const MAX_ROWS: usize = 4 * Candidates::MAX;

/// The keys of the name `$1` that are `valid`, or all if that is empty, of the user whose address has one of so many
/// forms. Those used last come first, for the case that there are too many.
///
/// The address is joined, not tested: so both databases begin with it, and read no other keys.
fn keys_to_prove(valid: &str, address: usize, identity: usize) -> String {
    let (forms, is_identity) = (placeholders(2, address), is_identity(2 + address, identity));
    format!(
        "SELECT k.id, k.verifier, k.scopes, k.networks FROM addresses a \
         JOIN users u ON u.id = a.user_id JOIN api_keys k ON k.user_id = u.id \
         WHERE a.address IN ({forms}) AND {valid} {is_identity} AND ($1 = '' OR k.name = $1) \
         AND k.verifier IS NOT NULL \
         ORDER BY COALESCE(k.last_used_at_ms, k.created_at_ms) DESC, k.id DESC LIMIT {MAX_ROWS}"
    )
}

impl Accounts {
    /// Returns the keys that a client at this address may prove, if it has one of this name.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn candidates(
        &self,
        name: &str,
        identity: Option<&str>,
        client: IpAddr,
    ) -> Result<Candidates, StoreError> {
        let mut candidates = Candidates::new(self.salt().await?, SCRAM_ITERATIONS);
        let Some(claim) = Claim::read(name, identity) else {
            return Ok(candidates);
        };
        let key_name = match claim.key_name {
            // No key has the empty name.
            Some("") => return Ok(candidates),
            Some(name) => name,
            None => "",
        };
        let values = claim.values([key_name.into()]);
        let read = self.database.read();
        let sql = keys_to_prove(&valid(read), claim.address.len(), claim.identity.len());
        let question = statement(read, &sql, values);
        for row in read.query_all_raw(question).await? {
            if let Some((key, verifier)) = usable(&row, client)? {
                candidates.add(key, verifier);
            }
        }
        Ok(candidates)
    }
}

/// The key of a row, if it is for POP3 and for this client.
fn usable(row: &QueryResult, client: IpAddr) -> Result<Option<(i64, Verifier)>, StoreError> {
    let scopes: String = row.try_get_by_index(2)?;
    if access_of(&scopes).is_none() || !may_be_used_from(row.try_get_by_index(3)?, client)? {
        return Ok(None);
    }
    let verifier: String = row.try_get_by_index(1)?;
    let key = row.try_get_by_index(0)?;
    Ok(verifier.parse().ok().map(|verifier| (key, verifier)))
}
