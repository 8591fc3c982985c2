//! Group commit: deliveries that arrive during a commit share the next one.
//!
//! A durable commit waits for the disk, however little it writes. There is no timer, and a delivery
//! that comes alone waits for nothing.
//!
//! That commit waits for no maildrop. Copies for those that another transaction has locked are left
//! out of it, tried again twice with others, and then wait on their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::oneshot;

use super::deliver::{DELIVERY_LOCK_TIMEOUT, Sending, Sent};
use super::{ContentId, Database, Delivery, Outcome, StoreError, UserId, ask};

/// Maximum number of deliveries that share one commit.
const DELIVERIES_PER_COMMIT: usize = 64;

/// When the copies for locked maildrops are tried again with others. Most locks are those of
/// another server's deliveries, and last for a moment.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];

/// Minimum wait of a copy that comes after others which have waited in vain.
const MIN_LOCK_TIMEOUT: Duration = Duration::from_millis(50);

/// The result of a delivery of which copies may be stored.
#[derive(Debug, Clone)]
#[must_use]
pub struct Delivered {
    /// The outcome of each recipient's copy, in their order.
    pub outcomes: Vec<Outcome>,
    /// The error for which the last copies were not stored: those with [`Outcome::Failed`].
    pub fault: Option<Arc<StoreError>>,
}

/// The result of a delivery, or the error if nothing was stored.
type Answer = Result<Delivered, Arc<StoreError>>;

/// The queue of group commit.
#[derive(Debug, Clone)]
pub struct Intake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    database: Database,
    waiting: Mutex<Vec<Waiting>>,
    /// Held while deliveries are stored.
    turn: tokio::sync::Mutex<()>,
}

/// A delivery that is to be stored with others.
#[derive(Debug)]
struct Waiting {
    delivery: Arc<Delivery>,
    /// For which of its recipients, by their places.
    recipients: Vec<usize>,
    /// What the copies of the others share, if there are any.
    content: Option<ContentId>,
    answer: oneshot::Sender<Result<Sent, Arc<StoreError>>>,
}

/// The progress of a delivery.
struct Progress {
    delivery: Arc<Delivery>,
    outcomes: Vec<Outcome>,
    fault: Option<Arc<StoreError>>,
    content: Option<ContentId>,
}

