//! Unix sockets, whose files come and go with the server.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

/// A Unix socket that listens; its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct UnixSocket {
    socket: StdUnixListener,
    path: PathBuf,
    /// The file that it made: another server may have put its own there since.
    inode: u64,
}

/// Returns Ok if a server could listen at this path.
///
/// # Errors
/// If the path is taken, or can't be one of a socket.
pub fn probe(path: &Path) -> io::Result<()> {
    std::os::unix::net::SocketAddr::from_pathname(path)?;
    refuse_other_owner(path)
}

impl UnixSocket {
    /// Listens at this path.
    ///
    /// # Errors
    /// If the path is taken, or the system refuses.
    pub(super) fn new(path: &Path, mode: u32) -> io::Result<Self> {
        refuse_other_owner(path)?;
        // The file gets its name once its mode is right, and replaces that of a dead server.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        let socket = StdUnixListener::bind(&hidden)?;
        let named = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode))
            .and_then(|()| std::fs::rename(&hidden, path));
        if let Err(error) = named {
            let _ = std::fs::remove_file(&hidden);
            return Err(error);
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            inode: std::fs::symlink_metadata(path)?.ino(),
        })
    }

    /// The path of its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn try_clone(&self) -> io::Result<StdUnixListener> {
        self.socket.try_clone()
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path);
        if ours.is_ok_and(|file| file.ino() == self.inode) {
            // A file that stays is taken over by the next server.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Refuses a path that is taken, unless by the socket of a server that has ended.
fn refuse_other_owner(path: &Path) -> io::Result<()> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        let what = "a file that is no socket is there; remove it, or set another path";
        return Err(io::Error::new(ErrorKind::AlreadyExists, what));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let what = "another program listens there; stop it, or set another path";
            Err(io::Error::new(ErrorKind::AddrInUse, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_dead_server_is_taken_over_and_that_of_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lmtp.sock");
        let live = UnixSocket::new(&path, 0o600).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = UnixSocket::new(&path, 0o600).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
        // As after kill -9: the file stays, and no process listens.
        drop(StdUnixListener::bind(&path).unwrap());
        let next = UnixSocket::new(&path, 0o660).unwrap();
        drop(next);
        std::fs::write(&path, "a file").unwrap();
        let refused = UnixSocket::new(&path, 0o600).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }
}
