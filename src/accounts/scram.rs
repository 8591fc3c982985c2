//! Finds the keys that a client may prove by SCRAM.

use std::net::IpAddr;

use pop3::{Candidates, Verifier};
use sea_orm::{ConnectionTrait, FromQueryResult};

use super::Accounts;
use super::authentication::{Claim, access_of, may_be_used_from};
use super::keys::SCRAM_ITERATIONS;
use crate::store::{KeyId, StoreError, hot};

/// So many keys of a user are read, of which those are tried that may be used.
const MAX_ROWS: u64 = 4 * Candidates::MAX as u64;

impl Accounts {
    /// Returns the keys that a client at this address may prove, if it has one of this name.
    ///
    /// # Errors
    /// If the database fails.
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
        let read = self.database.read();
        let question = hot::keys_to_prove(
            read.get_database_backend(),
            key_name,
            &claim.address,
            &claim.identity,
            MAX_ROWS,
        );
        for row in read.query_all_raw(question).await? {
            let key = ProvableKey::from_query_result(&row, "")?;
            if let Some((key, verifier)) = key.usable(client)? {
                candidates.add(KeyId::from_row(key).get(), verifier);
            }
        }
        Ok(candidates)
    }
}

/// A key that can be proven by SCRAM.
#[derive(FromQueryResult)]
struct ProvableKey {
    id: i64,
    verifier: String,
    scopes: String,
    networks: Option<String>,
}

impl ProvableKey {
    /// Returns the key if it is for POP3 and for this client.
    fn usable(self, client: IpAddr) -> Result<Option<(i64, Verifier)>, StoreError> {
        if access_of(&self.scopes).is_none() || !may_be_used_from(self.networks, client)? {
            return Ok(None);
        }
        let verifier = self.verifier.parse().ok();
        Ok(verifier.map(|verifier| (self.id, verifier)))
    }
}
