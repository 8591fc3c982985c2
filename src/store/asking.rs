//! Asking a database that may be restarted, or hang, or serve others first.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use super::StoreError;
use super::postgres::suspect_connections;
use crate::accounts::AccountError;
use crate::identity::random;

/// Maximum number of attempts: again when the connection to the database breaks, or when the
/// database aborts the transaction in favour of another.
const ATTEMPTS: u32 = 6;

/// Timeout of the store. A database that hangs must not keep sessions waiting without an end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// True if the question that is being asked is in the middle of a commit.
    static COMMITTING: Cell<bool>;
}

/// Waits for a commit whose outcome will be known: the question that it belongs to does not time
/// out meanwhile. Nobody can take a commit back that was given up too early.
pub(super) async fn committing<T>(commit: impl Future<Output = T>) -> T {
    // Outside of a question nothing times out.
    let set = |begun| COMMITTING.try_with(|it| it.set(begun)).ok();
    set(true);
    let committed = commit.await;
    set(false);
    committed
}

/// The first pause before a transaction is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Maximum number of times that the pause doubles.
const DOUBLINGS: u32 = 5;

/// Asks, again if the connection to the database broke, or if it chose this transaction to give way
/// to others: so the question must be one that may be asked twice.
///
/// # Errors
/// The error of the last attempt, or that there was no answer in time.
pub(crate) async fn ask<T>(
    while_doing: &str,
    question: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let asking = async {
        let mut broken = None;
        for attempt in 1..ATTEMPTS {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_broken_connection() => {
                    // After a restart of the database, the others of the pool are dead too.
                    suspect_connections();
                    tracing::warn!(error = %error, "asking again while {while_doing}");
                    broken = Some(error);
                }
                Err(error) if error.is_conflict() => wait_after(&error, attempt).await,
                // It is unknown whether the broken attempt was the one that did it.
                Err(error) => return Err(broken.unwrap_or(error)),
            }
        }
        question().await.map_err(|error| broken.unwrap_or(error))
    };
    in_time(ANSWER_TIMEOUT, asking).await
}

/// Asks once. The answer is waited for no longer than that to a question that may be repeated.
///
/// # Errors
/// The error of the question, or that there was no answer in time.
pub(crate) async fn ask_once<T, E: From<StoreError>>(
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    in_time(ANSWER_TIMEOUT, question).await
}

async fn in_time<T, E: From<StoreError>>(
    timeout: Duration,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let waiting = async {
        let mut asking = pin!(asking);
        match tokio::time::timeout(timeout, &mut asking).await {
            Ok(answer) => answer,
            Err(_) if COMMITTING.with(Cell::get) => asking.await,
            Err(_) => {
                // Its server may have vanished, and nobody would notice for long.
                suspect_connections();
                Err(StoreError::TimedOut(timeout).into())
            }
        }
    };
    COMMITTING.scope(Cell::new(false), waiting).await
}

/// Runs a transaction, again if the database chose it to give way to others: then nothing of it was
/// done.
///
/// # Errors
/// The error of the last attempt.
pub(crate) async fn repeat<T, E: MayConflict, F: Future<Output = Result<T, E>>>(
    transaction: impl Fn() -> F,
) -> Result<T, E> {
    for attempt in 1..ATTEMPTS {
        match transaction().await {
            Err(error) if error.is_conflict() => wait_after(&error, attempt).await,
            done => return done,
        }
    }
    transaction().await
}

/// An error of a transaction.
pub(crate) trait MayConflict: std::fmt::Display {
    /// Did the database break the transaction off for the sake of others: by a deadlock, or since
    /// they can't be put in an order?
    fn is_conflict(&self) -> bool;
}

impl MayConflict for StoreError {
    fn is_conflict(&self) -> bool {
        Self::is_conflict(self)
    }
}

impl MayConflict for AccountError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if super::error::is_conflict(error))
    }
}

async fn wait_after(error: &impl std::fmt::Display, attempt: u32) {
    tracing::debug!(%error, attempt, "a transaction gave way to others, and is tried again");
    tokio::time::sleep(pause_before(attempt)).await;
}

/// Returns a random pause before another attempt, so that colliding attempts do not collide again.
pub(super) fn pause_before(attempt: u32) -> Duration {
    let pause = FIRST_PAUSE * 2_u32.pow(attempt.min(DOUBLINGS));
    let part = f64::from(u16::from_ne_bytes(random())) / f64::from(u16::MAX);
    pause.mul_f64(0.5 + part)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    #[actix_rt::test]
    async fn a_question_that_takes_too_long_is_given_up() {
        let never = in_time::<(), StoreError>(Duration::ZERO, pending()).await;
        assert!(matches!(never, Err(StoreError::TimedOut(_))), "{never:?}");
        let after_a_commit = async {
            committing(std::future::ready(())).await;
            pending().await
        };
        let never = in_time::<(), StoreError>(Duration::ZERO, after_a_commit).await;
        assert!(matches!(never, Err(StoreError::TimedOut(_))), "{never:?}");
    }

    #[actix_rt::test]
    async fn a_commit_that_has_begun_is_waited_for_however_long_it_takes() {
        let (done, is_done) = oneshot::channel();
        let question = async { Ok::<_, StoreError>(committing(is_done).await.unwrap()) };
        let mut answer = pin!(in_time(Duration::ZERO, question));
        for _ in 0..3 {
            let polled = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_pending()));
            assert!(polled.await);
            // More than its time.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        done.send("committed").unwrap();
        assert_eq!(answer.await.unwrap(), "committed");
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        for attempt in [0, 1, 2, 5, 1000, u32::MAX] {
            let middle = FIRST_PAUSE * 2_u32.pow(attempt.min(5));
            for _ in 0..100 {
                let pause = pause_before(attempt);
                assert!(pause >= middle / 2 && pause <= middle * 3 / 2, "{pause:?}");
            }
        }
    }
}
