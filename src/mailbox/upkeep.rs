//! Periodic upkeep, and the condition of the store.

use std::sync::Arc;

use super::{MailService, Query};
use crate::store::{Condition, GcReport, StoreError, ask_once};

/// Removes what no session can read any more, and what has expired.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CollectGarbage;

impl Query for CollectGarbage {
    type Answer = ();

    async fn run(self, service: Arc<MailService>) {
        match service.store.upkeep.collect_garbage().await {
            Ok(collected) if collected == GcReport::default() => {}
            Ok(GcReport {
                removed,
                broken_deliveries,
                expired,
            }) => {
                if expired > 0 {
                    service.metrics.messages_expired(expired);
                }
                tracing::debug!(removed, broken_deliveries, "garbage collection finished");
            }
            Err(error) => service.note_fault("collecting garbage", &error),
        }
    }
}

/// Records when keys were used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoteKeyUse;

impl Query for NoteKeyUse {
    type Answer = ();

    async fn run(self, service: Arc<MailService>) {
        let used = std::mem::take(&mut service.memory().used_keys);
        if used.is_empty() {
            return;
        }
        let ages = used.iter().map(|(key, at)| (*key, at.elapsed())).collect();
        if let Err(error) = ask_once(service.store.mail.note_key_use(&ages)).await {
            service.note_fault("noting when keys were used", &error);
            let mut memory = service.memory();
            for (key, at) in used {
                memory.used_keys.entry(key).or_insert(at);
            }
        }
    }
}

/// Finds out whether the store can be read and written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckStore;

impl Query for CheckStore {
    type Answer = Result<(), StoreError>;

    async fn run(self, service: Arc<MailService>) -> Self::Answer {
        ask_once(service.store.upkeep.ping()).await
    }
}

/// Finds out what an operator should see to although the store answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreCondition;

impl Query for StoreCondition {
    type Answer = Condition;

    async fn run(self, service: Arc<MailService>) -> Condition {
        service.store.upkeep.condition().await
    }
}
