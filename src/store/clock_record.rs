//! What is written down of the database's clock, and of the machine that looked at it.

use sea_orm::{ConnectionTrait, DbErr};

use super::database::statement;
use super::{Database, StoreError, repeat};

/// Tells the boots of Linux machines apart.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Tells machines apart, where that can't be read.
const MACHINE_ID: &str = "/etc/machine-id";

/// When the clock of the database was last found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockRecord {
    /// What it said then, in milliseconds since 1970.
    pub right_at_ms: i64,
    /// By how much it has jumped since; 0 if it has not.
    pub jumped_by_ms: i64,
    /// Where it was found right.
    machine: Machine,
}

/// A machine since its last boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// Another after each boot.
    pub(super) boot: String,
    /// How long ago that was. Nobody can set this, and it goes on while the machine sleeps.
    pub(super) since_boot_ms: i64,
}

impl Machine {
    /// This one, now.
    pub(super) fn here() -> Self {
        let read = |file| std::fs::read_to_string(file).ok();
        let boot = read(BOOT_ID).or_else(|| read(MACHINE_ID));
        Self {
            boot: boot.unwrap_or_default().trim().to_owned(),
            since_boot_ms: since_boot_ms(),
        }
    }
}

fn since_boot_ms() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let since = rustix::time::clock_gettime(clock);
    since.tv_sec * 1000 + since.tv_nsec / 1_000_000
}

impl ClockRecord {
    /// The clock is right now.
    pub(super) fn right(now_ms: i64, machine: &Machine) -> Self {
        Self {
            right_at_ms: now_ms,
            jumped_by_ms: 0,
            machine: machine.clone(),
        }
    }

    /// How far the clock was ahead of this machine's time since boot; none if it was found right on
    /// another, or before this one was booted.
    pub(super) fn ahead_ms_on(&self, machine: &Machine) -> Option<i64> {
        let is_same = !machine.boot.is_empty()
            && self.machine.boot == machine.boot
            && self.machine.since_boot_ms <= machine.since_boot_ms;
        is_same.then(|| self.right_at_ms - self.machine.since_boot_ms)
    }
}

impl Database {
    /// What is written down of the clock; none if nobody has looked at it yet.
    ///
    /// # Errors
    /// If the database can't say.
    pub async fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError> {
        const RECORD: &str =
            "SELECT right_at_ms, jumped_by_ms, boot_id, uptime_ms FROM clock_checks";
        let read = self.read();
        let row = read.query_one_raw(statement(read, RECORD, [])).await?;
        let record = |row: sea_orm::QueryResult| {
            Ok::<_, DbErr>(ClockRecord {
                right_at_ms: row.try_get_by_index(0)?,
                jumped_by_ms: row.try_get_by_index(1)?,
                machine: Machine {
                    boot: row.try_get_by_index(2)?,
                    since_boot_ms: row.try_get_by_index(3)?,
                },
            })
        };
        Ok(row.map(record).transpose()?)
    }

    /// Takes the clock for right as it is now: the servers go on with their next round.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn accept_clock(&self) -> Result<(), StoreError> {
        let accept = || async move {
            let transaction = self.begin().await?;
            transaction
                .execute_unprepared("DELETE FROM clock_checks")
                .await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(accept).await
    }

    pub(super) async fn write_clock_record(&self, record: &ClockRecord) -> Result<(), StoreError> {
        const WRITE: &str = "INSERT INTO clock_checks (id, right_at_ms, jumped_by_ms, boot_id, uptime_ms) \
            VALUES (1, $1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET \
            right_at_ms = $1, jumped_by_ms = $2, boot_id = $3, uptime_ms = $4";
        let write = || async move {
            let transaction = self.begin().await?;
            let values = [
                record.right_at_ms.into(),
                record.jumped_by_ms.into(),
                record.machine.boot.as_str().into(),
                record.machine.since_boot_ms.into(),
            ];
            let write = statement(&transaction, WRITE, values);
            transaction.execute_raw(write).await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(write).await
    }
}
