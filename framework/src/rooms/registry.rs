//! The rooms of one type by their names.

use std::{
    any::type_name,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{RoomEnd, RoomError, RoomState, core::Core};
use crate::{
    Drain, GroupName, Layer, Result, groups::drain::RoomGuard, guard::panicked, notices::ToldFull,
    time::after,
};

/// Makes the state of a room.
pub(super) type Make<S> = dyn Fn(&GroupName) -> LocalBoxFuture<'static, Result<S>> + Send + Sync;

/// The rooms of one type, and their settings.
pub(super) struct Registry<S> {
    make: Box<Make<S>>,
    pub(super) settings: Settings,
    /// Held for a look-up or a count, and over no code of a user.
    rooms: Mutex<HashMap<GroupName, Seats<S>>>,
    /// The rooms whose last hook runs. Held as `rooms`, and also inside of it.
    endings: Mutex<HashMap<GroupName, watch::Receiver<()>>>,
    told_full: ToldFull,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) limit: usize,
    pub(super) grace: Duration,
    /// `Some` if it replaces [`RoomState::TICK`].
    pub(super) tick: Option<Option<Duration>>,
}

/// A room, and who is in it.
struct Seats<S> {
    core: Arc<Core<S>>,
    taken: usize,
    /// Since when nobody is there.
    empty: Option<Instant>,
    /// Whether a task looks whether the grace is over.
    watched: bool,
}

/// One place in a room. The room lives as long as there is one.
pub(crate) struct Seat<S: RoomState>(Arc<Core<S>>);

impl<S: RoomState> Registry<S> {
    pub(super) fn new(make: Box<Make<S>>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            make,
            settings,
            rooms: Mutex::default(),
            endings: Mutex::default(),
            told_full: ToldFull::default(),
        })
    }

    pub(super) fn into_make(self: Arc<Self>) -> Option<Box<Make<S>>> {
        Arc::into_inner(self).map(|registry| registry.make)
    }

    /// Makes the state of a room. A panic is an error.
    pub(super) async fn make(&self, room: &GroupName) -> Result<S> {
        let made = AssertUnwindSafe(async { (self.make)(room).await }).catch_unwind().await;
        made.unwrap_or_else(|panic| Err(panicked(panic)))
    }

    pub(super) fn period(&self) -> Option<Duration> {
        // The timers of tokio count milliseconds.
        self.settings.tick.unwrap_or(S::TICK).map(|period| period.max(Duration::from_millis(1)))
    }

    pub(super) fn len(&self) -> usize {
        self.rooms().len()
    }

    /// Takes a place in a room, which is made if it is not there.
    pub(super) fn enter(
        self: &Arc<Self>,
        room: &GroupName,
        layer: &Layer,
        drain: Option<Drain>,
    ) -> Result<Seat<S>, RoomError> {
        let mut rooms = self.rooms();
        if !rooms.contains_key(room) {
            let limit = self.settings.limit;
            if rooms.len() >= limit {
                drop(rooms);
                layer.backend().groups().directory().counters.rooms_full.one();
                if self.told_full.is_due() {
                    tracing::warn!(
                        state = type_name::<S>(),
                        limit,
                        "there are too many rooms: further ones are refused"
                    );
                }
                return Err(RoomError::TooMany { limit });
            }
            let core = Core::new(room, self, layer);
            rooms.insert(room.clone(), Seats { core, taken: 0, empty: None, watched: false });
        }
        let seats = rooms.get_mut(room).expect("it is there, or was just made");
        if !seats.core.is_on(layer) {
            return Err(RoomError::OtherLayer { room: room.clone() });
        }
        if let Some(drain) = drain {
            seats.core.note_drain(drain);
        }
        Ok(seats.take())
    }

    /// Takes a place in a room that is there.
    pub(super) fn find(&self, room: &GroupName) -> Option<Seat<S>> {
        self.rooms().get_mut(room).map(Seats::take)
    }

    /// Removes a room that ends.
    pub(super) fn forget(&self, core: &Core<S>) {
        let mut rooms = self.rooms();
        if rooms.get(&core.room).is_some_and(|seats| std::ptr::eq(&*seats.core, core)) {
            self.remove(&mut rooms, core);
        }
    }

    /// Removes a room. The next one of this name waits until its last hook has run.
    fn remove(&self, rooms: &mut HashMap<GroupName, Seats<S>>, core: &Core<S>) {
        rooms.remove(&core.room);
        // A room without a state has nothing to save, and may itself wait for the one before.
        if let Some(ending) = core.ending() {
            self.endings().insert(core.room.clone(), ending);
        }
    }

    /// Waits until the last hook of the room before has run.
    pub(super) async fn last_ended(&self, room: &GroupName) {
        let ending = self.endings().get(room).cloned();
        if let Some(mut ending) = ending {
            // Nothing is ever sent. An error says that it is over.
            let _ = ending.changed().await;
        }
    }

    /// Notes that the last hook of a room has run.
    pub(super) fn forget_ending(&self, room: &GroupName, over: &watch::Sender<()>) {
        let mut endings = self.endings();
        if endings.get(room).is_some_and(|ending| ending.same_channel(&over.subscribe())) {
            endings.remove(room);
        }
    }

    /// Gives a place back. After the last one, the room ends when its grace is over.
    fn leave(self: &Arc<Self>, core: &Arc<Core<S>>) {
        let ends = {
            let mut rooms = self.rooms();
            let Some(seats) = rooms.get_mut(&core.room).filter(|seats| Arc::ptr_eq(&seats.core, core)) else {
                return;
            };
            seats.taken -= 1;
            if seats.taken > 0 {
                return;
            }
            let ends = self.settings.grace.is_zero() || core.is_draining();
            if ends {
                self.remove(&mut rooms, core);
            } else {
                seats.empty = Some(Instant::now());
                if std::mem::replace(&mut seats.watched, true) {
                    return;
                }
            }
            ends
        };
        if ends {
            core.end(end_of(core));
        } else {
            // If no thread is left, this is dropped, and the room ends at once.
            let grace = Grace::new(core);
            drop(core.queue.homes.spawn(move |_| grace.run()));
        }
    }

    /// When to look at an empty room again. `None` if it has members, or if it was removed.
    fn look(&self, core: &Arc<Core<S>>, at_once: bool) -> Option<Look> {
        let mut rooms = self.rooms();
        let seats = rooms.get_mut(&core.room).filter(|seats| Arc::ptr_eq(&seats.core, core))?;
        let Some(empty) = seats.empty else {
            seats.watched = false;
            return None;
        };
        let over = after(empty, self.settings.grace);
        if !at_once && Instant::now() < over {
            return Some(Look::At(over));
        }
        self.remove(&mut rooms, core);
        Some(Look::Ends)
    }

    fn endings(&self) -> MutexGuard<'_, HashMap<GroupName, watch::Receiver<()>>> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<GroupName, Seats<S>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_of<S: RoomState>(core: &Core<S>) -> RoomEnd {
    if core.is_draining() { RoomEnd::Shutdown } else { RoomEnd::Empty }
}

