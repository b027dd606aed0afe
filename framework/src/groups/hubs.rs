//! The hubs of this thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{directory::Directory, hub::Hub};
use crate::sync::thread_local;

thread_local! {
    /// The hubs of this thread: one for each layer. They are few, so a list is enough.
    static HUBS: RefCell<Vec<Rc<Hub>>> = const { RefCell::new(Vec::new()) };
    /// Whether a background worker does its jobs on this thread.
    static DOES_JOBS: Cell<bool> = const { Cell::new(false) };
}

/// The first hub of this thread for which `wanted` is true.
pub(super) fn find(wanted: impl Fn(&Hub) -> bool) -> Option<Rc<Hub>> {
    // If a destructor of a thread-local sends, the list may be gone already. Then no hub is found.
    HUBS.try_with(|hubs| hubs.borrow().iter().find(|hub| wanted(hub)).cloned()).ok().flatten()
}

/// Whether this thread runs consumers, of connections or of jobs. Blocking the thread would stop them all.
pub(crate) fn thread_must_not_block() -> bool {
    // In a destructor of a thread-local, both may be gone already. Then nothing runs any more.
    find(|_| true).is_some() || DOES_JOBS.try_with(Cell::get).unwrap_or(false)
}

/// Notes that this thread does jobs for a background worker.
pub(crate) fn note_thread_does_jobs() {
    DOES_JOBS.with(|does| does.set(true));
}

/// A hub that its thread can find. Dropped when the thread's runtime ends.
///
/// From then on the hub is not found any more, and its queue refuses all calls.
pub(super) struct Registered(pub(super) Rc<Hub>);

impl Registered {
    pub(super) fn new(directory: &Arc<Directory>) -> Self {
        let hub = Hub::new(directory);
        HUBS.with(|hubs| hubs.borrow_mut().push(Rc::clone(&hub)));
        directory.add_hub(hub.queue());
        Self(hub)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.queue().close();
        self.0.slices.abandon();
        // When the thread itself ends, the list is gone already.
        let _ = HUBS.try_with(|hubs| hubs.borrow_mut().retain(|hub| !Rc::ptr_eq(hub, &self.0)));
    }
}
