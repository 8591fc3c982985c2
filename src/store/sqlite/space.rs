//! Room on the disk: how much there is, how much must be left, and a reserve.
//!
//! A deletion needs room before it frees any. So a server keeps a reserve file beside the
//! database, and removes it when the disk is full: then deletions go on, and no mail is
//! accepted until there is room again.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags, fallocate, statvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::files::{FILE_MODE, LOG, side_file};

/// Size of the reserve in octets; on a small disk, 1/`RESERVE_PART` of the disk.
const RESERVE_OCTETS: u64 = 16 << 20;
const RESERVE_PART: u64 = 16;

/// Free octets that are needed to accept mail, unless set; on a small disk, 1/`MIN_FREE_PART` of
/// the disk.
const MIN_FREE_OCTETS: u64 = 256 << 20;
const MIN_FREE_PART: u64 = 20;

/// No minimum is set: it depends on the size of the disk.
const BY_THE_DISK: u64 = u64::MAX;

/// Interval at which a server checks whether its reserve is complete.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum size of a reserve in octets; with less, no page could be written.
const SMALLEST_RESERVE: u64 = 64 * 1024;

/// Number of octets that are written to see whether the system has room.
const PROBE_OCTETS: usize = 64 * 1024;

/// Number of octets written at once where the file system can't allocate the reserve.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// The disk that a database is on.
#[derive(Debug)]
pub(in crate::store) struct Space {
    database: PathBuf,
    reserve: PathBuf,
    min_free: AtomicU64,
    /// True if this process keeps a reserve, and can.
    kept: AtomicBool,
    /// True if this process has given it up and not restored it.
    given_up: AtomicBool,
    /// Number of operations that use the space of the reserve.
    users: AtomicUsize,
}

/// The space on a disk, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Free for this user.
    pub(crate) free: u64,
    /// Free octets that are needed to accept mail.
    pub(crate) min_free: u64,
    /// True if the reserve was given up and is not complete yet.
    pub(crate) is_full: bool,
    total: u64,
}

/// An operation that uses the space of the reserve, which is not restored meanwhile.
pub(in crate::store) struct ReserveUse<'a>(&'a Space);

impl Drop for ReserveUse<'_> {
    fn drop(&mut self) {
        let last = self.0.users.fetch_sub(1, Relaxed) == 1;
        let given_up = self.0.given_up.swap(false, Relaxed);
        // At once, before others take the rest of the space.
        if last
            && (given_up || self.0.kept.load(Relaxed))
            && let Err(error) = self.0.fill_reserve()
        {
            tracing::warn!(error = %error, "the reserve can't be made anew");
        }
    }
}

impl Space {
    pub(super) fn new(database: &Path) -> Self {
        Self {
            database: database.to_owned(),
            reserve: side_file(database, "-reserve"),
            min_free: AtomicU64::new(BY_THE_DISK),
            kept: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            users: AtomicUsize::new(0),
        }
    }

    /// Sets the free octets that are needed to accept mail; `None` goes by the size of the disk.
    pub(in crate::store) fn set_min_free(&self, octets: Option<u64>) {
        self.min_free.store(octets.unwrap_or(BY_THE_DISK), Relaxed);
    }

    /// Returns the current space on the disk; `None` if the system does not tell.
    pub(in crate::store) fn disk(&self) -> Option<Disk> {
        let disk = statvfs(&self.database).ok()?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let min_free = match self.min_free.load(Relaxed) {
            BY_THE_DISK => MIN_FREE_OCTETS.min(total / MIN_FREE_PART),
            octets => octets,
        };
        Some(Disk {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            min_free,
            is_full: self.kept.load(Relaxed) && self.reserved() < wanted(total),
            total,
        })
    }

    /// Returns true if the reserve was given up and is not complete yet.
    pub(super) fn is_full(&self) -> bool {
        self.disk().is_some_and(|disk| disk.is_full)
    }

