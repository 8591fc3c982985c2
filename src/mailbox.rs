//! The actor that owns every query of the running server.
//!
//! There is one on each thread that has sessions, and they share one [`MailService`]: waking another
//! thread costs a session more than the query that it asks for.
//!
//! Its handlers call one method of the store each and answer when it has. A query that has begun
//! goes on when its session has ended, so a commit is never broken off.

mod snapshots;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use bytes::Bytes;
use pop3::Candidates;

use crate::accounts::{
    Authentication, KeyId, LoginStatus, Proof, Verified, WrongCredentials, normalize_or_lower,
};
use crate::metrics::Metrics;
use crate::store::{
    Beginning, ContentId, GcReport, Lease, MailStore, Maildrop, MaildropVersion, MessageId,
    StoreError, Stored, UserId, ask,
};

use snapshots::{Found, REMEMBERED_OCTETS, Snapshots};

/// Owns the store: opens maildrops, reads messages, commits deletions.
#[derive(Debug)]
pub struct MailboxActor {
    mailbox: MailService,
}

/// What the actor works with. It outlives the actor, so a new one goes on where the last ended.
#[derive(Clone)]
pub struct MailService {
    store: Arc<dyn MailStore>,
    authentication: Arc<dyn Authentication>,
    metrics: Arc<Metrics>,
    require_authentication: bool,
    max_messages: u32,
    memory: Arc<Mutex<Memory>>,
}

struct Memory {
    snapshots: Snapshots,
    /// When keys were used, since this was last written down.
    used: HashMap<KeyId, Instant>,
}

impl std::fmt::Debug for MailService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl MailService {
    /// Serves from this store the users that this authentication knows.
    pub fn new(
        store: Arc<dyn MailStore>,
        authentication: Arc<dyn Authentication>,
        metrics: Arc<Metrics>,
        require_authentication: bool,
        max_messages: u32,
    ) -> Self {
        Self {
            store,
            authentication,
            metrics,
            require_authentication,
            max_messages,
            memory: Arc::new(Mutex::new(Memory {
                snapshots: Snapshots::new(REMEMBERED_OCTETS),
                used: HashMap::new(),
            })),
        }
    }

    /// Writes down which keys were used, and tells other servers that this one has ended.
    pub async fn close(&self) {
        self.note_use().await;
        if let Err(error) = self.store.leave().await {
            self.note_fault("leaving the database", &error);
        }
    }

    /// Whose sessions may go on, of these users and keys?
    ///
    /// # Errors
    /// If the store can't say; it has been logged.
    pub async fn login_status(
        &self,
        users: &HashSet<UserId>,
        keys: &HashSet<KeyId>,
    ) -> Result<LoginStatus, StoreError> {
        let ask = async || self.authentication.login_status(users, keys).await;
        self.ask("looking for revoked keys", ask).await
    }

    /// Removes what no session can read any more, and what has expired.
    pub(crate) async fn collect_garbage(&self) {
        match self.store.collect_garbage().await {
            Ok(collected) if collected == GcReport::default() => {}
            Ok(GcReport {
                departures,
                broken_deliveries,
                expired,
            }) => {
                if expired > 0 {
                    self.metrics.messages_expired(expired);
                }
                tracing::debug!(departures, broken_deliveries, "garbage collection finished");
            }
            Err(error) => self.note_fault("collecting garbage", &error),
        }
    }

    /// Writes down which keys were used.
    pub(crate) async fn note_use(&self) {
        let used = std::mem::take(&mut self.memory().used);
        if used.is_empty() {
            return;
        }
        let ages = used.iter().map(|(key, at)| (*key, at.elapsed())).collect();
        if let Err(error) = self.authentication.note_use(&ages).await {
            self.note_fault("noting when keys were used", &error);
            let mut memory = self.memory();
            for (key, at) in used {
                memory.used.entry(key).or_insert(at);
            }
        }
    }

