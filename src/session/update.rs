//! UPDATE: what QUIT deletes.

use std::sync::Arc;
use std::time::Instant;

use pop3::{Commit, Snapshot, Verb};

use super::conversation::{Conversation, SessionEnded};
use crate::mailbox::CommitDeletions;
use crate::registry::{EndReason, State};
use crate::store::StoreError;

/// How many unique-ids a line of the log names at most.
const DELETIONS_PER_LINE: usize = 50;

/// What came of the deletions.
enum Deleted {
    /// All are gone: so many by this session, the others by another one before.
    All(usize),
    None,
    Unknown,
}

impl Conversation {
    pub(super) async fn commit(&mut self, commit: Commit) -> Result<EndReason, SessionEnded> {
        self.live.set_state(State::Update);
        let began = Instant::now();
        let deleted = self.delete(&commit).await;
        self.service
            .metrics
            .command_took(Verb::Quit, began.elapsed());
        let (reply, ending) = match deleted {
            Deleted::All(deleted) => (commit.done(deleted), EndReason::Quit),
            Deleted::None => (commit.failed(), EndReason::CommitFailed),
            Deleted::Unknown => (commit.unknown(), EndReason::CommitFailed),
        };
        // It is decided: from here on, the session may be ended like any other.
        self.live.set_state(State::Transaction);
        self.say(&reply);
        self.close_maildrop();
        self.flush().await?;
        Ok(ending)
    }

    async fn delete(&mut self, commit: &Commit) -> Deleted {
        let Some(open) = &self.open else {
            return Deleted::None;
        };
        let maildrop = Arc::clone(&open.maildrop);
        let mailbox = self.service.mailbox.clone();
        let commit_deletions = CommitDeletions {
            maildrop: Arc::clone(&maildrop),
            messages: commit.marked().collect(),
            session: self.live.id().to_owned(),
        };
        // A task of its own: what has been asked for is asked, even if this session ends now.
        let deletion = async move { mailbox.ask(commit_deletions).await };
        match actix_rt::spawn(deletion).await {
            Ok(Ok(Ok(deleted))) => {
                self.live.set_committed(deleted);
                self.log_deletions(commit, maildrop.snapshot());
                Deleted::All(deleted)
            }
            Ok(Ok(Err(StoreError::TimedOut(_))) | Err(_)) | Err(_) => Deleted::Unknown,
            Ok(Ok(Err(error))) if error.is_broken_connection() => Deleted::Unknown,
            Ok(Ok(Err(_))) => Deleted::None,
        }
    }

    /// Each deletion is told with its unique-id: who asks where a message has gone finds it.
    fn log_deletions(&self, commit: &Commit, snapshot: &Snapshot) {
        let login = self.live.report();
        let (deleted, limit) = (self.live.committed(), u64::from(self.service.max_deletions));
        if limit > 0 && deleted > limit {
            tracing::warn!(
                user = login.user,
                key = login.key,
                deleted,
                limit,
                "a session has deleted more messages than Pop3__MaxDeletionsPerSession"
            );
        }
        if deleted == 0 {
            return;
        }
        let unique_id = |number| snapshot.unique_id_of(number).unwrap_or_default();
        let unique_ids: Vec<_> = commit.marked().map(unique_id).collect();
        let before = (unique_ids.len() as u64).saturating_sub(deleted);
        let deleted_before_by_others = (before > 0).then_some(before);
        for unique_ids in unique_ids.chunks(DELETIONS_PER_LINE) {
            let unique_ids = unique_ids.join(" ");
            tracing::info!(
                user = login.user,
                key = login.key,
                unique_ids,
                deleted_before_by_others,
                "messages deleted"
            );
        }
    }
}
