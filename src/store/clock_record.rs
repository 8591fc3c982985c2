//! The stored record of the database's clock, and of the machine that checked it.

use entity::clock_check;
use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait;
use sea_orm::sea_query::OnConflict;

use super::{Database, StoreError, repeat};

/// Tells the boots of Linux machines apart.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Tells machines apart, where that can't be read.
const MACHINE_ID: &str = "/etc/machine-id";

/// The last time when the clock of the database was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockRecord {
    /// The time of that clock then, in milliseconds since 1970.
    pub right_at_ms: i64,
    /// By how much it has jumped since; 0 if it has not.
    pub jumped_by_ms: i64,
    /// The machine that found it right.
    machine: Machine,
}

/// A machine since its last boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// Another after each boot.
    pub(super) boot: String,
    /// The time since that boot. It can't be set, and goes on while the machine sleeps.
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
    /// Returns the record of the clock; `None` if it was never checked.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError> {
        let check = clock_check::Entity::find().one(self.read()).await?;
        Ok(check.map(Into::into))
    }

    /// Takes the clock for right as it is now: the servers go on with their next round.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn accept_clock(&self) -> Result<(), StoreError> {
        let accept = || async move {
            let transaction = self.begin().await?;
            clock_check::Entity::delete_many()
                .exec(&transaction)
                .await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(accept).await
    }

    pub(super) async fn write_clock_record(&self, record: &ClockRecord) -> Result<(), StoreError> {
        let write = || async move {
            let transaction = self.begin().await?;
            let check = clock_check::ActiveModel {
                id: Set(1),
                right_at_ms: Set(record.right_at_ms),
                jumped_by_ms: Set(record.jumped_by_ms),
                boot_id: Set(record.machine.boot.clone()),
                uptime_ms: Set(record.machine.since_boot_ms),
            };
            let mut replace = OnConflict::column(clock_check::Column::Id);
            replace.update_columns([
                clock_check::Column::RightAtMs,
                clock_check::Column::JumpedByMs,
                clock_check::Column::BootId,
                clock_check::Column::UptimeMs,
            ]);
            clock_check::Entity::insert(check)
                .on_conflict(replace)
                .exec_without_returning(&transaction)
                .await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        };
        repeat(write).await
    }
}

impl From<clock_check::Model> for ClockRecord {
    fn from(check: clock_check::Model) -> Self {
        Self {
            right_at_ms: check.right_at_ms,
            jumped_by_ms: check.jumped_by_ms,
            machine: Machine {
                boot: check.boot_id,
                since_boot_ms: check.uptime_ms,
            },
        }
    }
}