    /// Asks the store; every question that is asked here may be asked twice.
    async fn ask<T>(
        &self,
        while_doing: &str,
        question: impl AsyncFn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let answer = ask(while_doing, question).await;
        if let Err(error) = &answer {
            self.note_fault(while_doing, error);
        }
        answer
    }

    /// The one place where a fault of storage is logged and counted.
    fn note_fault(&self, while_doing: &str, error: &StoreError) {
        self.metrics.database_error();
        self.authentication.note_fault(error);
        tracing::error!(error = %error, "storage failed while {while_doing}");
    }

    async fn open(
        &self,
        user: UserId,
        version: MaildropVersion,
    ) -> Result<Arc<Maildrop>, Arc<StoreError>> {
        let open = async || self.store.open(user, self.max_messages).await;
        let opened = self.ask("opening a maildrop", open).await;
        let maildrop = Arc::new(opened.map_err(Arc::new)?);
        self.metrics.maildrop_read();
        // It may be newer than the version, never older: then the next login reads it again.
        self.memory().snapshots.insert(user, version, &maildrop);
        Ok(maildrop)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // It only ever saves work, so whatever a panic left there does no harm.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MailboxActor {
    /// Works with this, which the actors of all threads share.
    pub fn new(mailbox: MailService) -> Self {
        Self { mailbox }
    }
}

impl Actor for MailboxActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// How many messages wait for the actor before senders do. It hands each on at once.
const MAILBOX_CAPACITY: usize = 256;

/// Who is this, and what is in their maildrop?
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Result<Identified, WrongCredentials>, StoreError>")]
pub struct Identify {
    /// What speaks for the client.
    pub proof: Proof,
    /// The client's address.
    pub client: IpAddr,
}

/// A user whose maildrop may be opened.
#[derive(Debug)]
pub struct Identified {
    /// Who it is.
    pub user: Verified,
    /// The maildrop, if it has not changed since it was last opened.
    pub maildrop: Option<Arc<Maildrop>>,
    /// Keeps readable what is in the maildrop now.
    pub lease: Lease,
}

impl Handler<Identify> for MailboxActor {
    type Result = ResponseFuture<Result<Result<Identified, WrongCredentials>, StoreError>>;

    fn handle(
        &mut self,
        Identify { proof, client }: Identify,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let proof = match &proof {
                Proof::Secret { name, identity, .. } if !mailbox.require_authentication => {
                    let address = name.split('#').next().unwrap_or_default();
                    Proof::TrustedAddress {
                        addresses: vec![normalize_or_lower(address)],
                        identity: identity.clone(),
                    }
                }
                Proof::Secret { .. } | Proof::Key(_) | Proof::TrustedAddress { .. } => proof,
            };
            let verify = async || mailbox.authentication.identify(&proof, client).await;
            let user = match mailbox.ask("looking up a key", verify).await? {
                Ok(user) => user,
                Err(wrong) => return Ok(Err(wrong)),
            };
            let lease = mailbox.store.lease(user.user, user.version);
            let maildrop = mailbox.memory().snapshots.get(user.user, user.version);
            Ok(Ok(Identified {
                user,
                maildrop,
                lease,
            }))
        })
    }
}

/// Find the keys that a client may prove.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Candidates, StoreError>")]
pub struct FindCandidates {
    /// An address of the user, and after a `#` the name of the key if it is told.
    pub name: String,
    /// What must be another address of the user, if it is told.
    pub identity: Option<String>,
    /// The client's address.
    pub client: IpAddr,
}

impl Handler<FindCandidates> for MailboxActor {
    type Result = ResponseFuture<Result<Candidates, StoreError>>;

    fn handle(
        &mut self,
        FindCandidates {
            name,
            identity,
            client,
        }: FindCandidates,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let authentication = &mailbox.authentication;
            let find = async || {
                let identity = identity.as_deref();
                authentication.candidates(&name, identity, client).await
            };
            mailbox.ask("looking up verifiers", find).await
        })
    }
}

