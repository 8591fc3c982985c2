//! Users and keys of a Relate Mail database.
//!
//! They are made and changed by Relate Mail. A key is kept there as a bcrypt hash; once it has been
//! verified, its fast verifiers are stored in the schema `restante`.

mod bcrypt_pool;
mod directory;
mod keys;
mod login;
mod scopes;
mod scram;

use std::sync::Arc;

use entity::relate::{scram as scram_table, user};
use sea_orm::prelude::TimeDateTimeWithTimeZone;
use sea_orm::sea_query::{Expr, Func};
use sea_orm::{DbErr, EntityTrait, ExprTrait};
use tokio::sync::OnceCell;

use crate::store::Database;
use bcrypt_pool::BcryptPool;

/// Users and keys of a Relate Mail database.
#[derive(Debug, Clone)]
pub(crate) struct RelateAccounts {
    database: Database,
    bcrypt: Arc<BcryptPool>,
    /// The salt of SCRAM, once it has been read.
    salt: Arc<OnceCell<Vec<u8>>>,
}

impl RelateAccounts {
    /// Returns the users and keys of this database.
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            bcrypt: Arc::default(),
            salt: Arc::default(),
        }
    }

    /// Returns the salt of SCRAM.
    async fn salt(&self) -> Result<&[u8], DbErr> {
        let read = async || {
            let scram = scram_table::Entity::find().one(self.database.read());
            let scram = scram.await?;
            let scram = scram.ok_or_else(|| DbErr::RecordNotFound("the salt of SCRAM".into()))?;
            Ok::<_, DbErr>(scram.salt)
        };
        Ok(self.salt.get_or_try_init(read).await?)
    }
}

/// The condition that a user has this address, in any case. Addresses are compared as PostgreSQL
/// lowers them, so that an index on `lower("Email")` helps.
fn has_address(address: &str) -> Expr {
    let email = Func::lower(Expr::col((user::Entity, user::Column::Email)));
    Expr::expr(email).eq(Func::lower(Expr::val(address)))
}

/// Returns the milliseconds since 1970.
pub(crate) fn milliseconds(time: TimeDateTimeWithTimeZone) -> i64 {
    let milliseconds = time.unix_timestamp_nanos() / 1_000_000;
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}
