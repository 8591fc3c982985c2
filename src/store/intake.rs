//! Lets deliveries that are ready at the same time share one commit.
//!
//! A durable commit waits for the disk, however little it writes. So whoever comes while one is
//! under way waits for its end, and the first of those then stores the letters of all: nobody
//! waits for a timer, and one delivery alone waits for nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::DbErr;
use tokio::sync::oneshot;

use super::{Database, Letter, Outcome, StoreError, ask};

/// How many letters share one commit at most.
const LETTERS_AT_ONCE: usize = 64;

/// What becomes of one letter: an outcome for each recipient, or why nothing was stored.
type Answer = Result<Vec<Outcome>, Arc<StoreError>>;

/// Where deliveries meet.
#[derive(Debug, Clone)]
pub struct Intake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    database: Database,
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever is storing.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    letter: Letter,
    answer: oneshot::Sender<Answer>,
}

impl Intake {
    /// Stores letters in this database.
    pub fn new(database: Database) -> Self {
        Self(Arc::new(Shared {
            database,
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Gives a letter to its recipients; tells what became of each copy, in their order.
    ///
    /// It goes on when nobody waits for the answer any more.
    ///
    /// # Errors
    /// If the database refuses; then nothing of this letter is stored, unless the connection broke
    /// while it was being committed.
    pub async fn deliver(&self, letter: Letter) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.0.waiting().push(Waiting { letter, answer });
        let shared = Arc::clone(&self.0);
        actix_rt::spawn(async move { shared.store_what_waits().await });
        let lost = |_| StoreError::Corrupt("the delivery ended without an answer".into());
        answered
            .await
            .unwrap_or_else(|error| Err(Arc::new(lost(error))))
    }
}

impl Shared {
    /// Stores the letters that wait by the time that it is this one's turn. Every letter has a call
    /// of its own behind it, so none is left.
    async fn store_what_waits(&self) {
        let _turn = self.turn.lock().await;
        let together = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(LETTERS_AT_ONCE);
            waiting.drain(..count).collect::<Vec<_>>()
        };
        if together.is_empty() {
            return;
        }
        let (letters, answers): (Vec<Letter>, Vec<_>) =
            together.into_iter().map(|w| (w.letter, w.answer)).unzip();
        let outcomes = self.store(&letters).await;
        for ((letter, answer), outcomes) in letters.into_iter().zip(answers).zip(outcomes) {
            if outcomes.is_err() {
                self.abandon(letter);
            }
            // Whoever has gone does not need it.
            let _ = answer.send(outcomes);
        }
    }

    /// Removes what a large letter has in the database already; nobody waits for that.
    fn abandon(&self, letter: Letter) {
        let database = self.database.clone();
        actix_rt::spawn(async move {
            if let Err(error) = database.abandon(&letter.message).await {
                tracing::debug!(error = %error, "a broken delivery is left to expire");
            }
        });
    }

    async fn store(&self, letters: &[Letter]) -> Vec<Answer> {
        match self.try_to_store(letters).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if letters.len() > 1 && is_of_one_letter(&error) => {
                self.store_each(letters).await
            }
            Err(error) => {
                let error = Arc::new(error);
                letters.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
        }
    }

    /// Stores letters one by one, as long as only some of them are at fault.
    async fn store_each(&self, letters: &[Letter]) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(letters.len());
        for letter in letters {
            if let [Err(error), Err(_)] = answers.as_slice() {
                // The first two have failed, so it is the database: the others need not wait for it.
                let error = Arc::clone(error);
                answers.resize_with(letters.len(), || Err(Arc::clone(&error)));
                break;
            }
            let outcomes = self.try_to_store(std::slice::from_ref(letter)).await;
            let outcomes = outcomes.map(|mut one| one.pop().unwrap_or_default());
            answers.push(outcomes.map_err(Arc::new));
        }
        answers
    }

    async fn try_to_store(&self, letters: &[Letter]) -> Result<Vec<Vec<Outcome>>, StoreError> {
        // What broke before its commit has stored nothing, and may be tried again.
        let deliver = async || self.database.deliver(letters).await;
        ask("delivering mail", deliver).await
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing that holds the lock can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// May it be the fault of a single letter, so that the others can be stored without it?
fn is_of_one_letter(error: &StoreError) -> bool {
    match error {
        StoreError::DeliveryExpired | StoreError::NoContent(_) | StoreError::Corrupt(_) => true,
        StoreError::Uncommitted(_) | StoreError::TimedOut(_) | StoreError::ImportedMeanwhile => {
            false
        }
        StoreError::Database(DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) => false,
        StoreError::Database(_) => !error.is_broken_connection(),
    }
}
