//! What the server does from time to time beside its queries.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use entity::relate::{composed_mail, email, hidden_mail, unique_id, user};
use parking_lot::Mutex;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, EntityName, EntityTrait, ExprTrait, QueryFilter, QuerySelect};

use super::RelateStore;
use crate::store::query::same;
use crate::store::traits::{Condition, Upkeep};
use crate::store::{GcReport, StoreError, raw};

/// The part of the time that linking may take is one of so many.
const LINKING_SHARE: u32 = 50;

/// How often rows of messages and users that are gone are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// When the next rounds of upkeep are due.
#[derive(Debug)]
pub(super) struct Rounds(Mutex<Due>);

#[derive(Debug)]
struct Due {
    linking: Instant,
    sweep: Instant,
}

impl Default for Rounds {
    fn default() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Due {
            linking: now,
            sweep: now + SWEEP_INTERVAL,
        }))
    }
}

#[async_trait]
impl Upkeep for RelateStore {
    async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        let began = Instant::now();
        let is_due = |due: Instant| due <= began;
        if is_due(self.rounds.0.lock().linking) {
            self.link_all().await?;
            self.rounds.0.lock().linking = Instant::now() + began.elapsed() * LINKING_SHARE;
        }
        if is_due(self.rounds.0.lock().sweep) {
            self.rounds.0.lock().sweep = began + SWEEP_INTERVAL;
            self.sweep().await?;
        }
        Ok(GcReport::default())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let any_user = user::Entity::find()
            .select_only()
            .column(user::Column::Email);
        let any_user = any_user.into_tuple::<String>();
        any_user.one(self.database.read()).await?;
        let transaction = self.database.begin().await?;
        raw::require_writable(&transaction).await?;
        Ok(transaction.rollback().await?)
    }

    async fn condition(&self) -> Condition {
        Condition::default()
    }

    fn note_fault(&self, error: &StoreError) {
        self.database.note_damage(error);
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(self.database.clone().close().await?)
    }
}

impl RelateStore {
    /// Deletes our rows of messages and users that are gone. The unique-ids of a user stay as long
    /// as the user does.
    async fn sweep(&self) -> Result<(), StoreError> {
        let transaction = self.database.begin_maintenance().await?;
        composed_mail::Entity::delete_many()
            .filter(is_missing(
                email::Column::Id,
                composed_mail::Column::EmailId,
            ))
            .exec(&transaction)
            .await?;
        hidden_mail::Entity::delete_many()
            .filter(is_missing(email::Column::Id, hidden_mail::Column::EmailId))
            .exec(&transaction)
            .await?;
        unique_id::Entity::delete_many()
            .filter(is_missing(user::Column::Id, unique_id::Column::UserId))
            .exec(&transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// The condition that no row has this primary key.
fn is_missing<C: ColumnTrait>(key: C, of: impl ColumnTrait) -> Expr {
    let rows = Query::select()
        .expr(Expr::val(1))
        .from(C::EntityName::default().table_ref())
        .and_where(same(key, of))
        .take();
    Expr::exists(rows).not()
}
