//! Tells the supervisor of a server whether it is alive.

use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;

use crate::registry::{Count, RegistryActor};
use crate::supervision::Supervised;

/// Probes whether a server is alive, also while it stops.
#[derive(Debug, Clone)]
pub struct Liveness {
    pub(super) registry: Supervised<RegistryActor>,
    pub(super) threads: Vec<ArbiterHandle>,
}

impl Liveness {
    /// Returns the number of sessions once the registry and every thread of sessions have answered.
    ///
    /// Never resolves if a thread hangs: use a timeout.
    pub async fn probe(&self) -> Option<usize> {
        let sessions = self.registry.ask(|| Count).await.ok()?;
        for thread in &self.threads {
            let (answer, answered) = oneshot::channel();
            // The caller may have given up meanwhile.
            thread.spawn_fn(move || {
                let _ = answer.send(());
            });
            answered.await.ok()?;
        }
        Some(sessions)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use actix_rt::Arbiter;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::Metrics;
    use crate::registry::{AdmissionLimits, Table};
    use crate::settings::{Live, Pop3Settings};

    #[actix_rt::test]
    async fn a_probe_is_not_answered_while_a_thread_of_sessions_hangs() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let limits = AdmissionLimits::from(&Pop3Settings::default());
        let table = Table::new(Live::fixed(limits), 0, Arc::clone(&metrics));
        let stop = CancellationToken::new();
        let build = move || RegistryActor::new(table.clone());
        let here = Arbiter::current();
        let registry = Supervised::spawn("registry", &here, metrics, stop.clone(), build);
        let threads = [Arbiter::new(), Arbiter::new()];
        let pulse = Liveness {
            registry,
            threads: threads.iter().map(Arbiter::handle).collect(),
        };
        assert_eq!(pulse.probe().await, Some(0));

        let (release, released) = mpsc::channel::<()>();
        threads[1].spawn_fn(move || {
            let _ = released.recv();
        });
        let waited = tokio::time::timeout(Duration::from_millis(50), pulse.probe()).await;
        assert!(waited.is_err());
        drop(release);
        assert_eq!(pulse.probe().await, Some(0));
        stop.cancel();
    }
}
