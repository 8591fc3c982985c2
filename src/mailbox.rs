//! The one door to the store in a running server.
//!
//! POP3 and LMTP sessions, the admin endpoint, the watch for revoked keys and garbage collection
//! all ask a [`MailboxActor`] through its [`Mailbox`]. What can be asked is a [`Query`], and one
//! handler answers all of them. Each thread that has sessions has such an actor, since waking
//! another thread costs a session more than most queries; all of them share one [`MailService`].
//!
//! | query | asks the store for | statements on our own schema |
//! | --- | --- | --- |
//! | [`Identify`] | whose maildrop a client may open | 1 |
//! | [`FindCandidates`] | keys that a client may prove by SCRAM | 1 |
//! | [`OpenMaildrop`] | its messages, unless they are remembered | 0 or 1 |
//! | [`ReadFirst`] | the beginnings of up to 64 messages | 1 |
//! | [`Read`] | more of one message | 1 |
//! | [`MarkRetrieved`] | to mark messages as read, if it wants to know | 0 |
//! | [`CommitDeletions`] | QUIT: all or none, durably | one transaction of 3, on SQLite 4 |
//! | [`KeyUsed`] | nothing: it is recorded every 30 seconds for all | 0 |
//! | [`FindRecipient`] | the user of an address, and whether there is room | 1 |
//! | [`WriteMessage`] | to stage what a large message has brought | 1 transaction for each MiB |
//! | [`DiscardMessage`] | to remove what it has staged of a message | 0, or 1 transaction |
//! | [`Deliver`] | to store a message for its recipients | one transaction, shared with others |
//! | [`CheckLogins`] | which sessions may go on, every 3 seconds | 2 for each 1000 users and keys |
//! | [`InDirectory`] | users and keys, for operators | 1 to 8 |
//! | [`CollectGarbage`], [`NoteKeyUse`] | upkeep, from time to time | see `store/garbage.rs` |
//! | [`CheckStore`] | a read and an empty transaction, for health checks | 3 |
//! | [`StoreCondition`] | whether it is full, damaged, or its clock wrong | 0 or 1 |
//!
//! A query that has begun goes on when its session has ended, so a commit is never broken off. When
//! the server stops, it closes the store by [`MailService::close`], after the actors have ended.

mod directory;
mod intake;
mod reading;
mod sessions;
mod snapshots;
mod upkeep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use actix_rt::ArbiterHandle;
use tokio_util::sync::CancellationToken;

use crate::log_throttle::LogThrottle;
use crate::metrics::Metrics;
use crate::store::{KeyId, Store, StoreError, ask};
use crate::supervision::{ActorUnavailable, Supervised};
use snapshots::{REMEMBERED_OCTETS, Snapshots};

pub(crate) use directory::InDirectory;
pub(crate) use intake::{
    AddresseeLookup, Deliver, DiscardMessage, FindRecipient, IntakeFault, WriteMessage,
};
pub(crate) use reading::{CommitDeletions, MarkRetrieved, Read, ReadFirst};
pub(crate) use sessions::{CheckLogins, FindCandidates, Identify, KeyUsed, LoggedIn, OpenMaildrop};
pub(crate) use upkeep::{CheckStore, CollectGarbage, NoteKeyUse, StoreCondition};

/// Messages that wait for the actor before senders do. It hands each on at once.
const MAILBOX_CAPACITY: usize = 256;

/// Something to ask the mailbox actor.
pub(crate) trait Query: Send + 'static {
    /// The answer.
    type Answer: Send + 'static;

    /// Asks the store.
    fn run(self, service: Arc<MailService>) -> impl Future<Output = Self::Answer>;
}

/// Owns the store, on one thread.
#[derive(Debug)]
pub(crate) struct MailboxActor {
    service: Arc<MailService>,
}

impl Actor for MailboxActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// A query on its way to the actor.
struct Ask<Q>(Q);

impl<Q: Query> Message for Ask<Q> {
    type Result = Q::Answer;
}

