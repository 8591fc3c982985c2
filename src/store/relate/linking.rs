//! Links recipients to users, as Relate Mail does when a user signs in to its web page.
//!
//! A recipient who had no account when the mail came has no user yet. A user who only reads by POP3
//! would never see that mail.

use entity::relate::{recipient, user};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, Func, Query, UpdateStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityName, ExprTrait};

use super::RelateStore;
use crate::store::{KEYS_PER_STATEMENT, StoreError, repeat};

impl RelateStore {
    /// Links the recipients whose address is the user's. At the first login since the start every
    /// spelling of the address is found; later the usual ones, by their index, and others by
    /// [`link_all`](Self::link_all).
    pub(super) async fn link(&self, user: Uuid) -> Result<(), StoreError> {
        let is_new = !self.users.lock().contains(&user);
        let statement = match is_new {
            true => link(&[user], in_any_case()),
            false => link(&[user], in_usual_spelling()),
        };
        self.run(&statement).await?;
        if is_new {
            self.users.lock().insert(user);
        }
        Ok(())
    }

    /// Links the recipients of all users whose maildrops were opened since the start.
    pub(super) async fn link_all(&self) -> Result<(), StoreError> {
        let users: Vec<Uuid> = self.users.lock().iter().copied().collect();
        for users in users.chunks(KEYS_PER_STATEMENT) {
            self.run(&link(users, in_any_case())).await?;
        }
        Ok(())
    }

    async fn run(&self, statement: &UpdateStatement) -> Result<(), StoreError> {
        let run = || async {
            let transaction = self.database.begin().await?;
            transaction.execute(statement).await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(run).await
    }
}

fn link(users: &[Uuid], is_same_address: Expr) -> UpdateStatement {
    Query::update()
        .table(recipient::Entity.table_ref())
        .from(user::Entity.table_ref())
        .value(
            recipient::Column::UserId,
            Expr::col((user::Entity, user::Column::Id)),
        )
        .and_where(user::Column::Id.is_in(users.iter().copied()))
        .and_where(recipient::Column::UserId.is_null())
        .and_where(is_same_address)
        .take()
}

fn in_any_case() -> Expr {
    Expr::expr(Func::lower(address())).eq(Func::lower(email()))
}

/// The address as the user's row has it, in lower and upper case, and with a capital in front. Each
/// is found by the index on addresses.
fn in_usual_spelling() -> Expr {
    let capital = "initcap(split_part($1, '@', 1)) || '@' || lower(split_part($1, '@', 2))";
    let spellings = [
        email(),
        Func::lower(email()).into(),
        Func::upper(email()).into(),
        Expr::cust_with_exprs(capital, [email()]),
    ];
    address().is_in(spellings)
}

fn address() -> Expr {
    Expr::col((recipient::Entity, recipient::Column::Address))
}

fn email() -> Expr {
    Expr::col((user::Entity, user::Column::Email))
}