impl<S: RoomState> Seats<S> {
    fn take(&mut self) -> Seat<S> {
        self.taken += 1;
        self.empty = None;
        self.core.queue.homes.note();
        Seat(Arc::clone(&self.core))
    }
}

impl<S: RoomState> Seat<S> {
    pub(super) fn core(&self) -> &Arc<Core<S>> {
        &self.0
    }

    /// The number of the room. A later room has a greater one.
    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    /// Makes the state, if nobody has done so. Returns false if the room has ended meanwhile.
    ///
    /// # Errors
    /// Those of the function that makes the state. Then the room has ended.
    pub(crate) async fn made(&self) -> Result<bool> {
        self.0.make().await
    }
}

impl<S: RoomState> Drop for Seat<S> {
    fn drop(&mut self) {
        self.0.registry.leave(&self.0);
    }
}

enum Look {
    At(Instant),
    Ends,
}

/// Waits until the grace of an empty room is over. If its thread ends or the server drains, the room ends at once.
struct Grace<S: RoomState> {
    core: Option<Arc<Core<S>>>,
    _awaited: RoomGuard,
}

impl<S: RoomState> Grace<S> {
    fn new(core: &Arc<Core<S>>) -> Self {
        Self { core: Some(Arc::clone(core)), _awaited: core.drain().awaits_room() }
    }

    async fn run(mut self) {
        while let Some(core) = &self.core {
            let drain = core.drain();
            match core.registry.look(core, drain.is_draining()) {
                Some(Look::At(over)) => tokio::select! {
                    () = sleep_until(over) => {}
                    () = drain.begun() => {}
                },
                Some(Look::Ends) => {
                    core.end(end_of(core));
                    self.core = None;
                }
                None => self.core = None,
            }
        }
    }
}

impl<S: RoomState> Drop for Grace<S> {
    fn drop(&mut self) {
        if let Some(core) = self.core.take()
            && let Some(Look::Ends) = core.registry.look(&core, true)
        {
            core.end(end_of(&core));
        }
    }
}
