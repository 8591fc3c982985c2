//! Whose sessions may go on.

use std::collections::HashSet;

use sea_orm::ConnectionTrait;

use super::{Accounts, KeyId};
use crate::store::{KEYS_PER_STATEMENT, StoreError, UserId, sql_list, statement};

/// Whose sessions may go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginStatus {
    /// Users who may log in.
    pub users: HashSet<UserId>,
    /// Keys that are not revoked.
    pub keys: HashSet<KeyId>,
}

impl LoginStatus {
    /// May this user's session go on that was opened with this key?
    pub fn allows(&self, user: UserId, key: Option<KeyId>) -> bool {
        self.users.contains(&user) && key.is_none_or(|key| self.keys.contains(&key))
    }
}

impl Accounts {
    /// Which of these are good, by rows of the tables alone.
    pub(super) async fn find_standing(
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
