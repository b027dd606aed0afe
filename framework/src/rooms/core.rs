//! One room: its state, whose turn it is, and its end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    time::Duration,
};

use tokio::{sync::watch, task::AbortHandle};

use super::{
    RoomEnd, RoomEnded, RoomError, RoomEvents, RoomState,
    ending::{Ending, Over},
    events::RoomEvent,
    inside::{inside, refuse_inside},
    queue::{EventQueue, Pushed},
    registry::Registry,
    ticker::{Ticker, Time},
};
use crate::{
    Drain, Envelope, Error, GroupName, Layer, Result,
    guard::{drop_guarded, guard},
    shown::Shown,
};

/// One room.
pub(super) struct Core<S> {
    pub(super) room: GroupName,
    /// A later room of this process has a greater one.
    pub(super) number: u64,
    pub(super) registry: Arc<Registry<S>>,
    pub(super) queue: Arc<EventQueue>,
    /// The drain of the first member's server.
    drain: OnceLock<Drain>,
    /// The state. Closures of users run under this lock, because it is what makes them take turns. It is never held over
    /// an await, and no closure can wait for another one: see [`refuse_inside`]. A thread that waits for it is blocked for
    /// the time of a closure. A hook that was suspended instead would lose what comes for its consumer meanwhile.
    state: Mutex<Stage<S>>,
    /// Whether there was a state.
    was_made: AtomicBool,
    /// What the next room of this name waits for. It is taken by the one that ends the room.
    over: Mutex<Option<watch::Sender<()>>>,
    /// Held by the one that makes the state.
    making: tokio::sync::Mutex<()>,
    /// Why the room ends. Whoever has the state next ends it.
    why: OnceLock<RoomEnd>,
    /// The task that ticks.
    ticker: Mutex<Option<AbortHandle>>,
}

enum Stage<S> {
    New,
    Live(S),
    Over,
}

/// What runs with the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Read,
    Started,
    Tick,
    Update,
}

