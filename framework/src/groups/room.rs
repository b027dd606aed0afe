//! Room in inboxes: before an event is dropped for a full one, the sender lets those run that can take from it.
//!
//! Only a consumer that is itself suspended in a hook can lose an event.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant},
};

use super::{
    Delivery,
    fan_out::Parcel,
    hub::{Hub, Key},
    queue::WorkerQueue,
    worker::find,
};
use crate::GroupName;

/// How long a sender waits, in all, for members that keep running without taking an event.
const ROOM_DEADLINE: Duration = Duration::from_secs(5);

/// Delivers to the members on this thread; `None` where `queue` is another thread's.
///
/// Waits, where a member's inbox is full, until the members that can run have run.
pub(crate) async fn deliver_here(
    queue: &Arc<WorkerQueue>,
    group: &GroupName,
    parcel: &Parcel,
) -> Option<Delivery> {
    // The future must be `Send`, so no hub may be held over an await: it is looked up anew at each step.
    let here = || find(|hub| Arc::ptr_eq(hub.queue(), queue));
    {
        let hub = here()?;
        if hub.full.get() == 0 && queue.waiting.load(Relaxed) == 0 {
            return Some(hub.deliver(group, parcel));
        }
    }
    let waiting = Waiting::new(Arc::clone(queue));
    let turn = turn(&*here()?, group);
    let _turn: Option<OwnedSemaphorePermit> = match turn {
        Some(turn) => turn.acquire_owned().await.ok(),
        None => None,
    };
    let deadline = Instant::now() + ROOM_DEADLINE;
    loop {
        let moving = begin_pass(&*here()?, group);
        if !moving || Instant::now() >= deadline {
            break;
        }
        yield_pass().await;
    }
    drop(waiting);
    here().map(|hub| hub.deliver(group, parcel))
}

/// Lets every task of this thread that can run do so once.
///
/// Not `tokio::task::yield_now`: that comes back after one batch of tasks, before the rest have run.
pub(super) async fn yield_pass() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Counts a waiting sender, also where its future is dropped.
struct Waiting {
    queue: Arc<WorkerQueue>,
    /// The connection whose hook sends: it takes no event until the send is through.
    sender: Option<Key>,
}

impl Waiting {
    fn new(queue: Arc<WorkerQueue>) -> Self {
        let sender = find(|hub| Arc::ptr_eq(hub.queue(), &queue)).and_then(|hub| hub.running.get());
        let waiting = Self { queue, sender };
        waiting.queue.waiting.fetch_add(1, Relaxed);
        waiting.note_sender(1);
        waiting
    }

    fn note_sender(&self, by: isize) {
        let hub = find(|hub| Arc::ptr_eq(hub.queue(), &self.queue));
        if let Some(connection) = hub.and_then(|hub| hub.connection(self.sender?)) {
            connection.note_sending(by);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Relaxed);
        self.note_sender(-1);
    }
}

fn turn(hub: &Hub, group: &GroupName) -> Option<Arc<Semaphore>> {
    let mut groups = hub.groups.borrow_mut();
    let local = groups.get_mut(group)?;
    Some(Arc::clone(local.turn.get_or_insert_with(|| Arc::new(Semaphore::new(1)))))
}

/// Whether a member with a full inbox may make room if the sender lets all run once more.
///
/// One whose hook is suspended will not, unless it ran in the pass before: then it may be about to end.
fn begin_pass(hub: &Hub, group: &GroupName) -> bool {
    if hub.full.get() == 0 {
        return false;
    }
    let pass = hub.pass.get();
    let groups = hub.groups.borrow();
    let Some(local) = groups.get(group) else { return false };
    let mut members = local.classes.iter().flat_map(|members| &members.connections);
    let moving = members.any(|(_, member)| member.is_full() && member.may_make_room(pass));
    hub.pass.set(pass + 1);
    moving
}

/// Lets all run while a full connection is about to take from its inbox: only a suspended one refuses.
pub(super) async fn wait_for_room_of(hub: &Hub, key: Key) {
    let deadline = Instant::now() + ROOM_DEADLINE;
    while hub.connection(key).is_some_and(|one| one.is_full() && one.may_make_room(hub.pass.get()))
        && Instant::now() < deadline
    {
        hub.pass.set(hub.pass.get() + 1);
        yield_pass().await;
    }
}
