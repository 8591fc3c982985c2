//! Asking a database that may be restarted, or hang.

use std::time::Duration;

use super::StoreError;
use super::database::POSTGRES_CONNECTIONS;

/// How often a question is asked when the connection to the database breaks: after a restart of the
/// database, all connections of the pool may be dead.
const ATTEMPTS: u32 = POSTGRES_CONNECTIONS + 1;

/// How long the store may take to answer. A database that hangs is not to keep sessions for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, asking).await;
    answer.unwrap_or(Err(StoreError::TimedOut(ANSWER_TIMEOUT)))
}
