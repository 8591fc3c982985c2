//! Transactions: the one door to a commit.

use std::ops::Deref;
use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use tokio::sync::OwnedSemaphorePermit;

use super::asking::committing;
use super::sqlite::SqliteFiles;

/// A transaction, which has its connection until it ends. Dropping it rolls it back.
#[derive(Debug)]
pub(crate) struct Transaction {
    transaction: DatabaseTransaction,
    /// Files that must be in place when it commits.
    sqlite: Option<Arc<SqliteFiles>>,
    /// Its connection's place in the pool.
    _room: OwnedSemaphorePermit,
}

impl Transaction {
    pub(super) fn new(
        transaction: DatabaseTransaction,
        room: OwnedSemaphorePermit,
        sqlite: Option<Arc<SqliteFiles>>,
    ) -> Self {
        Self {
            transaction,
            sqlite,
            _room: room,
        }
    }

    /// Commits.
    ///
    /// On SQLite the files are looked at before and after it, and nowhere else in a transaction. Before,
    /// so that nothing is written to a file that is not the database any more: if that is put back,
    /// what was refused is not in it. After, so that who is told that it is done finds it in the files
    /// that bear the database's names. Only what is removed later is lost.
    ///
    /// # Errors
    /// If the database refuses, or a file was removed or replaced.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        let Some(files) = self.sqlite else {
            return self.transaction.commit().await;
        };
        files.check()?;
        committing(self.transaction.commit()).await?;
        files.note_commit();
        files.check()
    }

    /// Takes back all that was written.
    ///
    /// # Errors
    /// If the database refuses.
    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        self.transaction.rollback().await
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.transaction.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.transaction.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.transaction.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.transaction.query_all_raw(statement).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::store::Database;

    #[actix_rt::test]
    async fn a_file_that_is_removed_while_it_is_committed_is_noticed() {
        for suffix in ["", "-wal", "-shm"] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("restante.db");
            let url = format!("sqlite://{}", file.display());
            let database = Database::open(&url).await.unwrap();
            database.migrate().await.unwrap();
            let transaction = database.begin().await.unwrap();
            let write = "INSERT INTO servers (id, heartbeat) VALUES ('a', 1)";
            transaction.execute_unprepared(write).await.unwrap();
            let mut commit = pin!(transaction.commit());
            // The files are in place, and SQLite begins to commit.
            let begun = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context)));
            assert!(begun.await.is_pending());
            fs::remove_file(format!("{}{suffix}", file.display())).unwrap();
            let error = commit.await.unwrap_err().to_string();
            assert!(error.contains("is not the file that was opened"), "{error}");
        }
    }
}
