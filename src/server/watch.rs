//! The state of the database, as the metrics export it.

use crate::metrics::{Observables, PoolSample};
use crate::store::{ClockGuard, ClockVerdict, Database};

/// Exports whether the clock of the database is trusted.
pub(super) fn watch_clock(observables: &Observables, guard: ClockGuard) {
    observables.clock(move || guard.verdict() == ClockVerdict::Right);
}

/// Exports the pools of the database, its disk and its damage.
pub(super) fn watch_database(observables: &Observables, database: &Database) {
    let pools = database.clone();
    observables.pools(move || {
        pools.pool_use().map(|it| PoolSample {
            pool: it.pool,
            used: it.used,
            idle: it.idle,
            waiting: it.waiting,
            waited: it.waited,
        })
    });
    let [free, needed, wal, damage] = std::array::from_fn(|_| database.clone());
    observables.disk_free(move || Some(free.disk()?.free));
    observables.disk_needed(move || Some(needed.disk()?.min_free));
    observables.wal(move || wal.log_octets());
    observables.damage(move || damage.is_damaged());
}
