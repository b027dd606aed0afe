//! The thread that runs the tasks of a room.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use tokio::{runtime::Handle, task::JoinHandle};

/// How many threads a room remembers.
const HOMES: usize = 16;

/// The runtimes of the threads that joined a room. The first one, its home, runs the tasks of the room.
///
/// All events of a room are sent by its home. Between threads, only the events of one sender keep their order: a member
/// on the thread of a second sender could see that sender's event before an older one. If the home ends, the next
/// thread becomes the home.
///
/// The lock is held for a look at the list, and not over a spawn.
#[derive(Debug, Default)]
pub(super) struct Homes(Mutex<Vec<(ThreadId, Handle)>>);

impl Homes {
    /// Notes the runtime of this thread.
    pub(super) fn note(&self) {
        let Ok(handle) = Handle::try_current() else { return };
        let id = thread::current().id();
        let mut homes = self.list();
        if homes.iter().all(|(known, _)| *known != id) {
            if homes.len() == HOMES {
                homes.remove(1);
            }
            homes.push((id, handle));
        }
    }

    /// The home's id, and whether this thread is the home. A room without a thread is at home everywhere.
    pub(super) fn home(&self) -> (ThreadId, bool) {
        let here = thread::current().id();
        let home = self.list().first().map_or(here, |(id, _)| *id);
        (home, home == here)
    }

    /// Runs a task at home, which it gets the id of. `None` if no thread is left.
    ///
    /// If the runtime of that thread has ended, the task is dropped at once. Its drop calls [`lost`](Self::lost), and
    /// then this again.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(ThreadId) -> F) -> Option<JoinHandle<()>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (id, handle) = self.list().first().cloned()?;
        Some(handle.spawn(task(id)))
    }

    /// Whether no thread is left.
    pub(super) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// Forgets a thread whose runtime has ended.
    pub(super) fn lost(&self, home: ThreadId) {
        self.list().retain(|(id, _)| *id != home);
    }

    fn list(&self) -> MutexGuard<'_, Vec<(ThreadId, Handle)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
