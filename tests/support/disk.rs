//! A disk that is soon full.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What is said where no disk can be mounted.
const SKIPPED: &str = "a test of a full disk is skipped: this user may not mount a tmpfs\n";

/// A small disk in memory. It is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts one of this size; none, with a word about it, if this user may not.
    pub(crate) fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { folder });
        }
        std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
        None
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it up, but for so many octets.
    pub(crate) fn fill_but(&self, left: u64) {
        let mut ballast = self.ballast();
        loop {
            match ballast.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let octets = ballast.metadata().unwrap().len();
        ballast.set_len(octets.checked_sub(left).unwrap()).unwrap();
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        self.ballast().set_len(0).unwrap();
    }

    /// Makes it larger, in MiB.
    pub(crate) fn enlarge(&self, mebibytes: u32) {
        let remounted = Command::new("mount")
            .args(["-o", &format!("remount,size={mebibytes}m")])
            .arg(self.path())
            .status();
        assert!(remounted.unwrap().success());
    }

    /// How many octets are free.
    pub(crate) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    fn ballast(&self) -> File {
        let file = self.path().join("ballast");
        let ballast = OpenOptions::new().append(true).create(true).open(file);
        ballast.unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still has a file open there keeps it until it has ended.
        let unmounting = Command::new("umount").arg("-l").arg(self.path()).status();
        drop(unmounting);
    }
}
