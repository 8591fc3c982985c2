//! UPDATE: what QUIT deletes.

use std::sync::Arc;

use pop3::Commit;

use super::conversation::{Conversation, Over};
use crate::mailbox::CommitDeletions;
use crate::registry::{Ending, State};
use crate::store::Maildrop;

impl Conversation {
    pub(super) async fn commit(&mut self, commit: Commit) -> Result<Ending, Over> {
        self.live.set_state(State::Update);
        let (reply, ending) = match self.delete(&commit).await {
            Ok(()) => (commit.done(), Ending::Quit),
            Err(()) => (commit.failed(), Ending::CommitFailed),
        };
        self.say(&reply);
        self.close_maildrop();
        self.flush().await?;
        Ok(ending)
    }

    async fn delete(&mut self, commit: &Commit) -> Result<(), ()> {
        let maildrop = Arc::clone(&self.open.as_ref().ok_or(())?.maildrop);
        let messages: Vec<_> = commit
            .marked()
            .filter_map(|n| maildrop.message(n))
            .collect();
        let mailbox = self.service.mailbox.clone();
        let user = maildrop.user;
        // A task of its own: what has been asked for is asked, even if this session ends now.
        let deletion = async move {
            let delete = || CommitDeletions {
                user,
                messages: messages.clone(),
            };
            mailbox.ask(delete).await
        };
        let deleted = actix_rt::spawn(deletion).await;
        match deleted {
            Ok(Ok(Ok(()))) => {
                self.log_deletions(commit, &maildrop);
                Ok(())
            }
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(()),
        }
    }

    fn log_deletions(&self, commit: &Commit, maildrop: &Maildrop) {
        for number in commit.marked() {
            let unique_id = maildrop.snapshot.unique_id_of(number).unwrap_or_default();
            tracing::debug!(unique_id, "message deleted");
        }
    }
}
