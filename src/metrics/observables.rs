//! Series that are read each time they are exported.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// Series whose values others know. They are given as functions, so that no part is known here.
#[derive(Debug)]
pub(crate) struct Observables(Meter);

/// The use of one pool of database connections at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolSample {
    /// The name of the pool.
    pub(crate) pool: &'static str,
    /// Connections in use.
    pub(crate) used: u64,
    /// Idle connections.
    pub(crate) idle: u64,
    /// Callers that wait for a connection.
    pub(crate) waiting: u64,
    /// The time that all callers have waited.
    pub(crate) waited: Duration,
}

impl Observables {
    pub(super) fn new(meter: Meter) -> Self {
        Self(meter)
    }

    /// Exports the use of the pools of database connections.
    pub(crate) fn pools<const N: usize>(
        &self,
        pools: impl Fn() -> [PoolSample; N] + Clone + Send + Sync + 'static,
    ) {
        let name = |sample: &PoolSample| KeyValue::new("pool", sample.pool);
        let connections = pools.clone();
        self.0
            .u64_observable_gauge("restante.database.connections")
            .with_description("Connections to the database, by pool and whether they are in use")
            .with_callback(move |observer| {
                for it in connections() {
                    for (state, number) in [("used", it.used), ("idle", it.idle)] {
                        observer.observe(number, &[name(&it), KeyValue::new("state", state)]);
                    }
                }
            })
            .build();
        let waiting = pools.clone();
        self.0
            .u64_observable_gauge("restante.database.waiting")
            .with_description("Callers that wait for a connection to the database, by pool")
            .with_callback(move |observer| {
                for it in waiting() {
                    observer.observe(it.waiting, &[name(&it)]);
                }
            })
            .build();
        self.0
            .f64_observable_counter("restante.database.wait.seconds")
            .with_description("Time that all callers have waited for a connection, by pool")
            .with_callback(move |observer| {
                for it in pools() {
                    observer.observe(it.waited.as_secs_f64(), &[name(&it)]);
                }
            })
            .build();
    }

    /// Exports whether the clock of the database is trusted.
    pub(crate) fn clock(&self, is_trusted: impl Fn() -> bool + Send + Sync + 'static) {
        self.gauge(
            "restante.clock.right",
            "1 while the clock of the database is trusted, 0 after it has jumped",
            move || Some(u64::from(is_trusted())),
        );
    }

    /// Exports the free octets of the database's disk.
    pub(crate) fn disk_free(&self, octets: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        self.gauge(
            "restante.database.disk.free.bytes",
            "Octets that are free on the disk of SQLite's file",
            octets,
        );
    }

    /// Exports the octets that must be free on the database's disk.
    pub(crate) fn disk_needed(&self, octets: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        self.gauge(
            "restante.database.disk.needed.bytes",
            "Octets that must be free there for mail to be accepted",
            octets,
        );
    }

    /// Exports the size of SQLite's write-ahead log.
    pub(crate) fn wal(&self, octets: impl Fn() -> Option<u64> + Send + Sync + 'static) {
        self.gauge(
            "restante.database.wal.bytes",
            "Octets of the file of SQLite's write-ahead log",
            octets,
        );
    }

    /// Exports whether the database is damaged.
    pub(crate) fn damage(&self, is_damaged: impl Fn() -> bool + Send + Sync + 'static) {
        self.gauge(
            "restante.database.damaged",
            "1 if damage was found in the database since the start",
            move || Some(u64::from(is_damaged())),
        );
    }

    /// Exports the number of lines of the log that were dropped.
    pub(crate) fn log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        self.0
            .u64_observable_counter("restante.log.lines.dropped")
            .with_description("Lines of the log that were dropped because nobody read stderr")
            .with_callback(move |observer| observer.observe(dropped(), &[]))
            .build();
    }

    fn gauge(
        &self,
        name: &'static str,
        what: &'static str,
        value: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) {
        self.0
            .u64_observable_gauge(name)
            .with_description(what)
            .with_callback(move |observer| {
                if let Some(value) = value() {
                    observer.observe(value, &[]);
                }
            })
            .build();
    }
}