    /// Gives the reserve up for an operation that deletes.
    pub(in crate::store) fn give_up_reserve(&self) -> ReserveUse<'_> {
        self.users.fetch_add(1, Relaxed);
        match fs::remove_file(&self.reserve) {
            Ok(()) => {
                self.given_up.store(true, Relaxed);
                tracing::error!(
                    "the disk of the database is full: the reserve is given up, so that messages \
                     can be deleted, and no mail is taken in until there is room again"
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(error = %error, "the reserve can't be given up"),
        }
        ReserveUse(self)
    }

    /// Gives up half of the reserve, or all of a small one, so that the database can be opened.
    /// Returns false if there is no reserve.
    pub(super) fn give_up_some_reserve(&self) -> bool {
        let left = self.reserved() / 2;
        let given_up = if left < SMALLEST_RESERVE {
            fs::remove_file(&self.reserve)
        } else {
            let reserve = open_reserve(&self.reserve, OpenOptions::new().write(true));
            reserve.and_then(|reserve| reserve.set_len(left))
        };
        if given_up.is_ok() {
            tracing::error!(
                left,
                "the disk of the database is full: some of the reserve is given up to open it"
            );
        }
        given_up.is_ok()
    }

    /// Returns true if the system refuses files longer than the database's here. It is tried,
    /// since the number of free octets does not include quotas and limits on files.
    pub(in crate::store) fn refuses_octets(&self) -> bool {
        let probe = side_file(&self.database, "-probe");
        let octets = |file: &Path| fs::metadata(file).map_or(0, |it| it.len());
        let end = octets(&self.database).max(octets(&side_file(&self.database, LOG)));
        let mut options = OpenOptions::new();
        let probed = open_reserve(&probe, options.write(true).create(true))
            .and_then(|file| file.write_all_at(&[1; PROBE_OCTETS], end));
        let _ = fs::remove_file(&probe);
        probed.is_err_and(|error| is_refusal(&error))
    }

    /// Keeps a reserve, and restores it when there is room again.
    pub(super) async fn keep_reserve(&self) -> io::Error {
        self.kept.store(true, Relaxed);
        loop {
            if let Err(error) = self.fill_reserve() {
                self.kept.store(false, Relaxed);
                return error;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Fills the reserve to its full size, or as far as there is room.
    fn fill_reserve(&self) -> io::Result<()> {
        let (Some(disk), reserved) = (self.disk(), self.reserved()) else {
            // The database may have been moved away, and come back.
            return Ok(());
        };
        let wanted = wanted(disk.total);
        if reserved >= wanted || self.users.load(Relaxed) > 0 {
            return Ok(());
        }
        let mut more = (wanted - reserved).min(disk.free);
        let mut options = OpenOptions::new();
        let reserve = open_reserve(&self.reserve, options.append(true).create(true));
        let reserve = match reserve {
            Err(error) if is_refusal(&error) => return Ok(()),
            opened => opened?,
        };
        loop {
            match set_aside(&reserve, reserved, reserved + more) {
                // A quota may leave less than the disk has.
                Err(error) if is_refusal(&error) && more >= SMALLEST_RESERVE => more /= 2,
                Err(error) if is_refusal(&error) => return Ok(()),
                made => return made,
            }
        }
    }

    fn reserved(&self) -> u64 {
        fs::symlink_metadata(&self.reserve).map_or(0, |reserve| reserve.len())
    }
}

/// Returns the full size of the reserve on a disk of this size.
fn wanted(total: u64) -> u64 {
    let largest_file = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
    RESERVE_OCTETS.min(total / RESERVE_PART).min(largest_file)
}

/// Opens a file that only this user may read, and does not follow a symbolic link.
fn open_reserve(file: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options
        .mode(FILE_MODE)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(file)
}

/// Returns true if the system has no more octets for this file.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Extends a file to `octets` octets of allocated space.
fn set_aside(mut reserve: &File, from: u64, octets: u64) -> io::Result<()> {
    reserve.set_permissions(Permissions::from_mode(FILE_MODE))?;
    match fallocate(reserve, FallocateFlags::empty(), from, octets - from) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        done => return Ok(done?),
    }
    let mut left = octets - from;
    let mut piece = vec![0; WRITTEN_AT_ONCE];
    while left > 0 {
        // Compressible data might take no room.
        getrandom::fill(&mut piece).map_err(io::Error::other)?;
        let some = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        reserve.write_all(piece.get(..some).unwrap_or_default())?;
        left -= some as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_kept_again_when_a_database_that_was_moved_away_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("restante.db");
        let space = Space::new(&file);
        space.fill_reserve().unwrap();
        assert_eq!(space.reserved(), 0);
        File::create(&file).unwrap();
        space.fill_reserve().unwrap();
        assert!(space.reserved() > 0);
    }
}