impl Intake {
    /// Stores deliveries in this database.
    pub fn new(database: Database) -> Self {
        Self(Arc::new(Shared {
            database,
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// The database that it stores in.
    pub(super) fn database(&self) -> &Database {
        &self.0.database
    }

    /// Gives a delivery to its recipients; tells what became of each copy, in their order.
    ///
    /// The delivery goes on if the caller stops waiting.
    ///
    /// # Errors
    /// If the database refuses; then nothing of this delivery is stored, unless the connection broke
    /// while it was being committed.
    pub async fn deliver(&self, delivery: Delivery) -> Answer {
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        actix_rt::spawn(async move {
            // A caller that has gone does not need it.
            let _ = answer.send(shared.deliver(delivery).await);
        });
        answered.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Shared {
    async fn deliver(self: Arc<Self>, delivery: Delivery) -> Answer {
        let delivery = Arc::new(delivery);
        let mut progress = Progress::new(Arc::clone(&delivery));
        let done = self.store_all(&mut progress).await;
        let Progress {
            outcomes, fault, ..
        } = progress;
        if !outcomes.contains(&Outcome::Stored) {
            self.abandon(delivery);
        }
        done.map(|()| Delivered { outcomes, fault })
    }

    /// Stores the copies of a delivery: all that can be stored at once, and then the others.
    ///
    /// # Errors
    /// Why none is stored.
    async fn store_all(self: &Arc<Self>, progress: &mut Progress) -> Result<(), Arc<StoreError>> {
        self.store_unlocked(progress).await?;
        for pause in AGAIN_AFTER {
            if progress.locked().is_empty() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            if let Err(error) = self.store_unlocked(progress).await {
                return progress.fail(error);
            }
        }
        self.wait_for_locked(progress).await
    }

    /// Stores the copies for those maildrops that nobody else has locked, together with the
    /// deliveries of others.
    async fn store_unlocked(
        self: &Arc<Self>,
        progress: &mut Progress,
    ) -> Result<(), Arc<StoreError>> {
        let recipients = progress.locked();
        let (answer, answered) = oneshot::channel();
        self.waiting().push(Waiting {
            delivery: Arc::clone(&progress.delivery),
            recipients: recipients.clone(),
            content: progress.content,
            answer,
        });
        // A task of its own: the answer may come from another's turn, before this one's.
        let shared = Arc::clone(self);
        actix_rt::spawn(async move { shared.store_what_waits().await });
        let sent = answered.await.unwrap_or_else(|_| Err(lost()))?;
        progress.note(&recipients, sent);
        Ok(())
    }

    /// Waits for the maildrops that others have locked, one after the other, and stores the copies
    /// for them.
    async fn wait_for_locked(&self, progress: &mut Progress) -> Result<(), Arc<StoreError>> {
        let until = Instant::now() + DELIVERY_LOCK_TIMEOUT;
        let delivery = Arc::clone(&progress.delivery);
        for (user, recipients) in progress.locked_by_user() {
            let sending = Sending::part(&delivery, recipients.clone(), progress.content);
            let store = async || {
                let left = until.saturating_duration_since(Instant::now());
                let lock_timeout = left.max(MIN_LOCK_TIMEOUT);
                self.database.send_to(user, lock_timeout, &sending).await
            };
            match ask("delivering mail", store).await {
                Ok(sent) => progress.note(&recipients, sent),
                Err(error) => return progress.fail(Arc::new(error)),
            }
        }
        Ok(())
    }

    /// Stores the deliveries that wait by the time that it is this one's turn. Every delivery has a call
    /// of its own behind it, so none is left.
    async fn store_what_waits(&self) {
        let _turn = self.turn.lock().await;
        let together = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(DELIVERIES_PER_COMMIT);
            waiting.drain(..count).collect::<Vec<_>>()
        };
        if together.is_empty() {
            return;
        }
        let sendings: Vec<Sending<'_>> = together.iter().map(Waiting::sending).collect();
        let all_sent = self.store(&sendings).await;
        for (waiting, sent) in together.into_iter().zip(all_sent) {
            // A caller that has gone does not need it.
            let _ = waiting.answer.send(sent);
        }
    }

    /// Removes the stored part of a large delivery without a recipient, in the background.
    fn abandon(&self, delivery: Arc<Delivery>) {
        if delivery.message.written().is_none() {
            return;
        }
        let database = self.database.clone();
        actix_rt::spawn(async move {
            if let Err(error) = database.abandon(&delivery.message).await {
                tracing::debug!(error = %error, "a broken delivery is left to expire");
            }
        });
    }

    async fn store(&self, sendings: &[Sending<'_>]) -> Vec<Result<Sent, Arc<StoreError>>> {
        match self.try_to_store(sendings).await {
            Ok(sent) => sent.into_iter().map(Ok).collect(),
            Err(error) if sendings.len() > 1 && is_of_one_delivery(&error) => {
                self.store_each(sendings).await
            }
            Err(error) => {
                let error = Arc::new(error);
                sendings.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
        }
    }

    /// Stores deliveries one by one, as long as only some of them are at fault.
    async fn store_each(&self, sendings: &[Sending<'_>]) -> Vec<Result<Sent, Arc<StoreError>>> {
        let mut answers: Vec<Result<Sent, Arc<StoreError>>> = Vec::with_capacity(sendings.len());
        for sending in sendings {
            if let [Err(error), Err(_)] = answers.as_slice() {
                // The first two have failed, so it is the database: the others need not wait for it.
                let error = Arc::clone(error);
                answers.resize_with(sendings.len(), || Err(Arc::clone(&error)));
                break;
            }
            let sent = self.try_to_store(std::slice::from_ref(sending)).await;
            let sent = sent.map(|mut one| one.pop().unwrap_or_default());
            answers.push(sent.map_err(Arc::new));
        }
        answers
    }

    async fn try_to_store(&self, sendings: &[Sending<'_>]) -> Result<Vec<Sent>, StoreError> {
        // An attempt that broke before its commit has stored nothing, and may be repeated.
        let send = async || self.database.send(sendings).await;
        ask("delivering mail", send).await
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing that holds the lock can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn sending(&self) -> Sending<'_> {
        Sending::part(&self.delivery, self.recipients.clone(), self.content)
    }
}

impl Progress {
    /// Returns a delivery of which no copy is stored yet.
    fn new(delivery: Arc<Delivery>) -> Self {
        Self {
            outcomes: vec![Outcome::Locked; delivery.recipients.len()],
            fault: None,
            content: None,
            delivery,
        }
    }

    /// The recipients whose copies are not decided yet, by their places.
    fn locked(&self) -> Vec<usize> {
        let outcomes = self.outcomes.iter().enumerate();
        let locked = outcomes.filter(|(_, outcome)| **outcome == Outcome::Locked);
        locked.map(|(at, _)| at).collect()
    }

    /// The same for each user, some of whom may be named twice.
    fn locked_by_user(&self) -> BTreeMap<UserId, Vec<usize>> {
        let mut by_user = BTreeMap::<UserId, Vec<usize>>::new();
        for at in self.locked() {
            if let Some(recipient) = self.delivery.recipients.get(at) {
                by_user.entry(recipient.user).or_default().push(at);
            }
        }
        by_user
    }

    /// Notes what became of these recipients' copies.
    fn note(&mut self, recipients: &[usize], sent: Sent) {
        for (at, outcome) in recipients.iter().zip(sent.outcomes) {
            if let Some(noted) = self.outcomes.get_mut(*at) {
                *noted = outcome;
            }
        }
        self.content = sent.content;
    }

    /// The database has failed. What is stored stays so, and only the others are told.
    fn fail(&mut self, error: Arc<StoreError>) -> Result<(), Arc<StoreError>> {
        if !self.outcomes.contains(&Outcome::Stored) {
            return Err(error);
        }
        for at in self.locked() {
            if let Some(noted) = self.outcomes.get_mut(at) {
                *noted = Outcome::Failed;
            }
        }
        self.fault = Some(error);
        Ok(())
    }
}

fn lost() -> Arc<StoreError> {
    let lost = "the delivery ended without an answer";
    Arc::new(StoreError::Corrupt(lost.into()))
}

/// May it be the fault of a single delivery, so that the others can be stored without it?
fn is_of_one_delivery(error: &StoreError) -> bool {
    match error {
        StoreError::DeliveryExpired
        | StoreError::Gone
        | StoreError::NoSuchUser
        | StoreError::Unsupported
        | StoreError::Other(_)
        | StoreError::Corrupt(_) => true,
        StoreError::Uncommitted(_)
        | StoreError::TimedOut(_)
        | StoreError::Locked
        | StoreError::ImportedMeanwhile => false,
        StoreError::Database(DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) => false,
        StoreError::Database(_) => {
            !error.is_broken_connection()
                && !error.is_conflict()
                && !error.is_lock_timeout()
                && !error.is_statement_timeout()
        }
    }
}
