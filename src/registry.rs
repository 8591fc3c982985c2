//! Who is here, and how many of each: the registry of live sessions.
//!
//! The table outlives the actor. A registry that is built anew finds every session and every slot
//! as they are, so none is lost or given back twice; what a session takes from the table it gives
//! back by being dropped.

mod end_reason;
mod report;
pub(crate) mod revocation;
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

/// Admits sessions, limits how many there are, knows them all and can end one.
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

/// A connection has been accepted: may its session go into the table?
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Admission, AdmissionRefusal>")]
pub struct Admit(pub Arc<SessionHandle>);

impl Handler<Admit> for RegistryActor {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, Admit(live): Admit, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.table.admit(live))
    }
}

/// May this user have one more session?
#[derive(Debug, Clone, Message)]
#[rtype(result = "Claimed")]
pub struct Claim {
    /// Who it is.
    pub user: UserId,
    /// The session that has logged in.
    pub live: Arc<SessionHandle>,
    /// What it has logged in with.
    pub by: LoggedInBy,
}

/// Whether a user may have one more session.
#[derive(Debug)]
pub enum Claimed {
    /// They may.
    Granted(Permit),
    /// An idle session of the same device ends for it, and its permit comes here.
    HandedOver(oneshot::Receiver<Permit>),
    /// They may not.
    Refused,
}

impl Handler<Claim> for RegistryActor {
    type Result = MessageResult<Claim>;

    fn handle(&mut self, claim: Claim, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.table.claim(&claim))
    }
}

/// Who is here? What each is doing, whoever asked reads on their own thread.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<Arc<SessionHandle>>")]
pub struct Inspect;

impl Handler<Inspect> for RegistryActor {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, Inspect: Inspect, _: &mut Self::Context) -> Self::Result {
        let mut sessions = self.table.sessions();
        sessions.retain(|live| !live.is_self_test());
        MessageResult(sessions)
    }
}

/// How many sessions are here?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct Count;

impl Handler<Count> for RegistryActor {
    type Result = usize;

    fn handle(&mut self, Count: Count, _: &mut Self::Context) -> usize {
        self.table.len()
    }
}

/// End one session: its deletions are not committed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct End {
    /// The session's name.
    pub session: String,
    /// Why, for the log.
    pub why: EndReason,
}

impl Handler<End> for RegistryActor {
    type Result = bool;

    fn handle(&mut self, End { session, why }: End, _: &mut Self::Context) -> bool {
        let live = self.table.session(&session);
        live.is_some_and(|live| live.end(why))
    }
}

/// What a session is told when it is to end at once, and why.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Kill(pub EndReason);
