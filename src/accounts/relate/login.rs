//! Finds out whose maildrop a client may open, and which sessions may go on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use entity::relate::{api_key, user};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QuerySelect};
use wire::Secret;

use super::scopes::allow_pop3;
use super::{RelateAccounts, has_address};
use crate::store::{
    KEYS_PER_STATEMENT, KeyId, LoginStatus, Proof, StoreError, UserId, Verified, WrongCredentials,
    repeat,
};

impl RelateAccounts {
    /// Finds out whose maildrop a client may open. A login name is the address of `"Users"`: the
    /// further addresses of a user may be claimed without proof.
    ///
    /// # Errors
    /// If the database can't say.
    pub(crate) async fn identify(
        &self,
        proof: &Proof,
    ) -> Result<Result<Verified, WrongCredentials>, StoreError> {
        let verified = match proof {
            Proof::Secret {
                name,
                identity,
                secret,
            } => self.key_of(name, identity.as_deref(), secret).await?,
            Proof::Key(key) => {
                let key = self.key_by_id(*key).await?;
                key.filter(|key| key.is_for_pop3())
                    .map(|key| key.verified())
            }
            Proof::TrustedAddress {
                addresses,
                identity,
            } => self.user_of(addresses, identity.as_deref()).await?,
        };
        Ok(verified.ok_or(WrongCredentials))
    }

    async fn key_of(
        &self,
        name: &str,
        identity: Option<&str>,
        secret: &Secret,
    ) -> Result<Option<Verified>, StoreError> {
        let Some((address, key_name)) = address_and_key(name) else {
            return Ok(None);
        };
        let key = self.matching_key(address, key_name, secret).await?;
        let key = key.filter(|key| is_same(identity, key.email()));
        Ok(key.map(|key| key.verified()))
    }

    /// Returns the user of the first of these addresses. If two users have it, no key decides
    /// between them, and neither is returned.
    async fn user_of(
        &self,
        addresses: &[String],
        identity: Option<&str>,
    ) -> Result<Option<Verified>, StoreError> {
        let Some((address, _)) = addresses.first().and_then(|first| address_and_key(first)) else {
            return Ok(None);
        };
        let users = user::Entity::find().filter(has_address(address)).limit(2);
        let users = users.all(self.database.read()).await?;
        let [user] = users.as_slice() else {
            return Ok(None);
        };
        Ok(is_same(identity, &user.email).then(|| Verified {
            user: UserId::new(user.id.as_u128()),
            address: user.email.to_lowercase(),
            key: None,
            key_name: String::new(),
            access: pop3::Access::Full,
        }))
    }

    /// Returns which of these users and keys may still log in.
    ///
    /// # Errors
    /// If the database can't say.
    pub(crate) async fn login_status(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError> {
        let mut status = LoginStatus::default();
        let ids: Vec<Uuid> = users.iter().map(|id| Uuid::from_u128(id.get())).collect();
        for ids in ids.chunks(KEYS_PER_STATEMENT) {
            let known = user::Entity::find()
                .select_only()
                .column(user::Column::Id)
                .filter(user::Column::Id.is_in(ids.iter().copied()))
                .into_tuple::<Uuid>()
                .all(self.database.read());
            let known = known.await?.into_iter();
            status
                .users
                .extend(known.map(|id| UserId::new(id.as_u128())));
        }
        let ids: Vec<Uuid> = keys.iter().map(|id| Uuid::from_u128(id.get())).collect();
        for ids in ids.chunks(KEYS_PER_STATEMENT) {
            let unrevoked = api_key::Entity::find()
                .select_only()
                .columns([api_key::Column::Id, api_key::Column::Scopes])
                .filter(api_key::Column::Id.is_in(ids.iter().copied()))
                .filter(api_key::Column::RevokedAt.is_null())
                .into_tuple::<(Uuid, String)>()
                .all(self.database.read());
            let valid = unrevoked.await?.into_iter();
            let valid = valid.filter(|(_, scopes)| allow_pop3(scopes));
            status
                .keys
                .extend(valid.map(|(id, _)| KeyId::new(id.as_u128())));
        }
        Ok(status)
    }

    /// Records how long ago keys were last used. A time never goes back.
    ///
    /// # Errors
    /// If the database refuses.
    pub(crate) async fn note_key_use(
        &self,
        ages: &HashMap<KeyId, Duration>,
    ) -> Result<(), StoreError> {
        let mut ages: Vec<_> = ages.iter().collect();
        ages.sort_unstable_by_key(|(key, _)| key.get());
        let ages = &ages;
        let note = || async move {
            let transaction = self.database.begin().await?;
            for (key, age) in ages {
                let ago = "CURRENT_TIMESTAMP - make_interval(secs => $1)";
                let at = Expr::cust_with_values(ago, [age.as_secs_f64()]);
                let used = api_key::Column::LastUsedAt;
                let is_later = Condition::any()
                    .add(used.is_null())
                    .add(used.into_expr().lt(at.clone()));
                api_key::Entity::update_many()
                    .col_expr(used, at)
                    .filter(api_key::Column::Id.eq(Uuid::from_u128(key.get())))
                    .filter(is_later)
                    .exec(&transaction)
                    .await?;
            }
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(note).await
    }
}

/// Splits a login name into the address and the name of the key, if it is given. PostgreSQL's texts
/// hold no NUL, so a name with one is of no user.
pub(super) fn address_and_key(name: &str) -> Option<(&str, Option<&str>)> {
    let (address, key) = match name.split_once('#') {
        Some((address, key)) => (address, Some(key)),
        None => (name, None),
    };
    let is_possible = !address.is_empty() && !name.contains('\0') && key != Some("");
    is_possible.then_some((address, key))
}

/// Returns true if no identity is given, or if it is this address.
pub(super) fn is_same(identity: Option<&str>, address: &str) -> bool {
    identity.is_none_or(|identity| {
        address_and_key(identity)
            .is_some_and(|(identity, _)| identity.to_lowercase() == address.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_an_address_and_perhaps_the_name_of_a_key() {
        let name = "Ada@Example.com";
        assert_eq!(address_and_key(name), Some((name, None)));
        let named = address_and_key("ada@example.com#My Phone #2");
        assert_eq!(named, Some(("ada@example.com", Some("My Phone #2"))));
        for name in ["", "#phone", "ada@example.com#", "a\0b", "ada#a\0b"] {
            assert_eq!(address_and_key(name), None, "{name:?}");
        }
    }

    #[test]
    fn an_identity_is_the_address_of_the_same_user() {
        assert!(is_same(None, "ada@example.com"));
        assert!(is_same(Some("ADA@example.com#x"), "Ada@example.com"));
        for identity in ["", "bob@example.com", "ada@example.com\0"] {
            assert!(!is_same(Some(identity), "ada@example.com"), "{identity:?}");
        }
    }
}
