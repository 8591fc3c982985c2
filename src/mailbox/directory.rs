//! Users and keys, for operators.

use std::sync::Arc;

use super::{MailService, Query};
use crate::accounts::AccountError;
use crate::store::{Directory, StoreError, ask_once};

/// Asks or changes something about users and keys.
pub(crate) struct InDirectory<F>(pub F);

impl<F, T> Query for InDirectory<F>
where
    F: AsyncFnOnce(&dyn Directory) -> Result<T, AccountError> + Send + 'static,
    T: Send + 'static,
{
    type Answer = Result<T, AccountError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        let answer = ask_once(self.0(&*service.store.directory)).await;
        if let Err(AccountError::Database(cause)) = answer {
            let fault = StoreError::Database(cause);
            service.note_fault("asking for users and keys", &fault);
            return Err(fault.into());
        }
        answer
    }
}
