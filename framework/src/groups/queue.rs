//! The queue of the calls of other threads to one hub, bounded by bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};

use super::{
    Delivery,
    error::LayerError,
    fan_out::Parcel,
    history::{entry::Entry, log::Log},
    key::Key,
    load::Load,
};
use crate::{
    Envelope, GroupName,
    sync::{AtomicUsize, Mutex},
};

/// How many bytes of deliveries may wait for one hub.
const QUEUE_BYTES: usize = 8 << 20;
/// How many joins, leaves and single sends may wait for one hub.
const QUEUE_REQUESTS: usize = 4096;
/// How long a send waits for room in another hub's queue.
const SEND_DEADLINE: Duration = Duration::from_secs(5);

/// What another thread asks of a hub.
///
/// Most calls hold room in the queue until they have run. A delivery holds as many bytes as it has. A join, a leave or
/// a single send holds one of the places that are reserved for them, so they get into a queue that is full of events.
/// The other calls are rare, and need no room.
#[derive(Debug)]
pub(crate) enum Call {
    /// Count the entries of the tables.
    #[cfg(feature = "testing")]
    Census { reply: oneshot::Sender<super::census::Census> },
    /// Close every connection of this drain, in so many batches and within this time.
    CloseAll { drain: u64, batches: usize, window: Duration },
    /// Close the connections that hold most of the budget with this number.
    Relieve { budget: u64 },
    /// Hand an event to the members of a group.
    Deliver {
        group: GroupName,
        parcel: Parcel,
        /// Gets the result, if the sender counts.
        reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
    },
    /// Hand the members of a group what comes next in its log.
    Log {
        log: Arc<Log>,
        /// The entry for which the sender waits.
        entry: Arc<Entry>,
        /// Gets the result, if the sender counts.
        reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
    },
    /// Hand the members of a group what comes next in its log, for which nobody waits.
    LateLog { log: Arc<Log> },
    /// Make a connection a member.
    Join {
        key: Key,
        group: GroupName,
        reply: oneshot::Sender<Result<(), LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// End a connection's membership.
    Leave { key: Key, group: GroupName, reply: oneshot::Sender<()>, room: OwnedSemaphorePermit },
    /// Hand an event to one connection.
    Send {
        key: Key,
        envelope: Envelope,
        reply: oneshot::Sender<Result<(), LayerError>>,
        room: OwnedSemaphorePermit,
    },
}

impl Call {
    fn of(
        group: &GroupName,
        load: Load<'_>,
        reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        match load {
            Load::Event(parcel) => {
                Self::Deliver { group: group.clone(), parcel: parcel.clone(), reply, room }
            }
            Load::Log(log, entry) => {
                Self::Log { log: Arc::clone(log), entry: Arc::clone(entry), reply, room }
            }
        }
    }
}

/// The queue of one hub. Other threads reach the hub through it.
#[derive(Debug)]
pub(crate) struct HubQueue {
    /// Unique in the process.
    id: u64,
    room: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    /// How many senders wait on the hub's thread for room in inboxes. While one waits, no other may overtake it.
    pub(super) waiting: AtomicUsize,
    /// Under the lock, calls are only pushed and popped. They run and are dropped outside of it.
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    calls: VecDeque<Call>,
    /// The logs that are to be looked at although the queue had no room, each once.
    late: VecDeque<Arc<Log>>,
    hub: Option<Waker>,
    closed: bool,
}

/// The hub's thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HubGone;

/// Why a delivery was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The queue was full until the deadline.
    Behind,
    /// The hub's thread has ended.
    Gone,
}

