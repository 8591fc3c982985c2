//! Why the server ends a session, said to a client that is waited for.

use std::time::Duration;

use pop3::{Reply, ResponseCode};
use tokio::time::timeout;

use super::conversation::Conversation;
use crate::registry::EndReason;

/// How long a client may take to read why its session ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

impl Conversation {
    /// Ends because others wait to log in.
    pub(super) async fn evict(&mut self) -> EndReason {
        let reply = Reply::coded(
            ResponseCode::SysTemp,
            "too many clients wait to log in, and you have waited longest; try again later",
        );
        self.say_farewell(&reply).await;
        EndReason::Evicted
    }

    /// Ends because the client's device has logged in again, which waits for the slot.
    pub(super) async fn make_way(&mut self) -> EndReason {
        self.close_maildrop();
        let reply = Reply::coded(
            ResponseCode::SysTemp,
            "this session was idle, and a new login with the same key has ended it; \
             nothing was deleted",
        );
        self.say_farewell(&reply).await;
        EndReason::Superseded
    }

    /// Ends because the client has not logged in in time.
    pub(super) async fn end_login(&mut self) -> EndReason {
        let seconds = self.service.login_timeout.as_secs_f64();
        let reply = Reply::err(format_args!("no login within {seconds} seconds, goodbye"));
        self.say_farewell(&reply).await;
        EndReason::TimedOut
    }

    /// Says why the session ends, if the client reads it soon.
    async fn say_farewell(&mut self, reply: &Reply) {
        self.say(reply);
        // The time to log in may be over, and this has a time of its own.
        self.login_by = None;
        let _ = timeout(FAREWELL_TIMEOUT, self.flush()).await;
    }
}
