//! The queue of calls that other threads have for one hub, bounded by bytes.

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

use super::{Delivery, error::LayerError, fan_out::Parcel, key::Key};
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

/// What another thread asks of a hub: a call.
///
/// Each holds room in the queue until it ran, but for the end of the server: deliveries by their bytes, the others
/// one place of a reserve of their own, so that joins and leaves pass a queue that is full of events.
#[derive(Debug)]
pub(crate) enum Call {
    /// Count what the tables hold.
    #[cfg(feature = "testing")]
    Census { reply: oneshot::Sender<super::census::Census> },
    /// Close every connection that belongs to this drain, in so many batches and in this time.
    CloseAll { drain: u64, batches: usize, window: Duration },
    /// Close the connections that hold most of the budget with this number.
    Relieve { budget: u64 },
    /// Hand an event to the members of a group.
    Deliver {
        group: GroupName,
        parcel: Parcel,
        /// Says how far it got, where someone wants to know.
        reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
    },
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

/// One hub's queue; its address for every other thread.
#[derive(Debug)]
pub(crate) struct HubQueue {
    /// Unique in the process.
    id: u64,
    room: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    /// How many senders wait, on the hub's thread, for its members: while one does, none may overtake it.
    pub(super) waiting: AtomicUsize,
    /// Only pushed to and popped from under the lock; calls are run and dropped outside it.
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    calls: VecDeque<Call>,
    hub: Option<Waker>,
    closed: bool,
}

/// The hub's thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HubGone;

/// Why a delivery was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    Behind,
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
                // A call may hold the last handle on a user's event: not to be dropped under the lock.
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

    /// Waits for a place among the requests. It has no deadline: who asks may give up, and leaves nothing behind.
    pub(crate) async fn request_room(&self) -> Result<OwnedSemaphorePermit, HubGone> {
        Arc::clone(&self.requests).acquire_owned().await.map_err(|_closed| HubGone)
    }

    /// Queues a delivery, waiting for room up to the deadline, which the first wait of a send sets.
    pub(crate) async fn deliver(
        &self,
        group: GroupName,
        parcel: Parcel,
        reply: Option<oneshot::Sender<Delivery>>,
        deadline: &mut Option<Instant>,
    ) -> Result<(), NotQueued> {
        let room = self.room_for(&parcel, deadline).await?;
        self.push(Call::Deliver { group, parcel, reply, room }).map_err(|HubGone| NotQueued::Gone)
    }

    /// Waits for room for a delivery up to the deadline, which the first wait of a send sets.
    pub(super) async fn room_for(
        &self,
        parcel: &Parcel,
        deadline: &mut Option<Instant>,
    ) -> Result<OwnedSemaphorePermit, NotQueued> {
        let weight = parcel.weight().min(QUEUE_BYTES) as u32;
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(weight) {
            return Ok(room);
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + SEND_DEADLINE);
        self.wait_for_room(weight, deadline).await
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
        // A thread without a runtime has no timer; it may sleep, having nothing else to run.
        loop {
            match Arc::clone(&self.room).try_acquire_many_owned(weight) {
                Ok(room) => return Ok(room),
                Err(tokio::sync::TryAcquireError::Closed) => return Err(NotQueued::Gone),
                Err(_) if Instant::now() > deadline => return Err(NotQueued::Behind),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The next call, for the hub's task.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Call> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.calls.pop_front() {
            Some(call) => Poll::Ready(call),
            None => {
                state.hub = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Refuses all that comes, and drops what waits: who waits for a reply learns that the thread is gone.
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
