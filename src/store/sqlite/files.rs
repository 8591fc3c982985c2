//! The files of a database on disk: their modes, and whether they are those that were opened.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sea_orm::DbErr;
use tokio::sync::Notify;

use super::super::database::OpenError;
use super::space::Space;

/// The mode of the database's folder.
const FOLDER_MODE: u32 = 0o700;

/// The mode of the database's file; SQLite makes the files beside it with the same.
pub(super) const FILE_MODE: u32 = 0o600;

/// The bits of a mode for users other than the owner.
const OF_OTHERS: u32 = 0o077;
const OF_OTHERS_TO_WRITE: u32 = 0o022;

/// In a folder with this, only who owns a file may replace it.
const STICKY: u32 = 0o1000;

/// The names that SQLite adds for its write-ahead log and what its processes share.
const SIDE_FILES: [&str; 2] = [LOG, "-shm"];
pub(super) const LOG: &str = "-wal";

/// Device and inode.
type FileIdentity = (u64, u64);

/// The files of an open database, as they were when it was opened.
///
/// A file that is removed or replaced lives on for who has it open: what is written there is lost
/// as soon as the process ends.
#[derive(Debug)]
pub(in crate::store) struct SqliteFiles {
    url: String,
    files: Vec<(PathBuf, Option<FileIdentity>)>,
    /// The write-ahead log.
    log: PathBuf,
    written: Notify,
    apart: Arc<AtomicBool>,
    space: Space,
}

impl SqliteFiles {
    /// The files of the database at this path, which has just been opened. Its connections look at
    /// `apart` when they begin.
    pub(super) fn opened(url: &str, file: &Path, apart: Arc<AtomicBool>) -> Self {
        let beside = SIDE_FILES.map(|suffix| side_file(file, suffix));
        let files = std::iter::once(file.to_owned()).chain(beside);
        Self {
            url: url.to_owned(),
            files: files.map(|file| (file.clone(), identity(&file))).collect(),
            log: side_file(file, LOG),
            written: Notify::new(),
            apart,
            space: Space::new(file),
        }
    }

    /// The disk that they are on.
    pub(in crate::store) fn space(&self) -> &Space {
        &self.space
    }

    /// The database, as `Database__Url` has it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Are the files those that were opened?
    ///
    /// # Errors
    /// If one was removed or replaced.
    pub(in crate::store) fn check(&self) -> Result<(), DbErr> {
        let moved = |(file, opened): &&(PathBuf, Option<FileIdentity>)| identity(file) != *opened;
        let Some((file, _)) = self.files.iter().find(moved) else {
            return Ok(());
        };
        Err(DbErr::Custom(format!(
            "{} is not the file that was opened: it was removed or replaced",
            file.display()
        )))
    }

    /// Something was written.
    pub(in crate::store) fn note_commit(&self) {
        self.written.notify_one();
    }

    /// Waits for what is written next, if nothing was since this was last asked.
    pub(super) async fn committed(&self) {
        self.written.notified().await;
    }

    /// Returns the octets of the write-ahead log's file.
    pub(in crate::store) fn log_octets(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// From now on new connections leave the write-ahead log alone when they commit.
    pub(super) fn checkpoint_apart(&self) {
        self.apart.store(true, Relaxed);
    }
}

fn identity(file: &Path) -> Option<FileIdentity> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The file that lies beside the database under this further name, such as `-wal`. SQLite puts it
/// beside the file itself, not beside a link to it.
pub(super) fn side_file(database: &Path, suffix: &str) -> PathBuf {
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = OsString::from(database);
    name.push(suffix);
    name.into()
}

/// Makes the file and its folder if they are missing, readable for this user only, from the
/// first moment on and under any umask.
pub(super) fn make(file: &Path) -> Result<(), OpenError> {
    if let Some(folder) = file.parent() {
        make_folder(folder).map_err(|reason| OpenError::Folder {
            folder: folder.to_owned(),
            reason,
        })?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(file)
    {
        Ok(made) => keep_private(&made),
        // A link to where nothing is yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !file.exists() => {
            let made = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(FILE_MODE)
                .open(file);
            made.and_then(|made| keep_private(&made))
        }
        // It is there already, or SQLite will say better why it can't be.
        Err(_) => Ok(()),
    }
    .map_err(|reason| OpenError::File {
        file: file.to_owned(),
        reason,
    })
}

/// The umask may have taken rights from the owner, too.
fn keep_private(made: &File) -> io::Result<()> {
    made.set_permissions(Permissions::from_mode(FILE_MODE))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let missing = folder
        .ancestors()
        .take_while(|it| !it.as_os_str().is_empty() && !it.is_dir());
    let missing: Vec<_> = missing.collect();
    for folder in missing.into_iter().rev() {
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Ok(()) => fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?,
            // Another process was quicker.
            Err(_) if folder.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the files of a database, and its folder, that other users may access. The folder
/// counts if it is the owner's, since other users could put files there.
pub fn open_to_others(database: &Path) -> Vec<PathBuf> {
    let Ok(of_database) = fs::metadata(database) else {
        return Vec::new();
    };
    let folder = database.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut open = Vec::new();
    if let Ok(of_folder) = fs::metadata(folder) {
        let is_its_own = of_folder.uid() == of_database.uid();
        let replaceable = of_folder.mode() & (STICKY | OF_OTHERS_TO_WRITE);
        let is_open = is_its_own && of_folder.mode() & OF_OTHERS != 0;
        if is_open || (replaceable != 0 && replaceable & STICKY == 0) {
            open.push(folder.to_owned());
        }
    }
    let files = SIDE_FILES.map(|suffix| side_file(database, suffix));
    let files = std::iter::once(database.to_owned()).chain(files);
    let is_open = |file: &PathBuf| fs::metadata(file).is_ok_and(|it| it.mode() & OF_OTHERS != 0);
    open.extend(files.filter(is_open));
    open
}
