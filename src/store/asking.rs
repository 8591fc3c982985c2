//! Asking a database that may be restarted, or hang.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use super::StoreError;
use super::database::POSTGRES_CONNECTIONS;

/// How often a question is asked when the connection to the database breaks: after a restart of the
/// database, all connections of the pool may be dead.
const ATTEMPTS: u32 = POSTGRES_CONNECTIONS + 1;

/// How long the store may take to answer. A database that hangs is not to keep sessions for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// Whether the question that is being asked is in the middle of a commit.
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

/// Asks, again if the connection to the database broke: so the question must be one that may be
/// asked twice.
///
/// # Errors
/// What the last attempt says, or that there was no answer in time.
pub(crate) async fn ask<T>(
    while_doing: &str,
    question: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let asking = async {
        let mut broken = None;
        for _ in 1..ATTEMPTS {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_broken_connection() => {
                    tracing::warn!(error = %error, "asking again while {while_doing}");
                    broken = Some(error);
                }
                // Whether a broken attempt was the one that did it, nobody knows.
                Err(error) => return Err(broken.unwrap_or(error)),
            }
        }
        question().await.map_err(|error| broken.unwrap_or(error))
    };
    in_time(ANSWER_TIMEOUT, asking).await
}

async fn in_time<T>(
    timeout: Duration,
    asking: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let waiting = async {
        let mut asking = pin!(asking);
        match tokio::time::timeout(timeout, &mut asking).await {
            Ok(answer) => answer,
            Err(_) if COMMITTING.with(Cell::get) => asking.await,
            Err(_) => Err(StoreError::TimedOut(timeout)),
        }
    };
    COMMITTING.scope(Cell::new(false), waiting).await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    #[actix_rt::test]
    async fn a_question_that_takes_too_long_is_given_up() {
        let never = in_time::<()>(Duration::ZERO, pending()).await;
        assert!(matches!(never, Err(StoreError::TimedOut(_))), "{never:?}");
        let after_a_commit = async {
            committing(std::future::ready(())).await;
            pending().await
        };
        let never = in_time::<()>(Duration::ZERO, after_a_commit).await;
        assert!(matches!(never, Err(StoreError::TimedOut(_))), "{never:?}");
    }

    #[actix_rt::test]
    async fn a_commit_that_has_begun_is_waited_for_however_long_it_takes() {
        let (done, is_done) = oneshot::channel();
        let question = async { Ok(committing(is_done).await.unwrap()) };
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
}
