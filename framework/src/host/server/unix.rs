//! Unix sockets, and the files that stand for them.

use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::Listener;
use crate::sync;

/// How long another server may take to bind a socket in the same folder.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How many clients may wait until the server starts and sets its own number.
const BACKLOG: i32 = 128;

/// The file of a Unix socket. It is removed when this is dropped, unless another one has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Tells a file from a later one at the same path. A file system may give the number of a removed file to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    made: (i64, i64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let identity = Identity::at(path)?;
        // The directory of the process may change before the file is removed. The socket itself is bound by the path as it
        // was written: a path of a socket has about 100 bytes at most.
        Ok(Self { path: std::path::absolute(path)?, identity })
    }

    fn is_in_place(&self) -> bool {
        Identity::at(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_in_place() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the file of a Unix socket");
        }
    }
}

impl Identity {
    fn at(path: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
        // The time of the last status change is no help: `chmod` moves it.
        Ok(Self { device: file.dev(), inode: file.ino(), made: (file.mtime(), file.mtime_nsec()) })
    }
}

/// Binds a Unix socket. A file that an ended server has left is replaced.
pub(super) fn bind(path: &Path, mode: Option<u32>) -> io::Result<Listener> {
    let bound = || {
        if mode.is_some_and(|mode| mode > 0o777) {
            return Err(invalid("the mode must be from 0 to 0o777"));
        }
        let address = address(path)?;
        // Otherwise two servers that start at once might each remove the file of the other.
        let _lock = lock_folder(path)?;
        match listen(path, &address, mode) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_left_behind(path, &address)?;
                listen(path, &address, mode)
            }
            bound => bound,
        }
    };
    bound().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    })
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn in_use(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, text)
}

/// Waits until no other server binds a socket in this folder. `None` if the folder cannot be locked.
fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    let path = std::path::absolute(path)?;
    let folder = path.parent().unwrap_or(&path);
    match sync::lock_folder(folder, LOCK_TIMEOUT) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(io::Error::new(error.kind(), "another program keeps its folder locked"))
        }
        Err(error) => {
            unlocked(&error);
            Ok(None)
        }
    }
}

fn unlocked(error: &io::Error) {
    tracing::debug!(%error, "cannot lock the folder of a Unix socket: no other server may bind the same path now");
}

fn listen(path: &Path, address: &SockAddr, mode: Option<u32>) -> io::Result<Listener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(address)?;
    let file = SocketFile::of(path)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    // Nobody can connect before this, so nobody comes in under the mode that the file had first.
    socket.listen(BACKLOG)?;
    Ok(Listener::Unix(Some(Arc::new(file)), UnixListener::from(socket)))
}

fn address(path: &Path) -> io::Result<SockAddr> {
    if path.as_os_str().is_empty() {
        return Err(invalid("the path is empty"));
    }
    // The standard library refuses what socket2 would take for another name: one with a zero byte, which the system reads
    // as the end, and an abstract name of Linux, which has no permissions.
    std::os::unix::net::SocketAddr::from_pathname(path)?;
    SockAddr::unix(path)
}

/// Removes a file on which nobody listens any more.
fn remove_left_behind(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use("there is a file that is not a socket"));
    }
    // The probe does not block: if many clients wait for a living server, a blocking one would wait behind them.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(in_use("another server listens on it")),
    }
}
