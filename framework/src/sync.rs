//! The locks and counters that threads share, and the lock that processes share.
//!
//! Those of threads are those of the standard library. In the model test they are those of `shuttle`, which runs the
//! threads in many orders.

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic::AtomicUsize},
    thread_local,
};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic::AtomicUsize},
    thread_local,
};

/// Locks a folder, for one process at a time. It blocks the thread until the lock is free, for up to `patience`. The lock
/// lasts until the file is dropped.
///
/// # Errors
/// [`TimedOut`](std::io::ErrorKind::TimedOut) if another process keeps the lock; what the system says, if the folder cannot
/// be locked.
#[cfg(unix)]
pub(crate) fn lock_folder(
    folder: &std::path::Path,
    patience: std::time::Duration,
) -> std::io::Result<std::fs::File> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
    let folder = std::fs::File::open(folder)?;
    let begun = std::time::Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(std::fs::TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(PAUSE),
            Err(std::fs::TryLockError::WouldBlock) => return Err(std::io::ErrorKind::TimedOut.into()),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}
