//! Users and keys whose sessions may go on.

use std::collections::HashSet;

use entity::{api_key, user};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::Accounts;
use crate::store::{KEYS_PER_STATEMENT, KeyId, LoginStatus, StoreError, UserId};

impl Accounts {
    /// Returns which of these users and keys may still log in, by rows of the tables alone.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn login_status(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError> {
        let mut status = LoginStatus::default();
        let ids: Vec<i64> = users.iter().map(|user| user.row()).collect();
        for ids in ids.chunks(KEYS_PER_STATEMENT) {
            let enabled = user::Entity::find()
                .select_only()
                .column(user::Column::Id)
                .filter(user::Column::Id.is_in(ids.iter().copied()))
                .filter(user::Column::DisabledAtMs.is_null())
                .into_tuple()
                .all(self.database.read());
            status
                .users
                .extend(enabled.await?.into_iter().map(UserId::from_row));
        }
        let ids: Vec<i64> = keys.iter().map(|key| key.row()).collect();
        for ids in ids.chunks(KEYS_PER_STATEMENT) {
            let unrevoked = api_key::Entity::find()
                .select_only()
                .column(api_key::Column::Id)
                .filter(api_key::Column::Id.is_in(ids.iter().copied()))
                .filter(api_key::Column::RevokedAtMs.is_null())
                .into_tuple()
                .all(self.database.read());
            status
                .keys
                .extend(unrevoked.await?.into_iter().map(KeyId::from_row));
        }
        Ok(status)
    }
}
