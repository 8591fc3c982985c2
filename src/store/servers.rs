//! Data that the servers on one database share: that they live, and what their sessions can
//! still read.
//!
//! A server registers when it starts. It raises its heartbeat when it has looked at the deletions,
//! and only while there are any, so that an idle server writes nothing.

use std::collections::{HashMap, HashSet};

use entity::{deletion, remote_lease, server};
use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter,
    QuerySelect, QueryTrait,
};

use super::garbage::among;
use super::query::{KEYS_PER_STATEMENT, from_select};
use super::removal::{DeletionKey, Publication};
use super::{MaildropVersion, SqlStore, StoreError, UserId, repeat};

impl SqlStore {
    pub(super) async fn forget_server(&self, server: &str) -> Result<(), StoreError> {
        repeat(|| self.try_to_forget_server(server)).await
    }

    async fn try_to_forget_server(&self, server: &str) -> Result<(), StoreError> {
        let transaction = self.database.begin().await?;
        // In the order in which the server itself locks them, if it lives after all.
        server::Entity::delete_by_id(server)
            .exec(&transaction)
            .await?;
        remote_lease::Entity::delete_many()
            .filter(remote_lease::Column::ServerId.eq(server))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Registers this server, unless the others know it. They wait only for servers that they know.
    pub(super) async fn register(&self) -> Result<(), StoreError> {
        let me = server::Entity::find_by_id(self.server_id.as_str());
        if me.one(self.database.read()).await?.is_none() {
            let transaction = self.database.begin().await?;
            self.heartbeat(&transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Raises the heartbeat; false if the others did not know this server, or took it for dead.
    async fn heartbeat(&self, transaction: &DatabaseTransaction) -> Result<bool, StoreError> {
        let next = Expr::col(server::Column::Heartbeat).add(1);
        let raised = server::Entity::update_many()
            .col_expr(server::Column::Heartbeat, next)
            .filter(server::Column::Id.eq(self.server_id.as_str()))
            .exec(transaction);
        let is_known = raised.await?.rows_affected > 0;
        if !is_known {
            let me = server::Model {
                id: self.server_id.clone(),
                heartbeat: 1,
            };
            let insert = server::Entity::insert(server::ActiveModel::from(me));
            insert.exec_without_returning(transaction).await?;
        }
        Ok(is_known)
    }

    /// Publishes leases on the deletions that sessions here can read, and raises the heartbeat;
    /// returns those deletions.
    pub(super) async fn publish_leases(
        &self,
        deletions: impl Iterator<Item = DeletionKey>,
    ) -> Result<HashSet<DeletionKey>, StoreError> {
        let is_held = |it: &DeletionKey| self.leases.reach(it.user, it.version);
        let mut held: HashSet<DeletionKey> = deletions.filter(is_held).collect();
        held.extend(self.gc_state().removal.published().filter(is_held));
        repeat(|| self.try_to_publish_leases(&held)).await?;
        self.gc_state().removal.note_published(held.clone());
        Ok(held)
    }

    async fn try_to_publish_leases(&self, held: &HashSet<DeletionKey>) -> Result<(), StoreError> {
        let transaction = self.database.begin().await?;
        let is_known = self.heartbeat(&transaction).await?;
        let Publication { publish, withdraw } = self.gc_state().removal.publication(held, is_known);
        for keys in publish.chunks(KEYS_PER_STATEMENT) {
            self.publish(&transaction, keys).await?;
        }
        for keys in withdraw.chunks(KEYS_PER_STATEMENT) {
            let of_deletion = among::<remote_lease::Entity>(
                remote_lease::Column::UserId,
                remote_lease::Column::MaildropVersion,
                keys,
            );
            remote_lease::Entity::delete_many()
                .filter(remote_lease::Column::ServerId.eq(self.server_id.as_str()))
                .filter(of_deletion)
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Publishes leases on those of these deletions that are still there.
    async fn publish(
        &self,
        transaction: &DatabaseTransaction,
        deletions: &[DeletionKey],
    ) -> Result<(), StoreError> {
        let (user_id, version) = (deletion::Column::UserId, deletion::Column::MaildropVersion);
        let leased = deletion::Entity::find()
            .select_only()
            .expr(Expr::val(self.server_id.as_str()))
            .columns([user_id, version])
            .filter(among::<deletion::Entity>(user_id, version, deletions));
        let mut insert = Query::insert();
        insert.into_table(remote_lease::Entity).columns([
            remote_lease::Column::ServerId,
            remote_lease::Column::UserId,
            remote_lease::Column::MaildropVersion,
        ]);
        insert.on_conflict(OnConflict::new().do_nothing().to_owned());
        let insert = from_select(insert, leased.into_query());
        transaction.execute(&insert).await?;
        Ok(())
    }

    /// Returns the heartbeats of the other servers.
    pub(super) async fn heartbeats(&self) -> Result<HashMap<String, i64>, StoreError> {
        let others = server::Entity::find()
            .filter(server::Column::Id.ne(self.server_id.as_str()))
            .all(self.database.read());
        let others = others.await?.into_iter();
        Ok(others.map(|other| (other.id, other.heartbeat)).collect())
    }

    /// Returns the leases of the other servers.
    pub(super) async fn remote_leases(&self) -> Result<Vec<(String, DeletionKey)>, StoreError> {
        let leases = remote_lease::Entity::find()
            .filter(remote_lease::Column::ServerId.ne(self.server_id.as_str()))
            .all(self.database.read());
        let lease = |lease: remote_lease::Model| {
            let deletion = DeletionKey {
                user: UserId::from_row(lease.user_id),
                version: MaildropVersion(lease.maildrop_version),
            };
            (lease.server_id, deletion)
        };
        Ok(leases.await?.into_iter().map(lease).collect())
    }
}
