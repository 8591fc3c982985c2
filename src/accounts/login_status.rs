//! Users and keys whose sessions may go on.

use std::collections::HashSet;

use sea_orm::ConnectionTrait;

use super::Accounts;
use crate::store::{
    KEYS_PER_STATEMENT, KeyId, LoginStatus, StoreError, UserId, sql_list, statement,
};

impl Accounts {
    /// Returns which of these users and keys may still log in, by rows of the tables alone.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn login_status(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError> {
        const USERS: &str = "SELECT id FROM users WHERE disabled_at_ms IS NULL AND id IN";
        const KEYS: &str = "SELECT id FROM api_keys WHERE revoked_at_ms IS NULL AND id IN";
        let users = self.those_found(USERS, users.iter().map(|user| user.0));
        let users = users.await?.into_iter().map(UserId).collect();
        let keys = self.those_found(KEYS, keys.iter().map(|key| key.0));
        let keys = keys.await?.into_iter().map(KeyId).collect();
        Ok(LoginStatus { users, keys })
    }

    /// Asks for rows by number, and returns the numbers of those that are found.
    async fn those_found(
        &self,
        select: &str,
        numbers: impl Iterator<Item = i64>,
    ) -> Result<Vec<i64>, StoreError> {
        let (read, numbers) = (self.database.read(), numbers.collect::<Vec<_>>());
        let mut found = Vec::with_capacity(numbers.len());
        for numbers in numbers.chunks(KEYS_PER_STATEMENT) {
            let list = sql_list(numbers.iter().copied());
            let question = statement(read, &format!("{select} ({list})"), []);
            for row in read.query_all_raw(question).await? {
                found.push(row.try_get_by_index(0)?);
            }
        }
        Ok(found)
    }
}