impl<Q: Query> Handler<Ask<Q>> for MailboxActor {
    type Result = ResponseFuture<Q::Answer>;

    fn handle(&mut self, Ask(query): Ask<Q>, _: &mut Self::Context) -> Self::Result {
        Box::pin(query.run(Arc::clone(&self.service)))
    }
}

/// The door to the store: the mailbox actor of one thread.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox(Supervised<MailboxActor>);

impl Mailbox {
    /// Starts a mailbox actor on a thread, which is built anew whenever it ends.
    pub(crate) fn spawn(
        service: &Arc<MailService>,
        thread: &ArbiterHandle,
        stop: CancellationToken,
    ) -> Self {
        let (service, metrics) = (Arc::clone(service), Arc::clone(&service.metrics));
        let build = move || MailboxActor {
            service: Arc::clone(&service),
        };
        Self(Supervised::spawn("mailbox", thread, metrics, stop, build))
    }

    /// Asks, a second time if the actor ends meanwhile.
    ///
    /// # Errors
    /// If no actor answers.
    pub(crate) async fn ask<Q: Query + Clone>(
        &self,
        query: Q,
    ) -> Result<Q::Answer, ActorUnavailable> {
        self.0.ask(|| Ask(query.clone())).await
    }

    /// Asks what must not be done twice.
    ///
    /// # Errors
    /// If no actor answers: then it may have been done all the same.
    pub(crate) async fn ask_once<Q: Query>(&self, query: Q) -> Result<Q::Answer, ActorUnavailable> {
        self.0.ask_once(Ask(query)).await
    }

    /// The actor itself, to make it fail.
    #[cfg(test)]
    pub(crate) fn actor(&self) -> &Supervised<MailboxActor> {
        &self.0
    }

    /// Sends the actor a query and waits for no answer.
    pub(crate) fn tell<Q: Query>(&self, query: Q) {
        self.0.tell(Ask(query));
    }
}

/// The state that the mailbox actors share. It outlives them, so a new one goes on where the last
/// ended.
pub(crate) struct MailService {
    store: Store,
    metrics: Arc<Metrics>,
    require_authentication: bool,
    max_messages: u32,
    memory: Mutex<Memory>,
    /// For the log line that there is too little room.
    no_room: LogThrottle,
}

struct Memory {
    snapshots: Snapshots,
    /// The last use of keys, since this was last recorded.
    used_keys: HashMap<KeyId, Instant>,
}

impl std::fmt::Debug for MailService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailService").finish_non_exhaustive()
    }
}

impl MailService {
    /// Serves what is in this store. Without `require_authentication` every secret is a right one.
    /// Sessions get the newest `max_messages` of a maildrop, or all if it is 0.
    pub(crate) fn new(
        store: Store,
        metrics: Arc<Metrics>,
        require_authentication: bool,
        max_messages: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            metrics,
            require_authentication,
            max_messages,
            memory: Mutex::new(Memory {
                snapshots: Snapshots::new(REMEMBERED_OCTETS),
                used_keys: HashMap::new(),
            }),
            no_room: LogThrottle::default(),
        })
    }

    /// Records which keys were used, and closes the store.
    ///
    /// # Errors
    /// If the store can't be closed in order.
    pub(crate) async fn close(self: Arc<Self>) -> Result<(), StoreError> {
        NoteKeyUse.run(Arc::clone(&self)).await;
        self.store.upkeep.close().await
    }

    /// Asks the store something that may be asked twice: again if its connection breaks.
    async fn ask<T>(
        &self,
        while_doing: &str,
        question: impl AsyncFn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let answer = ask(while_doing, question).await;
        answer.inspect_err(|error| self.note_fault(while_doing, error))
    }

    /// The one place where a fault of storage is logged and counted.
    fn note_fault(&self, while_doing: &str, error: &StoreError) {
        self.metrics.database_error();
        self.store.upkeep.note_fault(error);
        tracing::error!(error = %error, "storage failed while {while_doing}");
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // It only saves work, so what a panic has left there does no harm.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
