//! Live sessions and connection limits.
//!
//! The table outlives the actor, so a registry that is built again finds every session and slot as
//! they are. A session gives back what it has taken in `Drop`.

mod end_reason;
mod report;
mod session_handle;
mod slots;
mod table;

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult};
use tokio::sync::oneshot;

use crate::store::UserId;

pub use end_reason::EndReason;
pub use report::{SessionReport, State};
pub use session_handle::{LoggedInBy, SessionHandle};
pub use slots::Permit;
pub use table::{Admission, AdmissionLimits, AdmissionRefusal, Table};

/// Admits sessions, limits their number, lists and ends them.
#[derive(Debug)]
pub struct RegistryActor {
    table: Table,
}

impl RegistryActor {
    /// A registry over this table.
    pub fn new(table: Table) -> Self {
        Self { table }
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;
}

/// Admits the session of an accepted connection.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Admission, AdmissionRefusal>")]
pub struct Admit(pub Arc<SessionHandle>);

impl Handler<Admit> for RegistryActor {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, Admit(handle): Admit, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.table.admit(handle))
    }
}

/// Takes a slot of a user.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Claimed")]
pub struct Claim {
    /// The user.
    pub user: UserId,
    /// The session that has logged in.
    pub handle: Arc<SessionHandle>,
    /// Its credentials.
    pub by: LoggedInBy,
}

/// The answer to [`Claim`].
#[derive(Debug)]
pub enum Claimed {
    /// The slot.
    Granted(Permit),
    /// An idle session of the same device ends for it, and its permit is sent here.
    HandedOver(oneshot::Receiver<Permit>),
    /// The user has as many sessions as allowed.
    Refused,
}

impl Handler<Claim> for RegistryActor {
    type Result = MessageResult<Claim>;

    fn handle(&mut self, claim: Claim, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.table.claim(&claim))
    }
}

/// Lists the live sessions, whose reports the caller reads on its own thread.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Arc<SessionHandle>>")]
pub struct Inspect;

impl Handler<Inspect> for RegistryActor {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, Inspect: Inspect, _: &mut Self::Context) -> Self::Result {
        let mut sessions = self.table.sessions();
        sessions.retain(|handle| !handle.is_self_test());
        MessageResult(sessions)
    }
}

/// Counts the live sessions.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct Count;

impl Handler<Count> for RegistryActor {
    type Result = usize;

    fn handle(&mut self, Count: Count, _: &mut Self::Context) -> usize {
        self.table.len()
    }
}

/// Ends one session without committing its deletions.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct End {
    /// The session's unique name.
    pub session: String,
    /// The reason, for the log.
    pub why: EndReason,
}

impl Handler<End> for RegistryActor {
    type Result = bool;

    fn handle(&mut self, End { session, why }: End, _: &mut Self::Context) -> bool {
        let handle = self.table.session(&session);
        handle.is_some_and(|handle| handle.end(why))
    }
}

/// Tells a session to end at once, for this reason.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Kill(pub EndReason);