impl<S: RoomState> Core<S> {
    pub(super) fn new(room: &GroupName, registry: &Arc<Registry<S>>, layer: &Layer) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            room: room.clone(),
            number: NEXT.fetch_add(1, Relaxed),
            registry: Arc::clone(registry),
            queue: EventQueue::new(room, layer),
            drain: OnceLock::new(),
            state: Mutex::new(Stage::New),
            was_made: AtomicBool::new(false),
            over: Mutex::new(Some(watch::Sender::new(()))),
            making: tokio::sync::Mutex::default(),
            why: OnceLock::new(),
            ticker: Mutex::default(),
        })
    }

    /// Makes the state, if nobody has done so. Returns false if the room has ended meanwhile.
    ///
    /// # Errors
    /// Those of the function that makes the state. Then the room has ended.
    pub(super) async fn make(self: &Arc<Self>) -> Result<bool> {
        refuse_inside(&self.room)?;
        let _making = self.making.lock().await;
        match self.turn().map(|mut turn| matches!(turn.stage(), Stage::New)) {
            Err(_) => return Ok(false),
            Ok(true) => {}
            Ok(false) => {
                // The threads that ticked may all have ended, while other code kept the room.
                self.start_ticker();
                return Ok(true);
            }
        }
        self.registry.last_ended(&self.room).await;
        let state = self.registry.make(&self.room).await.inspect_err(|_| {
            // Nobody sees this reason: those that wait for the state try again.
            self.end(RoomEnd::Empty);
        })?;
        let Ok(mut turn) = self.turn() else {
            drop_guarded(state, "the state of a room");
            return Ok(false);
        };
        self.was_made.store(true, SeqCst);
        *turn.stage() = Stage::Live(state);
        let (started, mut pushed) = turn.run(Hook::Started, S::started);
        drop(turn);
        pushed.start();
        started?;
        self.start_ticker();
        Ok(true)
    }

    /// Runs a closure, and has its events sent.
    pub(super) async fn update<T>(
        &self,
        change: impl FnOnce(&mut S, &mut RoomEvents) -> T,
    ) -> Result<T, RoomError> {
        let (value, mut pushed) = self.run(Hook::Update, change).await?;
        pushed.start();
        value
    }

    /// Runs a tick. The next one waits until its events have been sent.
    pub(super) async fn tick(&self, elapsed: Duration) -> Result<Pushed, RoomError> {
        let (ticked, pushed) = self.run(Hook::Tick, |state, events| state.tick(elapsed, events)).await?;
        ticked.map(|()| pushed)
    }

    async fn run<T>(
        &self,
        hook: Hook,
        change: impl FnOnce(&mut S, &mut RoomEvents) -> T,
    ) -> Result<(Result<T, RoomError>, Pushed), RoomError> {
        refuse_inside(&self.room)?;
        if !self.was_made.load(SeqCst) {
            // Whoever makes the state holds this.
            drop(self.making.lock().await);
        }
        self.queue.has_room().await?;
        // If the room has ended, those that wait behind this call learn it too.
        let mut turn = self.turn().inspect_err(|_| self.queue.wake_next())?;
        Ok(turn.run(hook, change))
    }

    /// Runs a closure that sends nothing.
    pub(super) fn read<T>(&self, look: impl FnOnce(&S) -> T) -> Result<T, RoomError> {
        refuse_inside(&self.room)?;
        let mut turn = self.turn()?;
        let (value, mut pushed) = turn.run(Hook::Read, |state, _| look(state));
        drop(turn);
        pushed.start();
        value
    }

    /// Waits for the state.
    fn turn(&self) -> Result<Turn<'_, S>, RoomError> {
        let stage = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turn = Turn { core: self, stage: Some(stage) };
        if self.is_over() || matches!(turn.stage(), Stage::Over) {
            return Err(self.ended());
        }
        Ok(turn)
    }

    pub(super) fn ended(&self) -> RoomError {
        RoomError::Ended { room: self.room.clone(), why: self.why.get().copied().unwrap_or(RoomEnd::Empty) }
    }

    /// Whether the room sends on this layer.
    pub(super) fn is_on(&self, layer: &Layer) -> bool {
        let id = |layer: &Layer| layer.backend().groups().directory().id();
        id(self.queue.layer()) == id(layer)
    }

    pub(super) fn is_over(&self) -> bool {
        self.why.get().is_some()
    }

    /// Notes the drain of a member's server. The first one counts.
    pub(super) fn note_drain(&self, drain: Drain) {
        let _ = self.drain.set(drain);
    }

    /// The drain of the first member's server. A room that had no member ends with the process.
    pub(super) fn drain(&self) -> Drain {
        self.drain.get().cloned().unwrap_or_else(Drain::process)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain().is_draining()
    }

    /// What the next room of this name has to wait for.
    pub(super) fn ending(&self) -> Option<watch::Receiver<()>> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.as_ref().filter(|_| self.was_made.load(SeqCst)).map(watch::Sender::subscribe)
    }

    /// Ends the room, now or when the closure that runs has returned.
    pub(super) fn end(&self, why: RoomEnd) {
        let _ = self.why.set(why);
        self.end_if_due();
    }

    /// Ends the room if it has to end and nobody has the state. Who has it looks again when it gives it back.
    fn end_if_due(&self) {
        // Either this call gets the state, or the one that gives it back sees the reason.
        fence(SeqCst);
        let Some(why) = self.why.get() else { return };
        let Ok(mut stage) = self.state.try_lock() else { return };
        let before = std::mem::replace(&mut *stage, Stage::Over);
        self.registry.forget(self);
        drop(stage);
        if let Some(ticker) = self.lock_ticker().take() {
            ticker.abort();
        }
        let is_over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Stage::Live(state), Some(is_over)) = (before, is_over) {
            let over = Over { registry: Arc::clone(&self.registry), room: self.room.clone(), is_over };
            Ending::start(self, state, *why, over);
        }
    }

    /// Ends the room after a panic, and queues what tells its members.
    fn panicked(&self, hook: Hook, error: Error) -> Pushed {
        tracing::error!(room = %self.room, ?hook, error = %Shown(error), "a room ends, because its code panicked");
        self.queue.counters().room_panics.one();
        // If it has to end for another reason already, that reason stays.
        let _ = self.why.set(RoomEnd::Panicked);
        let ended = RoomEnded::new(self.room.clone(), self.number);
        self.queue.push(vec![RoomEvent::Here(Envelope::new(ended))], false)
    }

    fn lock_ticker(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.ticker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the tick ---

    /// Starts the ticks, if the room has any and no task ticks. Only one caller at a time does so.
    fn start_ticker(self: &Arc<Self>) {
        let ticks = self.lock_ticker().as_ref().is_some_and(|ticker| !ticker.is_finished());
        if let Some(period) = self.registry.period().filter(|_| !ticks) {
            self.spawn_ticker(Time::new(period));
        }
    }

    pub(super) fn spawn_ticker(self: &Arc<Self>, time: Time) {
        let make = |home| Ticker { core: Arc::clone(self), home, time }.run();
        // A task that has ended already found its thread gone, and was started on another one.
        let Some(ticker) = self.queue.homes.spawn(make).filter(|ticker| !ticker.is_finished()) else {
            return;
        };
        *self.lock_ticker() = Some(ticker.abort_handle());
        // If the room has ended meanwhile, nobody else aborts the task.
        if self.is_over()
            && let Some(ticker) = self.lock_ticker().take()
        {
            ticker.abort();
        }
    }
}

/// The state of a room, until this is dropped.
struct Turn<'a, S: RoomState> {
    core: &'a Core<S>,
    stage: Option<MutexGuard<'a, Stage<S>>>,
}

impl<S: RoomState> Turn<'_, S> {
    fn stage(&mut self) -> &mut Stage<S> {
        self.stage.as_mut().expect("it is there until the drop")
    }

    /// Runs a closure, and queues its events. A panic ends the room.
    fn run<T>(
        &mut self,
        hook: Hook,
        change: impl FnOnce(&mut S, &mut RoomEvents) -> T,
    ) -> (Result<T, RoomError>, Pushed) {
        let core = self.core;
        let state = match self.stage() {
            Stage::Live(state) => state,
            stage => {
                let error = match stage {
                    Stage::New => RoomError::Loading { room: core.room.clone() },
                    _ => core.ended(),
                };
                return (Err(error), core.queue.push(Vec::new(), false));
            }
        };
        let mut events = RoomEvents::new(&core.room);
        match inside(|| guard(|| Ok(change(state, &mut events)))) {
            Ok(value) => (Ok(value), core.queue.push(events.into_queued(), hook == Hook::Tick)),
            Err(error) => {
                let pushed = core.panicked(hook, error);
                drop_guarded(events, "an event of a room");
                (Err(core.ended()), pushed)
            }
        }
    }
}

impl<S: RoomState> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        self.stage = None;
        self.core.end_if_due();
    }
}
