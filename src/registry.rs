//! Who is here, and how many of each: the registry of live sessions.
//!
//! The table outlives the actor. A registry that is built anew finds every session and every slot
//! as they are, so none is lost or given back twice; what a session takes from the table it gives
//! back by being dropped.

mod live;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Actor, Context, Handler, Message, MessageResult};

use crate::metrics::Metrics;
use crate::store::UserId;

pub use live::{Ending, Live, SessionReport, State};

/// Admits sessions, limits how many a user has, knows them all and can end one.
#[derive(Debug)]
pub struct RegistryActor {
    table: Table,
    max_connections_per_user: u32,
}

impl RegistryActor {
    /// A registry over this table.
    pub fn new(table: Table, max_connections_per_user: u32) -> Self {
        Self {
            table,
            max_connections_per_user,
        }
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;
}

/// The sessions that are here and the slots that users have taken.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Arc<Mutex<Rows>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Rows {
    sessions: HashMap<String, Arc<Live>>,
    slots: HashMap<UserId, u32>,
}

impl Table {
    /// An empty table.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            rows: Arc::default(),
            metrics,
        }
    }

    /// How many sessions are here.
    pub fn len(&self) -> usize {
        self.rows().sessions.len()
    }

    /// Is no session here?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Whoever holds the lock makes one change to one map, which can't be half made.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection has been accepted: put its session into the table.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Admission")]
pub struct Admit(pub Arc<Live>);

/// A session's place in the table, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Admission {
    table: Table,
    live: Arc<Live>,
}

impl Admission {
    /// What is seen of the session.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Handler<Admit> for RegistryActor {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, Admit(live): Admit, _: &mut Self::Context) -> Self::Result {
        let id = live.id().to_owned();
        self.table.rows().sessions.insert(id, Arc::clone(&live));
        self.table.metrics.session_began();
        MessageResult(Admission {
            table: self.table.clone(),
            live,
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.table.rows().sessions.remove(self.live.id());
        self.table.metrics.session_ended();
    }
}

/// May this user have one more session?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Permit>")]
pub struct Claim(pub UserId);

/// One session of a user, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    table: Table,
    user: UserId,
}

impl Handler<Claim> for RegistryActor {
    type Result = MessageResult<Claim>;

    fn handle(&mut self, Claim(user): Claim, _: &mut Self::Context) -> Self::Result {
        let mut rows = self.table.rows();
        let taken = rows.slots.entry(user).or_default();
        if *taken >= self.max_connections_per_user {
            return MessageResult(None);
        }
        *taken += 1;
        MessageResult(Some(Permit {
            table: self.table.clone(),
            user,
        }))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut rows = self.table.rows();
        if let Some(taken) = rows.slots.get_mut(&self.user) {
            *taken -= 1;
            if *taken == 0 {
                rows.slots.remove(&self.user);
            }
        }
    }
}

/// What are the live sessions doing?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<SessionReport>")]
pub struct Inspect;

impl Handler<Inspect> for RegistryActor {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, Inspect: Inspect, _: &mut Self::Context) -> Self::Result {
        let rows = self.table.rows();
        MessageResult(rows.sessions.values().map(|live| live.report()).collect())
    }
}

/// End one session: its deletions are not committed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct End {
    /// The session's name.
    pub session: String,
    /// Why, for the log.
    pub why: Ending,
}

impl Handler<End> for RegistryActor {
    type Result = bool;

    fn handle(&mut self, End { session, why }: End, _: &mut Self::Context) -> bool {
        let rows = self.table.rows();
        let live = rows.sessions.get(&session);
        live.is_some_and(|live| live.end(why))
    }
}

/// What a session is told when it is to end at once, and why.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Kill(pub Ending);
