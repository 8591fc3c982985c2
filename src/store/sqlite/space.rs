//! Room on the disk: how much there is, how much must be left, and a reserve.
//!
//! A deletion needs room before it gives some back. So a server keeps a file of some octets beside
//! the database, and gives it up when the disk is full: then what deletes goes on, and mail is not
//! taken in until there is room again.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::files::{FILE_MODE, side_file};

/// How large the reserve is, in octets; on a small disk a part of it.
const RESERVE_OCTETS: u64 = 16 << 20;
const RESERVE_PART: u64 = 16;

/// How much is to be free for mail to be taken in unless it is set, in octets; on a small disk a
/// part of it.
const MIN_FREE_OCTETS: u64 = 256 << 20;
const MIN_FREE_PART: u64 = 20;

/// It is not set how much is to be free.
const BY_THE_DISK: u64 = u64::MAX;

/// How often a server looks whether its reserve is whole.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How much of the reserve is written at once where the file system can't set octets aside.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// The disk that a database is on.
#[derive(Debug)]
pub(in crate::store) struct Space {
    database: PathBuf,
    reserve: PathBuf,
    min_free: AtomicU64,
    /// Does this process keep a reserve, and can it?
    kept: AtomicBool,
    /// How many use what was given up of it.
    users: AtomicUsize,
}

/// What a disk has, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Free for this user.
    pub(crate) free: u64,
    /// How much must be free for mail to be taken in.
    pub(crate) min_free: u64,
    /// Was the reserve given up, and is not whole yet?
    pub(crate) is_full: bool,
    total: u64,
}

/// Somebody deletes by what was given up of the reserve; meanwhile it is not made anew.
pub(in crate::store) struct Using<'a>(&'a Space);

impl Drop for Using<'_> {
    fn drop(&mut self) {
        let last = self.0.users.fetch_sub(1, Relaxed) == 1;
        // At once, or others take what is left of it.
        if last
            && self.0.kept.load(Relaxed)
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
            users: AtomicUsize::new(0),
        }
    }

    /// Sets how much must be free for mail to be taken in; none is by the size of the disk.
    pub(in crate::store) fn set_min_free(&self, octets: Option<u64>) {
        self.min_free.store(octets.unwrap_or(BY_THE_DISK), Relaxed);
    }

    /// What the disk has now; none if the system does not say.
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

    /// Was the reserve given up, and is not whole yet?
    pub(super) fn is_full(&self) -> bool {
        self.disk().is_some_and(|disk| disk.is_full)
    }

    /// Gives the reserve up, for something that deletes.
    pub(in crate::store) fn give_up_reserve(&self) -> Using<'_> {
        self.users.fetch_add(1, Relaxed);
        match fs::remove_file(&self.reserve) {
            Ok(()) => tracing::error!(
                "the disk of the database is full: the reserve is given up, so that messages can \
                 be deleted, and no mail is taken in until there is room again"
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(error = %error, "the reserve can't be given up"),
        }
        Using(self)
    }

    /// Keeps a reserve, and makes it anew when there is room again.
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

    /// Makes the reserve as large as it is to be, or as there is room for it.
    fn fill_reserve(&self) -> io::Result<()> {
        let (Some(disk), reserved) = (self.disk(), self.reserved()) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let wanted = wanted(disk.total);
        if reserved >= wanted || self.users.load(Relaxed) > 0 {
            return Ok(());
        }
        let possible = wanted.min(reserved + disk.free);
        let made = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.reserve)
            .and_then(|reserve| set_aside(&reserve, reserved, possible));
        match made {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            made => made,
        }
    }

    fn reserved(&self) -> u64 {
        fs::symlink_metadata(&self.reserve).map_or(0, |reserve| reserve.len())
    }
}

/// How large the reserve is to be on a disk of this size.
fn wanted(total: u64) -> u64 {
    RESERVE_OCTETS.min(total / RESERVE_PART)
}

/// Makes a file so long, of octets that are its own.
fn set_aside(mut reserve: &File, from: u64, octets: u64) -> io::Result<()> {
    reserve.set_permissions(Permissions::from_mode(FILE_MODE))?;
    match fallocate(reserve, FallocateFlags::empty(), from, octets - from) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        done => return Ok(done?),
    }
    let mut left = octets - from;
    let mut piece = vec![0; WRITTEN_AT_ONCE];
    while left > 0 {
        // What compresses well might take no room.
        getrandom::fill(&mut piece).map_err(io::Error::other)?;
        let some = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        reserve.write_all(piece.get(..some).unwrap_or_default())?;
        left -= some as u64;
    }
    Ok(())
}