impl HubQueue {
    pub(crate) fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            requests: Arc::new(Semaphore::new(QUEUE_REQUESTS)),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Queues a call that needs no room.
    pub(crate) fn push(&self, call: Call) -> Result<(), HubGone> {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                drop(state);
                // The call may hold the last handle of a user's event, which must not be dropped under the lock.
                drop(call);
                return Err(HubGone);
            }
            state.calls.push_back(call);
            state.hub.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Waits for a place among the requests. There is no deadline: a caller can drop the future at any time.
    pub(crate) async fn request_room(&self) -> Result<OwnedSemaphorePermit, HubGone> {
        Arc::clone(&self.requests).acquire_owned().await.map_err(|_closed| HubGone)
    }

    /// Queues a delivery if there is room.
    pub(super) fn deliver_now(
        &self,
        group: &GroupName,
        load: Load<'_>,
        reply: Option<oneshot::Sender<Delivery>>,
    ) -> Result<(), NotQueued> {
        let room = self.room_now(load).ok_or(NotQueued::Behind)?;
        self.push(Call::of(group, load, reply, room)).map_err(|HubGone| NotQueued::Gone)
    }

    /// Has the hub look at a log, although the queue has no room.
    pub(super) fn look_at(&self, log: &Arc<Log>) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.closed || state.late.iter().any(|known| known.alias == log.alias) {
                return;
            }
            state.late.push_back(Arc::clone(log));
            state.hub.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Queues a delivery. Waits for room up to the deadline.
    pub(super) async fn deliver(
        &self,
        group: &GroupName,
        load: Load<'_>,
        reply: Option<oneshot::Sender<Delivery>>,
        deadline: Instant,
    ) -> Result<(), NotQueued> {
        let room = self.room_for(load, &mut Some(deadline)).await?;
        self.push(Call::of(group, load, reply, room)).map_err(|HubGone| NotQueued::Gone)
    }

    fn room_now(&self, load: Load<'_>) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(weight(load)).ok()
    }

    /// Waits for room for a delivery up to the deadline, which the first wait of a send sets.
    pub(super) async fn room_for(
        &self,
        load: Load<'_>,
        deadline: &mut Option<Instant>,
    ) -> Result<OwnedSemaphorePermit, NotQueued> {
        if let Some(room) = self.room_now(load) {
            return Ok(room);
        }
        let deadline = *deadline.get_or_insert_with(send_deadline);
        self.wait_for_room(weight(load), deadline).await
    }

    async fn wait_for_room(&self, weight: u32, deadline: Instant) -> Result<OwnedSemaphorePermit, NotQueued> {
        let acquire = Arc::clone(&self.room).acquire_many_owned(weight);
        if tokio::runtime::Handle::try_current().is_ok() {
            return match tokio::time::timeout_at(deadline, acquire).await {
                Ok(Ok(room)) => Ok(room),
                Ok(Err(_)) => Err(NotQueued::Gone),
                Err(_) => Err(NotQueued::Behind),
            };
        }
        // A thread without a runtime has no timer. It has nothing else to run either, so it may sleep.
        loop {
            match Arc::clone(&self.room).try_acquire_many_owned(weight) {
                Ok(room) => return Ok(room),
                Err(tokio::sync::TryAcquireError::Closed) => return Err(NotQueued::Gone),
                Err(_) if Instant::now() > deadline => return Err(NotQueued::Behind),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Takes the next call. For the hub's task.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Call> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.calls.pop_front() {
            Some(call) => Poll::Ready(call),
            None => {
                if let Some(log) = state.late.pop_front() {
                    return Poll::Ready(Call::LateLog { log });
                }
                state.hub = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Refuses all calls from now on, and drops those that wait.
    ///
    /// A caller that waits for a reply gets an error, and so learns that the thread is gone.
    pub(crate) fn close(&self) {
        let calls = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            std::mem::take(&mut state.calls)
        };
        self.room.close();
        self.requests.close();
        drop(calls);
    }
}

/// The deadline of a send that has to wait from now on.
pub(super) fn send_deadline() -> Instant {
    Instant::now() + SEND_DEADLINE
}

fn weight(load: Load<'_>) -> u32 {
    load.weight().min(QUEUE_BYTES) as u32
}