/// A login has succeeded with this key; it will be written down.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct KeyUsed(pub KeyId);

impl Handler<KeyUsed> for MailboxActor {
    type Result = ();

    fn handle(&mut self, KeyUsed(key): KeyUsed, _: &mut Self::Context) {
        self.mailbox.memory().used.insert(key, Instant::now());
    }
}

/// What is in this maildrop?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Arc<Maildrop>, Arc<StoreError>>")]
pub struct OpenMaildrop {
    /// Whose.
    pub user: UserId,
    /// The version that it had when the user was identified.
    pub version: MaildropVersion,
}

impl Handler<OpenMaildrop> for MailboxActor {
    type Result = ResponseFuture<Result<Arc<Maildrop>, Arc<StoreError>>>;

    fn handle(
        &mut self,
        OpenMaildrop { user, version }: OpenMaildrop,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let found = mailbox.memory().snapshots.find(user, version);
            let opening = match found {
                Found::Read(maildrop) => return Ok(maildrop),
                Found::Unread(opening) => opening,
            };
            // Logins that come at the same time read it once.
            let opened = opening.get_or_init(|| mailbox.open(user, version)).await;
            opened.clone()
        })
    }
}

/// The heads and first chunks of messages, in their order.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<(MessageId, Beginning)>, StoreError>")]
pub struct ReadFirstChunks(pub Vec<Stored>);

impl Handler<ReadFirstChunks> for MailboxActor {
    type Result = ResponseFuture<Result<Vec<(MessageId, Beginning)>, StoreError>>;

    fn handle(
        &mut self,
        ReadFirstChunks(messages): ReadFirstChunks,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let read = async || mailbox.store.first_chunks(&messages).await;
            mailbox.ask("reading messages", read).await
        })
    }
}

/// Some chunks of one message, in order.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<Bytes>, StoreError>")]
pub struct ReadChunks {
    /// Of which message.
    pub content: ContentId,
    /// Which chunks; the first is 0.
    pub numbers: Range<u32>,
}

impl Handler<ReadChunks> for MailboxActor {
    type Result = ResponseFuture<Result<Vec<Bytes>, StoreError>>;

    fn handle(
        &mut self,
        ReadChunks { content, numbers }: ReadChunks,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let read = async || mailbox.store.chunks(content, numbers.clone()).await;
            mailbox.ask("reading a message", read).await
        })
    }
}

/// The first octets of a message, at most so many.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Beginning, StoreError>")]
pub struct ReadBeginning {
    /// Of which message.
    pub message: Stored,
    /// How many of its content; its head comes whole.
    pub octets: u32,
}

impl Handler<ReadBeginning> for MailboxActor {
    type Result = ResponseFuture<Result<Beginning, StoreError>>;

    fn handle(
        &mut self,
        ReadBeginning { message, octets }: ReadBeginning,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let read = async || mailbox.store.beginning(message, octets).await;
            mailbox
                .ask("reading the beginning of a message", read)
                .await
        })
    }
}

/// Delete these messages, all or none. The answer is how many of them were still there.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, StoreError>")]
pub struct CommitDeletions {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub messages: Vec<MessageId>,
    /// The name of the session that does it.
    pub session: String,
}

impl Handler<CommitDeletions> for MailboxActor {
    type Result = ResponseFuture<Result<usize, StoreError>>;

    fn handle(
        &mut self,
        CommitDeletions {
            user,
            messages,
            session,
        }: CommitDeletions,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            let asked = Cell::new(0_u32);
            let delete = async || {
                asked.set(asked.get() + 1);
                mailbox.store.delete(user, &messages, &session).await
            };
            let mut deleted = mailbox.ask("committing deletions", delete).await?;
            if asked.get() > 1 {
                // The first time may have deleted them, before its connection broke.
                deleted = messages.len();
            }
            mailbox.metrics.messages_deleted(deleted);
            Ok(deleted)
        })
    }
}
