//! Locks of an mbox, as MTAs and mail servers take them: a dot lock and `fcntl`.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

/// Interval at which the dot lock is renewed: Dovecot ignores one of two minutes.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

/// The longest text in a dot lock that is looked at.
const MAX_OWNER_OCTETS: u64 = 512;

/// The right to read an mbox while no other program changes it. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Kept open: to close any descriptor of the file gives up its `fcntl` lock.
    file: File,
    path: PathBuf,
    dot: Option<DotLock>,
    seen: Seen,
}

/// The reason why there is no lock now. Later there may be one.
#[derive(Debug)]
pub(super) struct Held(pub(super) String);

/// The state of a file, to recognise changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    octets: u64,
    changed_at: (i64, i64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            changed_at: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn is_the_file_of(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Lock {
    /// Takes both locks, or none. Where the folder can't be written, or the file system has no
    /// locks, the other one must do.
    ///
    /// # Errors
    /// If the file can't be looked at. Who holds a lock is no error.
    pub(super) fn take(path: &Path, file: &File) -> io::Result<Result<Self, Held>> {
        // Programs that reach it by another name put their dot lock beside the file itself.
        let path = path.canonicalize()?;
        let dot = match DotLock::take(&path)? {
            Ok(dot) => dot,
            Err(held) => return Ok(Err(held)),
        };
        if let Err(Errno::AGAIN | Errno::ACCESS) =
            rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockShared)
        {
            let what = "another program has locked it with fcntl".to_owned();
            return Ok(Err(Held(what)));
        }
        let seen = Seen::of(&file.metadata()?);
        let lock = Self {
            file: file.try_clone()?,
            path,
            dot,
            seen,
        };
        if lock.is_another_file()? {
            return Ok(Err(Held("another program has just replaced it".to_owned())));
        }
        Ok(Ok(lock))
    }

    /// Returns the size of the file in octets.
    pub(super) fn octets(&self) -> u64 {
        self.seen.octets
    }

    /// Says to others that the lock is not forgotten.
    pub(super) fn touch(&mut self) {
        if let Some(dot) = &mut self.dot {
            dot.touch();
        }
    }

    /// Returns how the file was changed by a program that takes no locks, if it was.
    pub(super) fn change(&self) -> Option<&'static str> {
        let Ok(now) = self.file.metadata() else {
            return Some("it can't be looked at any more");
        };
        let now = Seen::of(&now);
        if self.is_another_file().unwrap_or(true) {
            Some("it was replaced")
        } else if now.octets > self.seen.octets {
            Some("it has grown")
        } else if now != self.seen {
            Some("it was changed")
        } else {
            None
        }
    }

    fn is_another_file(&self) -> io::Result<bool> {
        let there = Seen::of(&std::fs::metadata(&self.path)?);
        Ok(!there.is_the_file_of(&self.seen))
    }
}

/// The file `MBOX.lock`.
#[derive(Debug)]
struct DotLock {
    folder: OwnedFd,
    name: PathBuf,
    file: File,
    touched_at: Instant,
}

impl DotLock {
    /// Makes the file; none if it can't be made in this folder.
    fn take(mbox: &Path) -> io::Result<Result<Option<Self>, Held>> {
        let (Some(folder), Some(name)) = (mbox.parent(), mbox.file_name()) else {
            return Ok(Ok(None));
        };
        let mut name = name.to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        // The folder may belong to another user: a file made in it is removed through the
        // same open folder, and a link of this name is not followed.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(folder) = rustix::fs::open(folder, flags, Mode::empty()) else {
            return Ok(Ok(None));
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let make = || rustix::fs::openat(&folder, &name, flags | OFlags::NOFOLLOW, mode);
        let mut made = make();
        if made.is_err() && remove_forgotten(&folder, &name) {
            made = make();
        }
        match made {
            Ok(file) => {
                let mut file = File::from(file);
                // Programs that look whether its owner lives read it so. It is a lock without it.
                let _ = write!(file, "{}:{}", std::process::id(), host());
                Ok(Ok(Some(Self {
                    folder,
                    name,
                    file,
                    touched_at: Instant::now(),
                })))
            }
            Err(Errno::EXIST) => {
                let lock = mbox.with_file_name(&name);
                let what = format!(
                    "{} says that another program uses it (remove that file if none does)",
                    lock.display()
                );
                Ok(Err(Held(what)))
            }
            Err(_) => Ok(Ok(None)),
        }
    }

