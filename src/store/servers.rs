//! What the servers on one database tell each other: that they are there, and what their sessions can
//! still read.
//!
//! A server makes itself known when it starts, and says that it has looked at the deletions by raising
//! its beat. It does so only while there are any, so that an idle server writes nothing. One whose
//! beat stands still meanwhile is dead.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::database::{KEYS_PER_STATEMENT, statement};
use super::garbage::DeletionKey;
use super::{MaildropVersion, SqlStore, StoreError, UserId, repeat};

/// A server whose beat has not changed for this long is dead.
const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// What this server knows of others, and they of it.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// The beat of each other server, and since when it stands so.
    others: HashMap<String, (i64, Instant)>,
    /// What this server has told the others to keep.
    held: HashSet<DeletionKey>,
}

impl Servers {
    /// The beat of each other server.
    pub(super) fn beats(&self) -> HashMap<String, i64> {
        let beat = |(id, (beat, _)): (&String, &(i64, Instant))| (id.clone(), *beat);
        self.others.iter().map(beat).collect()
    }

    /// Has this server told the others to keep it?
    pub(super) fn holds(&self, deletion: DeletionKey) -> bool {
        self.held.contains(&deletion)
    }

    /// Remembers the beats of the others and returns those that stand still for too long.
    fn note_heartbeats(&mut self, beats: &HashMap<String, i64>) -> Vec<String> {
        let now = Instant::now();
        self.others.retain(|id, _| beats.contains_key(id));
        for (id, beat) in beats {
            let known = self.others.entry(id.clone()).or_insert((*beat, now));
            if known.0 != *beat {
                *known = (*beat, now);
            }
        }
        let silent = |since: &Instant| now.duration_since(*since) >= SERVER_TIMEOUT;
        let dead = self.others.extract_if(|_, (_, since)| silent(since));
        dead.map(|(id, _)| id).collect()
    }
}

impl SqlStore {
    pub(super) async fn forget_server(&self, server: &str) -> Result<(), StoreError> {
        repeat(|| self.try_to_forget_server(server)).await
    }

    async fn try_to_forget_server(&self, server: &str) -> Result<(), StoreError> {
        let transaction = self.database.begin().await?;
        // In the order in which the server itself locks them, if it lives after all.
        for sql in [
            "DELETE FROM servers WHERE id = $1",
            "DELETE FROM remote_leases WHERE server_id = $1",
        ] {
            transaction
                .execute_raw(statement(&transaction, sql, [server.into()]))
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Sees to it that the others know of this server. They wait only for those that they know.
    pub(super) async fn register(&self) -> Result<(), StoreError> {
        const KNOWN: &str = "SELECT 1 FROM servers WHERE id = $1";
        let read = self.database.read();
        let known = statement(read, KNOWN, [self.server_id.as_str().into()]);
        if read.query_one_raw(known).await?.is_none() {
            let transaction = self.database.begin().await?;
            self.heartbeat(&transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Raises the beat; false if the others did not know this server, or took it for dead.
    async fn heartbeat(&self, transaction: &DatabaseTransaction) -> Result<bool, StoreError> {
        const BEAT: &str = "UPDATE servers SET heartbeat = heartbeat + 1 WHERE id = $1";
        const REGISTER: &str = "INSERT INTO servers (id, heartbeat) VALUES ($1, 1)";
        let me = || [self.server_id.as_str().into()];
        let beat = statement(transaction, BEAT, me());
        let known = transaction.execute_raw(beat).await?.rows_affected() > 0;
        if !known {
            let register = statement(transaction, REGISTER, me());
            transaction.execute_raw(register).await?;
        }
        Ok(known)
    }

    /// Writes down which deletions sessions here can look behind, and raises the beat with it.
    pub(super) async fn publish_leases(&self, deletions: &[DeletionKey]) -> Result<(), StoreError> {
        repeat(|| self.try_to_publish_leases(deletions)).await
    }

    async fn try_to_publish_leases(&self, deletions: &[DeletionKey]) -> Result<(), StoreError> {
        let reached = |it: &&DeletionKey| self.leases.reach(it.user, it.version);
        let held: HashSet<DeletionKey> = deletions.iter().filter(reached).copied().collect();
        let transaction = self.database.begin().await?;
        let known = self.heartbeat(&transaction).await?;
        let (new, old): (Vec<DeletionKey>, Vec<DeletionKey>) = {
            let servers = &mut self.gc_state().servers;
            if !known {
                // Who took this server for dead has removed what it held, too.
                servers.held.clear();
            }
            let before = &servers.held;
            let new = held.difference(before).copied().collect();
            (new, before.difference(&held).copied().collect())
        };
        for keys in new.chunks(KEYS_PER_STATEMENT) {
            let hold = format!(
                "INSERT INTO remote_leases (server_id, user_id, maildrop_version) \
                 SELECT $1, user_id, maildrop_version FROM deletions \
                 WHERE {} ON CONFLICT DO NOTHING",
                DeletionKey::among(keys)
            );
            self.run_for_me(&transaction, &hold).await?;
        }
        for keys in old.chunks(KEYS_PER_STATEMENT) {
            let among = DeletionKey::among(keys);
            let release = format!("DELETE FROM remote_leases WHERE server_id = $1 AND {among}");
            self.run_for_me(&transaction, &release).await?;
        }
        transaction.commit().await?;
        self.gc_state().servers.held = held;
        Ok(())
    }

    /// Runs a statement whose `$1` is this server.
    async fn run_for_me(
        &self,
        transaction: &DatabaseTransaction,
        sql: &str,
    ) -> Result<(), StoreError> {
        let statement = statement(transaction, sql, [self.server_id.as_str().into()]);
        transaction.execute_raw(statement).await?;
        Ok(())
    }

    /// Forgets the servers that have stopped without saying so, and what they held.
    pub(super) async fn expire_dead_servers(&self) -> Result<(), StoreError> {
        const OTHERS: &str = "SELECT id, heartbeat FROM servers WHERE id <> $1";
        let read = self.database.read();
        let others = statement(read, OTHERS, [self.server_id.as_str().into()]);
        let mut beats = HashMap::new();
        for row in read.query_all_raw(others).await? {
            let (id, beat): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            beats.insert(id, beat);
        }
        let silent = self.gc_state().servers.note_heartbeats(&beats);
        for silent in silent {
            tracing::warn!(
                server = silent,
                "another server has stopped without saying so"
            );
            self.forget_server(&silent).await?;
        }
        Ok(())
    }

    /// The deletions behind which sessions of other servers can look.
    pub(super) async fn remote_leases(&self) -> Result<HashSet<DeletionKey>, StoreError> {
        const HELD: &str =
            "SELECT user_id, maildrop_version FROM remote_leases WHERE server_id <> $1";
        let read = self.database.read();
        let held = statement(read, HELD, [self.server_id.as_str().into()]);
        let mut keys = HashSet::new();
        for row in read.query_all_raw(held).await? {
            keys.insert(DeletionKey {
                user: UserId(row.try_get_by_index(0)?),
                version: MaildropVersion(row.try_get_by_index(1)?),
            });
        }
        Ok(keys)
    }
}
