//! The disk that SQLite's file is on: upkeep of the file, and room for mail.

use std::sync::{MutexGuard, PoisonError};

use super::super::faults::DatabaseFault;
use super::super::raw;
use super::super::sqlite::{Disk, Maintenance, ReserveUse, SqliteFiles};
use super::Database;

impl Database {
    /// Begins what a server has to do beside its queries: on SQLite, to empty the write-ahead log,
    /// and to keep a reserve on the disk. It goes on until the database is closed or not used any
    /// more.
    pub(crate) fn maintain(&self) {
        if let Some(files) = &self.sqlite {
            let maintenance = Maintenance::start(files, self.write.connections());
            *self.maintenance() = Some(maintenance);
        }
    }

    /// Sets how much must be free on the disk of SQLite's file for mail to be taken in; none is by
    /// the size of the disk.
    pub(crate) fn set_min_free_space(&self, octets: Option<u64>) {
        if let Some(files) = &self.sqlite {
            files.space().set_min_free(octets);
        }
    }

    /// The disk that SQLite's file is on; none if it is elsewhere.
    pub(crate) fn disk(&self) -> Option<Disk> {
        self.sqlite.as_ref()?.space().disk()
    }

    /// Returns the octets of SQLite's write-ahead log; `None` if there is none.
    pub(crate) fn log_octets(&self) -> Option<u64> {
        self.sqlite.as_ref().map(|files| files.log_octets())
    }

    /// Is there room for a message of so many octets?
    pub(crate) async fn has_room_for(&self, octets: u64) -> bool {
        let Some(disk) = self.disk() else { return true };
        let needed = disk.min_free.saturating_add(octets);
        if disk.is_full || disk.free >= needed {
            return !disk.is_full;
        }
        // What was deleted has left room inside the file.
        disk.free.saturating_add(self.unused_octets().await) >= needed
    }

    /// Returns the unused octets of SQLite's file.
    async fn unused_octets(&self) -> u64 {
        raw::unused_octets(&self.read).await.unwrap_or_default()
    }

    /// If something that deletes has failed because the disk is full, gives up the reserve for it:
    /// then it is to be tried again, while it has what is returned.
    pub(in crate::store) fn reserve_for<T, E: DatabaseFault>(
        &self,
        deleted: &Result<T, E>,
    ) -> Option<ReserveUse<'_>> {
        let error = deleted.as_ref().err()?;
        self.note_damage(error);
        let is_full = self.is_disk_full(error);
        is_full.then(|| Some(self.files()?.space().give_up_reserve()))?
    }

    /// Returns the files of SQLite; `None` for another database.
    pub(in crate::store) fn files(&self) -> Option<&SqliteFiles> {
        self.sqlite.as_deref()
    }

    pub(super) fn maintenance(&self) -> MutexGuard<'_, Option<Maintenance>> {
        self.maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