    fn touch(&mut self) {
        if self.touched_at.elapsed() >= TOUCH_EVERY {
            let _ = self.file.set_modified(SystemTime::now());
            self.touched_at = Instant::now();
        }
    }
}

impl Drop for DotLock {
    fn drop(&mut self) {
        // A program that took it for forgotten has one of its own by now.
        remove(&self.folder, &self.name, &self.file);
    }
}

/// Removes the lock of a program that was killed on this machine: Dovecot and this one leave their
/// process and host in it. Any other stays.
fn remove_forgotten(folder: &OwnedFd, name: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(folder, name, flags, Mode::empty()) else {
        return false;
    };
    let (file, mut text) = (File::from(file), String::new());
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file
        || (&file)
            .take(MAX_OWNER_OCTETS)
            .read_to_string(&mut text)
            .is_err()
    {
        return false;
    }
    let owner = text.trim_end().split_once(':');
    let process = owner.filter(|(_, its_host)| *its_host == host());
    let process = process.and_then(|(process, _)| Pid::from_raw(process.parse().ok()?));
    let is_gone = |process| rustix::process::test_kill_process(process) == Err(Errno::SRCH);
    process.is_some_and(is_gone) && remove(folder, name, &file)
}

/// Removes a file if it is still this one.
fn remove(folder: &OwnedFd, name: &Path, file: &File) -> bool {
    let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(there), Ok(known)) = (there, file.metadata()) else {
        return false;
    };
    (there.st_dev, there.st_ino) == (known.dev(), known.ino())
        && rustix::fs::unlinkat(folder, name, AtFlags::empty()).is_ok()
}

/// The name of this machine.
fn host() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mbox() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada");
        fs::write(&path, "From a\n").unwrap();
        (folder, path)
    }

    fn take(path: &Path) -> Result<Lock, Held> {
        Lock::take(path, &File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_dot_lock_is_made_and_goes_with_the_lock() {
        let (folder, path) = mbox();
        let dot = folder.path().join("ada.lock");
        let lock = take(&path).unwrap();
        let text = fs::read_to_string(&dot).unwrap();
        assert!(text.starts_with(&format!("{}:", std::process::id())));
        assert!(take(&path).unwrap_err().0.contains("ada.lock says"));
        drop(lock);
        assert!(!dot.exists());
        // Of a link, the file itself is locked.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let _lock = take(&link).unwrap();
        assert!(dot.exists());
    }

    #[test]
    fn a_dot_lock_of_another_program_is_left_alone() {
        let (folder, path) = mbox();
        let dot = folder.path().join("ada.lock");
        // Even if it leads somewhere: nothing is written there.
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &dot).unwrap();
        assert!(take(&path).is_err());
        assert!(dot.is_symlink() && !folder.path().join("elsewhere").exists());
        fs::remove_file(&dot).unwrap();
        let lock = take(&path).unwrap();
        fs::remove_file(&dot).unwrap();
        fs::write(&dot, "1:elsewhere").unwrap();
        drop(lock);
        assert_eq!(fs::read_to_string(&dot).unwrap(), "1:elsewhere");
    }

    #[test]
    fn a_dot_lock_is_forgotten_if_its_owner_was_killed_on_this_machine() {
        let (folder, path) = mbox();
        let dot = folder.path().join("ada.lock");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        let alive = std::process::id();
        for (text, is_forgotten) in [
            (format!("{gone}:{}", host()), true),
            (format!("{gone}:{}\n", host()), true),
            (format!("{alive}:{}", host()), false),
            (format!("{gone}:elsewhere"), false),
            (gone.to_string(), false),
            (format!("0:{}", host()), false),
            (String::new(), false),
        ] {
            fs::write(&dot, &text).unwrap();
            assert_eq!(take(&path).is_ok(), is_forgotten, "{text}");
            assert_eq!(dot.exists(), !is_forgotten, "{text}");
        }
    }

    #[test]
    fn what_others_do_to_the_file_is_seen() {
        let (folder, path) = mbox();
        let lock = take(&path).unwrap();
        assert_eq!(lock.change(), None);
        fs::write(&path, "From a\nFrom b\n").unwrap();
        assert_eq!(lock.change(), Some("it has grown"));
        fs::write(&path, "").unwrap();
        assert_eq!(lock.change(), Some("it was changed"));
        fs::write(folder.path().join("new"), "From a\n").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(lock.change(), Some("it was replaced"));
    }
}
