//! The parts of a server that are made before it starts.

use std::path::PathBuf;
use std::sync::Arc;

use super::watch;
use crate::admin::{Endpoint, HealthListener};
use crate::identity::new_name;
use crate::metrics::Metrics;
use crate::net::ListeningSocket;
use crate::settings::Config;
use crate::store::relate::RelateStore;
use crate::store::{Database, Retention, SqlStore, Store};
use crate::tls::Tls;

/// The parts of a server that are made before it starts.
pub struct Parts {
    /// Its metrics and certificates.
    pub preloaded: Preloaded,
    /// Mail, users and keys.
    pub store: Store,
    /// The sockets for POP3.
    pub pop3: Vec<ListeningSocket>,
    /// The sockets for LMTP; none if it is off.
    pub lmtp: Vec<ListeningSocket>,
    /// The admin endpoint, unless it is off.
    pub admin: Option<Endpoint>,
    /// The listener for health checks alone, unless it is off.
    pub health: Option<HealthListener>,
}

/// The parts that may need root's rights to be read: the certificates.
pub struct Preloaded {
    pub(super) metrics: Arc<Metrics>,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Parts {
    /// Collects the parts of a server that speaks nothing but POP3.
    pub fn of_pop3(preloaded: Preloaded, store: Store, pop3: Vec<ListeningSocket>) -> Self {
        Self {
            preloaded,
            store,
            pop3,
            lmtp: Vec::new(),
            admin: None,
            health: None,
        }
    }
}

impl Preloaded {
    /// Reads the certificates and their keys.
    ///
    /// # Errors
    /// If a certificate can't be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::exporting_to(config.otel.endpoint.as_deref())?);
        let tls = if config.pop3.enabled {
            Tls::load(&config.pop3, Arc::clone(&metrics))?.map(Arc::new)
        } else {
            None
        };
        Ok(Self { metrics, tls })
    }

    /// Returns the files that hold the keys of the certificates.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let tls = self.tls.as_ref();
        tls.map(|tls| tls.key_files()).unwrap_or_default()
    }

    /// Returns the store in this database, with its metrics and its upkeep.
    pub fn store_in(&self, database: Database, config: &Config) -> Store {
        watch::watch_database(self.metrics.observables(), &database);
        database.set_min_free_space(config.database.min_free_space);
        database.maintain();
        let store = SqlStore::new(database, new_name()).with_retention(Retention {
            deleted: config.pop3.deleted_retention,
            expire_after: config.pop3.expire_after.duration(),
        });
        watch::watch_clock(self.metrics.observables(), store.clock_guard());
        store.into()
    }

    /// Returns the store of a database of Relate Mail, with its metrics.
    pub(crate) fn relate_store(&self, store: RelateStore) -> Store {
        watch::watch_database(self.metrics.observables(), store.database());
        store.into()
    }
}
