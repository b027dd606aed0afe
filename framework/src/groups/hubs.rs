//! The hubs of this thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::{directory::Directory, hub::Hub};
use crate::sync::thread_local;

thread_local! {
    /// The hubs of this thread: one a layer. They are few, so this is a list.
    static HUBS: RefCell<Vec<Rc<Hub>>> = const { RefCell::new(Vec::new()) };
    /// Whether a background worker does its jobs on this thread.
    static DOES_JOBS: Cell<bool> = const { Cell::new(false) };
}

/// The first hub of this thread that is `wanted`.
pub(super) fn find(wanted: impl Fn(&Hub) -> bool) -> Option<Rc<Hub>> {
    // A send from a thread-local's destructor finds the list gone: there is no hub then.
    HUBS.try_with(|hubs| hubs.borrow().iter().find(|hub| wanted(hub)).cloned()).ok().flatten()
}

/// Whether this thread runs consumers, of connections or of jobs, so that blocking it would block them all.
pub(crate) fn thread_must_not_block() -> bool {
    // From a thread-local's destructor both are gone: nothing runs any more.
    find(|_| true).is_some() || DOES_JOBS.try_with(Cell::get).unwrap_or(false)
}

/// Notes that this thread does the jobs of a background worker.
pub(crate) fn note_thread_does_jobs() {
    DOES_JOBS.with(|does| does.set(true));
}

/// A hub that its thread knows, until its runtime ends: then nobody finds it any more, and its queue refuses all.
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
        // At the thread's own end the list is gone already.
        let _ = HUBS.try_with(|hubs| hubs.borrow_mut().retain(|hub| !Rc::ptr_eq(hub, &self.0)));
    }
}
