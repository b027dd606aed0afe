//! Room in inboxes: a sender waits for it before a full inbox loses an event.
//!
//! The sender waits until the consumer of the inbox has run. So only a consumer that is suspended in a hook can lose an
//! event.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Duration, Instant},
};

use super::{
    Delivery,
    hub::Hub,
    hubs,
    key::Key,
    load::Load,
    queue::{HubQueue, NotQueued},
};
use crate::GroupName;

/// How long a sender waits in all for members that run but take no event.
pub(super) const ROOM_DEADLINE: Duration = Duration::from_secs(5);

/// The result of a delivery on this thread.
#[derive(Debug)]
pub(super) enum LocalDelivery {
    /// All members have it.
    Delivered(Delivery),
    /// Nobody has it yet: the group is large, and must be served in [`slices`](super::slices).
    Large,
}

/// Delivers to the members on this thread. `None` if this thread has no hub with this `queue`, or not any more.
///
/// If a member's inbox is full, the call waits until the members that can run have run.
pub(super) async fn deliver_on_this_thread(
    queue: &Arc<HubQueue>,
    group: &GroupName,
    load: Load<'_>,
) -> Option<LocalDelivery> {
    // The future must be `Send`, so it cannot hold a hub while it waits. It looks up the hub after each wait.
    let hub = || hubs::find(|hub| Arc::ptr_eq(hub.queue(), queue));
    let delivered = deliver_now(&hub()?, group, load);
    match delivered {
        Some(here) => Some(here),
        None => deliver_later(hub, group, load).await,
    }
}

/// As [`deliver_on_this_thread`], for a hub that the caller has.
pub(super) async fn deliver_on_hub(
    hub: &Rc<Hub>,
    group: &GroupName,
    load: Load<'_>,
) -> Option<LocalDelivery> {
    match deliver_now(hub, group, load) {
        Some(here) => Some(here),
        None => deliver_later(|| Some(Rc::clone(hub)), group, load).await,
    }
}

/// Delivers at once. `None` if an inbox of this hub is full, or if other senders wait for room.
fn deliver_now(hub: &Rc<Hub>, group: &GroupName, load: Load<'_>) -> Option<LocalDelivery> {
    // The large sends that these members are owed come first. They may fill the inboxes.
    hub.catch_up_group(group);
    let at_once = hub.full.get() == 0 && hub.queue().waiting.load(Relaxed) == 0;
    at_once.then(|| deliver(hub, group, load))
}

fn deliver(hub: &Rc<Hub>, group: &GroupName, load: Load<'_>) -> LocalDelivery {
    match load {
        Load::Event(parcel) => {
            hub.deliver(group, parcel).map_or(LocalDelivery::Large, LocalDelivery::Delivered)
        }
        // If the group is large, the caller asks again, with its reply.
        Load::Log(..) if hub.is_large(group) => LocalDelivery::Large,
        Load::Log(log, entry) => {
            hub.serve_log(log, &mut None, &mut None);
            LocalDelivery::Delivered(hub.count_for(log, entry))
        }
    }
}

/// Delivers once the members of the group with a full inbox have run, if they can.
async fn deliver_later(
    hub: impl Fn() -> Option<Rc<Hub>>,
    group: &GroupName,
    load: Load<'_>,
) -> Option<LocalDelivery> {
    let waiting = WaitingSender::new(Arc::clone(hub()?.queue()));
    let turn = turn(&*hub()?, group);
    let _turn: Option<OwnedSemaphorePermit> = match turn {
        Some(turn) => turn.acquire_owned().await.ok(),
        None => None,
    };
    let deadline = Instant::now() + ROOM_DEADLINE;
    let mut since = hub()?.pass();
    loop {
        let moving = begin_pass(&*hub()?, group, load, &mut since);
        if !moving || Instant::now() >= deadline {
            break;
        }
        yield_pass().await;
    }
    drop(waiting);
    hub().map(|hub| deliver(&hub, group, load))
}

/// Starts a large send on this thread, when the hub's queue has room for one more delivery.
pub(super) async fn start_on_this_thread(
    queue: &Arc<HubQueue>,
    group: &GroupName,
    load: Load<'_>,
    reply: oneshot::Sender<Delivery>,
    deadline: &mut Option<Instant>,
) -> Result<(), NotQueued> {
    let room = queue.room_for(load, deadline).await?;
    let hub = hubs::find(|hub| Arc::ptr_eq(hub.queue(), queue)).ok_or(NotQueued::Gone)?;
    match load {
        Load::Event(parcel) => hub.start_large(group.clone(), parcel.clone(), None, Some(reply), Some(room)),
        Load::Log(log, entry) => hub.serve_large_log(log, entry, Some(reply), room),
    }
    Ok(())
}

/// Lets every task of this thread that can run do so once.
///
/// This is not `tokio::task::yield_now`, which comes back after one batch of tasks, before the rest have run.
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

/// Counts a sender that waits for room, until it is done or its future is dropped.
struct WaitingSender(Sending);

impl WaitingSender {
    fn new(queue: Arc<HubQueue>) -> Self {
        queue.waiting.fetch_add(1, Relaxed);
        Self(Sending::new(queue))
    }
}

impl Drop for WaitingSender {
    fn drop(&mut self) {
        self.0.queue.waiting.fetch_sub(1, Relaxed);
    }
}

/// Notes that a connection's hook waits for a send. The connection takes no event until the send is done.
pub(super) struct Sending {
    queue: Arc<HubQueue>,
    sender: Option<Key>,
}

impl Sending {
    pub(super) fn new(queue: Arc<HubQueue>) -> Self {
        let sender = hubs::find(|hub| Arc::ptr_eq(hub.queue(), &queue)).and_then(|hub| hub.running.get());
        let sending = Self { queue, sender };
        sending.note(1);
        sending
    }

    fn note(&self, by: isize) {
        let hub = hubs::find(|hub| Arc::ptr_eq(hub.queue(), &self.queue));
        if let Some(connection) = hub.and_then(|hub| hub.connection(self.sender?)) {
            connection.note_sending(by);
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.note(-1);
    }
}

fn turn(hub: &Hub, group: &GroupName) -> Option<Arc<Semaphore>> {
    let mut groups = hub.groups.borrow_mut();
    let local = groups.get_mut(group)?;
    Some(Arc::clone(local.turn.get_or_insert_with(|| Arc::new(Semaphore::new(1)))))
}

/// Begins a pass. True if a member with a full inbox may make room in it for the parcel.
///
/// `since` is this sender's last pass. It becomes the new one.
fn begin_pass(hub: &Hub, group: &GroupName, load: Load<'_>, since: &mut u64) -> bool {
    hub.catch_up_group(group);
    if hub.full.get() == 0 {
        return false;
    }
    let groups = hub.groups.borrow();
    let Some(local) = groups.get(group).filter(|local| !local.is_large()) else { return false };
    let except = load.except();
    let except = except.on(hub.queue().id());
    let moving = local
        .members()
        .any(|member| member.is_full() && !except.has(member.key()) && member.may_make_room(*since));
    *since = hub.next_pass();
    moving
}

/// Lets all tasks run as long as a full connection may make room. So only a suspended connection refuses.
pub(super) async fn wait_for_room_of(hub: &Hub, key: Key) {
    let deadline = Instant::now() + ROOM_DEADLINE;
    let mut since = hub.pass();
    loop {
        let Some(one) = hub.connection(key) else { return };
        hub.catch_up(&*one);
        let moving = one.is_full() && one.may_make_room(since);
        if !moving || Instant::now() >= deadline {
            return;
        }
        since = hub.next_pass();
        yield_pass().await;
    }
}
