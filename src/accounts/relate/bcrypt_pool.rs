//! Verification of bcrypt hashes, some at a time and never on the thread of a session.

use std::str::FromStr;

use tokio::sync::{Semaphore, TryAcquireError};
use wire::Secret;

use crate::store::StoreError;

/// The most hashes that are verified at the same time. Each takes a core for about 0.1 s.
const AT_ONCE: usize = 2;

/// The most that wait for their turn; what comes beyond is to try again.
const WAITING: usize = 64;

/// The highest cost that is verified: it takes a core for some 5 s. Relate Mail's is 11.
const MAX_COST: u32 = 16;

/// The longest key in octets. bcrypt ignores what is beyond.
const MAX_KEY_OCTETS: usize = 72;

/// Verifies bcrypt hashes.
#[derive(Debug)]
pub(super) struct BcryptPool {
    turns: Semaphore,
    places: Semaphore,
}

impl Default for BcryptPool {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            places: Semaphore::new(AT_ONCE + WAITING),
        }
    }
}

impl BcryptPool {
    /// Returns true if this is the hash of the secret. What is no bcrypt hash, or one of a cost
    /// that is too high, is the hash of nothing.
    ///
    /// # Errors
    /// If too many others wait.
    pub(super) async fn verify(&self, secret: &Secret, hash: &str) -> Result<bool, StoreError> {
        let octets = secret.expose();
        let is_possible = (1..=MAX_KEY_OCTETS).contains(&octets.len()) && !octets.contains(&0);
        if !is_possible || !is_affordable(hash) {
            return Ok(false);
        }
        let _place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                let busy = "too many keys are being verified for the first time";
                return Err(StoreError::Other(busy.into()));
            }
        };
        let _turn = self.turns.acquire().await;
        let (secret, hash) = (secret.clone(), hash.to_owned());
        let verify = move || bcrypt::verify(secret.expose(), &hash).unwrap_or(false);
        let verified = tokio::task::spawn_blocking(verify).await;
        verified.map_err(|error| StoreError::Other(error.into()))
    }
}

fn is_affordable(hash: &str) -> bool {
    let parts = bcrypt::HashParts::from_str(hash);
    parts.is_ok_and(|parts| parts.get_cost() <= MAX_COST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the key `AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=`, made by BCrypt.Net at cost 4.
    const HASH: &str = "$2a$04$N2lWJcVFkzx.EgieyrZN4e";

    #[actix_rt::test]
    async fn nothing_but_the_secret_of_a_hash_fits_it() {
        let pool = BcryptPool::default();
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let hash = bcrypt::hash_with_result(key, 4).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB] {
            let hash = hash.format_for_version(version);
            let fits = async |secret: &str| pool.verify(&Secret::new(secret), &hash).await.unwrap();
            assert!(fits(key).await);
            for other in ["", "A", &key[1..], &format!("{key}\0"), &key.repeat(3)] {
                assert!(!fits(other).await, "{other}");
            }
        }
        for broken in ["", HASH, "$2a$04$", &format!("$2a$31${}", &HASH[7..])] {
            let verified = pool.verify(&Secret::new(key), broken).await;
            assert!(!verified.unwrap(), "{broken}");
        }
    }

    #[actix_rt::test]
    async fn too_many_that_wait_are_refused() {
        let pool = BcryptPool::default();
        let hash = bcrypt::hash("x", 4).unwrap();
        let _all = pool.places.acquire_many(66).await.unwrap();
        let refused = pool.verify(&Secret::new("x"), &hash).await;
        assert!(refused.is_err());
    }
}
