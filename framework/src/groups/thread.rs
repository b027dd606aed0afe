//! What runs on a worker's thread beside its connections: the hubs, and the three tasks of each.

use std::{cell::RefCell, future::poll_fn, rc::Rc, sync::Arc, task::Poll};

use super::{
    Delivery,
    directory::Directory,
    hub::Hub,
    queue::Job,
    room::{Here, deliver_here, wait_for_room_of, yield_pass},
    slices::walk,
    wheel,
};
use crate::{host::shutdown::close_all, layers::LayerError, sync::thread_local, transport::shared};

/// How many writers are woken before what came in is read.
const FLUSHES_A_TURN: usize = 256;
/// How many writers are worth reading first what has come in since their flush was due.
const WORTH_A_LOOK: usize = 32;
/// How many jobs of other threads run before this thread's connections get a turn.
const JOBS_A_TURN: u32 = 64;

thread_local! {
    /// The hubs of this thread: one a layer. Few, so a list.
    static HUBS: RefCell<Vec<Rc<Hub>>> = const { RefCell::new(Vec::new()) };
}

/// The hub of this thread for `directory`, made at its first connection.
pub(crate) fn of_thread(directory: &Arc<Directory>) -> Rc<Hub> {
    if let Some(hub) = find(|hub| hub.directory().id() == directory.id()) {
        return hub;
    }
    let registered = Registered::new(directory);
    let hub = Rc::clone(&registered.0);
    actix_rt::spawn(run_jobs(registered));
    actix_rt::spawn(walk(Rc::clone(&hub)));
    actix_rt::spawn(flush(Rc::clone(&hub)));
    actix_rt::spawn(wheel::run(Rc::clone(&hub)));
    hub
}

pub(super) fn find(wanted: impl Fn(&Hub) -> bool) -> Option<Rc<Hub>> {
    // A send from a thread-local's destructor finds the list gone: there is no hub then.
    HUBS.try_with(|hubs| hubs.borrow().iter().find(|hub| wanted(hub)).cloned()).ok().flatten()
}

/// Whether this thread runs consumers, so that blocking it would block them.
pub(crate) fn thread_is_worker() -> bool {
    find(|_| true).is_some()
}

/// Wakes the writers of a turn together.
///
/// Woken at the first frame of a turn, it stands in the run queue behind the reads that were due already:
/// what these send to the same members leaves in the same write.
async fn flush(hub: Rc<Hub>) {
    let mut batch = Vec::new();
    loop {
        poll_fn(|cx| {
            if !hub.dirty.borrow().is_empty() {
                return Poll::Ready(());
            }
            *hub.flusher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        if hub.dirty.borrow().len() >= WORTH_A_LOOK {
            // So many writes cost far more than one look at the sockets: what came in meanwhile leaves with them.
            tokio::task::yield_now().await;
        }
        // Swapped, so that both lists keep their memory.
        std::mem::swap(&mut batch, &mut *hub.dirty.borrow_mut());
        let began = hub.later.flush_begins();
        shared::forget();
        for (flushed, connection) in batch.drain(..).enumerate() {
            if flushed > 0 && flushed.is_multiple_of(FLUSHES_A_TURN) {
                // As many writes as a slice has; what comes in between to those that are left leaves with the rest.
                tokio::task::yield_now().await;
            }
            connection.flush();
        }
        hub.later.flush_ended(began);
    }
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
        self.0.abandon();
        // At the thread's own end the list is gone already.
        let _ = HUBS.try_with(|hubs| hubs.borrow_mut().retain(|hub| !Rc::ptr_eq(hub, &self.0)));
    }
}

/// Runs the jobs of other threads, in the order they came.
pub(super) async fn run_jobs(registered: Registered) {
    let hub = &registered.0;
    let mut run = 0_u32;
    loop {
        run += 1;
        if run.is_multiple_of(JOBS_A_TURN) {
            yield_pass().await;
        }
        match poll_fn(|cx| hub.queue().poll_pop(cx)).await {
            #[cfg(feature = "testing")]
            Job::Census { reply } => {
                let _ = reply.send(hub.census());
            }
            Job::CloseAll { drain, batches, window } => {
                actix_rt::spawn(close_all(Rc::clone(hub), drain, batches, window));
            }
            Job::Relieve { budget } => hub.relieve_for(&budget),
            Job::Deliver { group, parcel, reply, room } => {
                let delivery = match deliver_here(hub.queue(), &group, &parcel).await {
                    Some(Here::Delivered(delivery)) => delivery,
                    // Not waited for: the jobs behind it find their place in the order without that.
                    Some(Here::Large) => {
                        hub.start(group, parcel, reply, room);
                        continue;
                    }
                    None => Delivery::default(),
                };
                drop(room);
                if let Some(reply) = reply {
                    // Who asked may have gone.
                    let _ = reply.send(delivery);
                }
            }
            Job::Join { key, group, reply, room: _room } => {
                let joined = match hub.connection(key) {
                    Some(connection) => hub.join(&connection, &group),
                    None => Err(LayerError::NoReceiver),
                };
                let _ = reply.send(joined);
            }
            Job::Leave { key, group, reply, room: _room } => {
                if hub.has_pending() {
                    // What was sent before it left is still to come.
                    wait_for_room_of(hub, key).await;
                }
                if let Some(connection) = hub.connection(key) {
                    hub.leave(&connection, &group);
                }
                let _ = reply.send(());
            }
            Job::Send { key, envelope, reply, room: _room } => {
                wait_for_room_of(hub, key).await;
                let _ = reply.send(hub.send(key, envelope));
            }
        }
    }
}
