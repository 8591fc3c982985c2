//! UPDATE: the deletions of QUIT.

use std::sync::Arc;
use std::time::Instant;

use pop3::{Commit, Snapshot, Verb};

use super::client::ClientIo;
use super::transaction::OpenedMaildrop;
use crate::mailbox::CommitDeletions;
use crate::registry::EndReason;

/// The most unique-ids in one line of the log.
const DELETIONS_PER_LINE: usize = 50;

/// The outcome of the deletions.
enum Deleted {
    /// All are gone: so many by this session, the others before.
    All(usize),
    /// Nothing was deleted.
    None,
    /// The store does not say whether it has committed.
    Unknown,
}

/// The deletions of one session.
pub(super) struct Update<'a> {
    client: &'a mut ClientIo,
    maildrop: OpenedMaildrop,
}

impl<'a> Update<'a> {
    pub(super) fn new(client: &'a mut ClientIo, maildrop: OpenedMaildrop) -> Self {
        Self { client, maildrop }
    }

    /// Commits the deletions, and tells the client the outcome; the session ends.
    pub(super) async fn run(self, commit: Commit) -> EndReason {
        let handle = Arc::clone(&self.client.handle);
        handle.set_updating(true);
        let began = Instant::now();
        let deleted = self.delete(&commit).await;
        let metrics = &self.client.context.metrics;
        metrics.command_took(Verb::Quit, began.elapsed());
        let (reply, ending) = match deleted {
            Deleted::All(deleted) => (commit.done(deleted), EndReason::Quit),
            Deleted::None => (commit.failed(), EndReason::CommitFailed),
            Deleted::Unknown => (commit.unknown(), EndReason::CommitFailed),
        };
        // The outcome is decided: from here on, the session may be ended like any other.
        handle.set_updating(false);
        let Self { client, maildrop } = self;
        client.say(&reply);
        // The slot is free before the last reply: a client may log in again at once.
        drop(maildrop);
        client.flush().await.err().unwrap_or(ending)
    }

    async fn delete(&self, commit: &Commit) -> Deleted {
        let maildrop = Arc::clone(&self.maildrop.maildrop);
        let mailbox = self.client.context.mailbox.clone();
        let commit_deletions = CommitDeletions {
            maildrop: Arc::clone(&maildrop),
            messages: commit.marked().collect(),
            session: self.client.handle.id().to_owned(),
        };
        // A task of its own: the commit is sent, even if this session ends now.
        let deletion = async move { mailbox.ask(commit_deletions).await };
        match actix_rt::spawn(deletion).await {
            Ok(Ok(Ok(deleted))) => {
                self.client.handle.activity().set_committed(deleted);
                self.log_deletions(commit, maildrop.snapshot());
                Deleted::All(deleted)
            }
            Ok(Ok(Err(error))) if !error.is_uncertain() => Deleted::None,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Deleted::Unknown,
        }
    }

    /// Logs each deletion with its unique-id, so that a lost message can be traced.
    fn log_deletions(&self, commit: &Commit, snapshot: &Snapshot) {
        let login = self.client.handle.report();
        let (deleted, limit) = (
            self.client.handle.activity().committed(),
            u64::from(self.client.context.settings.pop3.max_deletions_per_session),
        );
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
