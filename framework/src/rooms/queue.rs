//! The events of a room on their way to the layer, in the order of the changes of its state.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::ThreadId,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{RoomError, events::RoomEvent, homes::Homes};
use crate::{GroupName, Layer, LayerError, guard::drop_guarded, metrics::Counters};

/// How many events may wait before further closures do.
const CAPACITY: usize = 1_024;
/// How long a closure waits for room among the events that wait.
const DEADLINE: Duration = Duration::from_secs(5);
/// After how many events the sender lets other tasks run.
const EVENTS_A_TURN: usize = 64;
/// The events of one room that wait to be sent.
///
/// They are pushed under the lock of the state, so they stand in the order of its changes. One task at a time sends them.
/// There is such a task only while something waits.
pub(super) struct EventQueue {
    room: GroupName,
    layer: Layer,
    pub(super) homes: Homes,
    /// Held to push or to pop, and over nothing else.
    waiting: Mutex<Waiting>,
    /// Wakes a closure that waits for room.
    sent: Notify,
    /// Whether the layer did not take the last event.
    refused: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    /// How many events are in the batches, and in the one that is being sent.
    events: usize,
    /// Whether somebody sends.
    sending: bool,
}

/// The events of one closure.
struct Batch {
    events: VecDeque<RoomEvent>,
    /// Tells the tick that its events have been sent.
    sent: Option<oneshot::Sender<()>>,
}

/// A batch that was pushed.
#[must_use = "somebody may have to start sending"]
pub(super) struct Pushed {
    queue: Arc<EventQueue>,
    /// Whether nobody sends yet.
    start: bool,
    sent: Option<oneshot::Receiver<()>>,
}

impl EventQueue {
    pub(super) fn new(room: &GroupName, layer: &Layer) -> Arc<Self> {
        Arc::new(Self {
            room: room.clone(),
            layer: layer.clone(),
            homes: Homes::default(),
            waiting: Mutex::default(),
            sent: Notify::new(),
            refused: AtomicBool::new(false),
        })
    }

    pub(super) fn room(&self) -> &GroupName {
        &self.room
    }

    pub(super) fn layer(&self) -> &Layer {
        &self.layer
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.layer.backend().groups().directory().counters
    }

    /// Waits until a closure may run.
    ///
    /// # Errors
    /// [`RoomError::Behind`] if there is no room in time.
    pub(super) async fn has_room(&self) -> Result<(), RoomError> {
        let room = async {
            while self.waiting().events >= CAPACITY {
                self.sent.notified().await;
            }
        };
        if self.waiting().events < CAPACITY || timeout(DEADLINE, room).await.is_ok() {
            return Ok(());
        }
        Err(RoomError::Behind { room: self.room.clone() })
    }

    /// Appends the events of a closure. The caller holds the state, and calls [`Pushed::start`] when it does not any more.
    pub(super) fn push(self: &Arc<Self>, events: Vec<RoomEvent>, is_tick: bool) -> Pushed {
        if events.is_empty() {
            // One sent event lets one closure run, which then leaves its room to the next one.
            self.wake_next();
            return Pushed { queue: Arc::clone(self), start: false, sent: None };
        }
        let (sender, sent) = if is_tick { Some(oneshot::channel()).unzip() } else { (None, None) };
        let mut waiting = self.waiting();
        waiting.events += events.len();
        waiting.batches.push_back(Batch { events: events.into(), sent: sender });
        let start = !std::mem::replace(&mut waiting.sending, true);
        drop(waiting);
        self.wake_next();
        Pushed { queue: Arc::clone(self), start, sent }
    }

    /// Starts the task that sends. It is lost if no thread is left.
    fn start_sending(self: &Arc<Self>) {
        if self.homes.spawn(|home| Sending::new(self, home).run()).is_some() {
            return;
        }
        let lost = {
            let mut waiting = self.waiting();
            (waiting.sending, waiting.events) = (false, 0);
            std::mem::take(&mut waiting.batches)
        };
        if !lost.is_empty() {
            tracing::warn!(room = %self.room, "the last thread of a room has ended: its events are lost");
        }
        self.wake_next();
        drop_guarded(lost, "an event of a room");
    }

