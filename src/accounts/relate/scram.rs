//! Finds the keys that a client may prove by SCRAM: those that have been verified once.

use pop3::Candidates;

use super::super::keys::SCRAM_ITERATIONS;
use super::RelateAccounts;
use super::login::{address_and_key, is_same};
use crate::store::StoreError;

impl RelateAccounts {
    /// Returns the keys that a client may prove.
    ///
    /// # Errors
    /// If the database can't say.
    pub(crate) async fn candidates(
        &self,
        name: &str,
        identity: Option<&str>,
    ) -> Result<Candidates, StoreError> {
        let mut candidates = Candidates::new(self.salt().await?, SCRAM_ITERATIONS);
        let Some((address, key_name)) = address_and_key(name) else {
            return Ok(candidates);
        };
        for key in self.provable_keys(address, key_name).await? {
            if !key.is_for_pop3() || !is_same(identity, key.email()) {
                continue;
            }
            if let Some(verifier) = key.verifier().and_then(|verifier| verifier.parse().ok()) {
                candidates.add(key.key_id().get(), verifier);
            }
        }
        Ok(candidates)
    }
}