    /// Wakes a closure that waits, if there is room for it. Every closure that ran wakes the next one, so none waits for an
    /// event to be sent when all have been sent.
    pub(super) fn wake_next(&self) {
        if self.waiting().events < CAPACITY {
            self.sent.notify_one();
        }
    }

    /// Notes what became of an event. The log says when the layer begins to refuse events, and not how often it does.
    fn note_sent(&self, sent: Result<(), LayerError>) {
        if let Err(error) = sent {
            self.counters().room_unsent.one();
            if !self.refused.swap(true, Relaxed) {
                tracing::warn!(room = %self.room, %error, "the layer does not take the events of a room");
            }
        } else {
            self.refused.store(false, Relaxed);
        }
        self.waiting().events -= 1;
        self.wake_next();
    }

    /// Sends one event.
    ///
    /// # Errors
    /// If the layer did not take it. A member that is gone or full is no error.
    async fn send(&self, event: RoomEvent) -> Result<(), LayerError> {
        match event {
            RoomEvent::Group(event) => self.layer.group_send(&self.room, event).await,
            RoomEvent::Others(except, event) => self.layer.group_send_except(&self.room, except, event).await,
            RoomEvent::Here(event) => {
                self.layer.backend().groups().publish(&self.room, event).await;
                Ok(())
            }
            RoomEvent::Channel(channel, event) => match self.layer.send(&channel, event).await {
                Err(error @ (LayerError::NoReceiver | LayerError::ChannelFull(_))) => {
                    tracing::debug!(room = %self.room, %channel, %error, "a member missed an event of its room");
                    Ok(())
                }
                sent => sent,
            },
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pushed {
    /// Has the events sent, if nobody does so yet.
    pub(super) fn start(&mut self) {
        if !std::mem::take(&mut self.start) {
            return;
        }
        let queue = &self.queue;
        let (home, is_here) = queue.homes.home();
        if !is_here {
            queue.start_sending();
            return;
        }
        let mut sending = Box::pin(Sending::new(queue, home).run());
        // In memory, and if all members have room, this is all there is to do. It needs no task.
        if sending.as_mut().now_or_never().is_none() {
            queue.homes.spawn(|_| sending);
        }
    }

    /// Waits until the events of a tick have been sent.
    pub(super) async fn sent(mut self) {
        self.start();
        if let Some(sent) = self.sent.take() {
            // An error means that no thread is left to send them.
            let _ = sent.await;
        }
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        self.start();
    }
}

/// The task that sends, with the batch that it is at.
struct Sending {
    queue: Arc<EventQueue>,
    home: ThreadId,
    batch: Option<Batch>,
    /// Whether everything was sent.
    over: bool,
}

impl Sending {
    fn new(queue: &Arc<EventQueue>, home: ThreadId) -> Self {
        Self { queue: Arc::clone(queue), home, batch: None, over: false }
    }

    async fn run(mut self) {
        let mut run = 0_usize;
        while self.next_batch() {
            let Some(batch) = &mut self.batch else { continue };
            while let Some(event) = batch.events.pop_front() {
                let sent = self.queue.send(event).await;
                self.queue.note_sent(sent);
                run += 1;
                if run.is_multiple_of(EVENTS_A_TURN) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Ends the batch, and takes the next one. Returns false if there is none.
    fn next_batch(&mut self) -> bool {
        if let Some(Batch { sent: Some(sent), .. }) = self.batch.take() {
            // An error means that the room has ended.
            let _ = sent.send(());
        }
        let mut waiting = self.queue.waiting();
        self.batch = waiting.batches.pop_front();
        waiting.sending = self.batch.is_some();
        self.over = !waiting.sending;
        waiting.sending
    }
}

impl Drop for Sending {
    /// If the thread of this task ends, another one sends the rest. The event that was under way may be lost.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if let Some(batch) = self.batch.take() {
            let mut waiting = self.queue.waiting();
            waiting.batches.push_front(batch);
            waiting.events = waiting.batches.iter().map(|batch| batch.events.len()).sum();
        }
        self.queue.homes.lost(self.home);
        self.queue.start_sending();
    }
}
