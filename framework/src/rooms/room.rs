//! The rooms of a program, and a consumer's place in one.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    RoomError, RoomEvents, RoomState,
    registry::{Registry, Seat, Settings},
};
use crate::{Drain, GroupName, Layer, Result};

/// How many rooms there may be by default.
const LIMIT: usize = 10_000;

/// The rooms of one type: each is a group with a state.
///
/// It is cheap to clone, and is usually made in `main` and moved into the function of a route. Two `Rooms` should not use the
/// same names of groups, because their events would go to the same members.
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Room, RoomState, Rooms, prelude::*};
///
/// struct Board { strokes: Vec<String> }
/// impl RoomState for Board {}
///
/// # #[derive(NoEvents)]
/// struct Painter { board: Room<Board> }
/// # impl Consumer for Painter {}
///
/// let boards = Rooms::new(|_: &GroupName| Board { strokes: Vec::new() })
///     .limit(500)
///     .grace(Duration::from_secs(60));
/// let routes = UrlRouter::new()
///     .route("/board/{board}/", move |scope: &Scope| Ok(Painter { board: boards.room(scope.param("board")?) }));
/// # routes.build()?;
/// # Ok::<(), greenroom::Error>(())
/// ```
pub struct Rooms<S: RoomState>(Arc<Registry<S>>);

/// A consumer's place in a room.
///
/// It is made by [`Rooms::room`] and is nothing but a name until it is [joined](Self::join). A room begins when the
/// first one joins it, and ends when the last one has left it or was dropped.
pub struct Room<S: RoomState> {
    registry: Arc<Registry<S>>,
    name: GroupName,
    seat: Option<Seat<S>>,
}

impl<S: RoomState> Rooms<S> {
    /// Rooms whose state `make` makes, when the first member joins.
    pub fn new(make: impl Fn(&GroupName) -> S + Send + Sync + 'static) -> Self {
        Self::load(move |room| {
            let made = make(&room);
            async { Ok(made) }
        })
    }

    /// Rooms whose state is loaded, for example from a database.
    ///
    /// Whoever joins meanwhile waits too. If `load` fails, [`join`](Room::join) returns its error, and the next one that
    /// joins tries again.
    ///
    /// ```
    /// use greenroom::{RoomState, Rooms, prelude::*};
    ///
    /// struct Document(String);
    /// impl RoomState for Document {}
    ///
    /// # async fn text_of(_: &str) -> Result<String> { Ok(String::new()) }
    /// let documents = Rooms::load(async |name: GroupName| Ok(Document(text_of(&name).await?)));
    /// ```
    pub fn load<F: Future<Output = Result<S>> + 'static>(
        load: impl Fn(GroupName) -> F + Send + Sync + 'static,
    ) -> Self {
        let settings = Settings { limit: LIMIT, grace: Duration::ZERO, tick: None };
        Self(Registry::new(Box::new(move |room| Box::pin(load(room.clone()))), settings))
    }

    /// How many rooms there may be at once. Default 10,000.
    ///
    /// At the limit, a [`join`](Room::join) that would make one more returns [`RoomError::TooMany`]. If `connect` returns
    /// that error, its client is answered 503.
    ///
    /// # Panics
    /// If these rooms were cloned or used before.
    #[must_use]
    pub fn limit(self, rooms: usize) -> Self {
        self.set(|settings| settings.limit = rooms)
    }

    /// How long an empty room waits for somebody to join again. Default: it ends at once.
    ///
    /// # Panics
    /// If these rooms were cloned or used before.
    #[must_use]
    pub fn grace(self, time: Duration) -> Self {
        self.set(|settings| settings.grace = time)
    }

    /// The time between two ticks, in place of [`RoomState::TICK`]. `None` means no ticks.
    ///
    /// # Panics
    /// If these rooms were cloned or used before.
    #[must_use]
    pub fn tick(self, period: impl Into<Option<Duration>>) -> Self {
        let period = period.into();
        self.set(|settings| settings.tick = Some(period))
    }

    /// A place in the room of a group, which is not joined yet.
    #[must_use]
    pub fn room(&self, group: GroupName) -> Room<S> {
        Room { registry: Arc::clone(&self.0), name: group, seat: None }
    }

    /// A place in the room of a group, if there is such a room. It keeps the room alive, and is no member of the group.
    ///
    /// If the room is still being [loaded](Self::load), `update` waits for the state, and `read` returns
    /// [`RoomError::Loading`].
    #[must_use]
    pub fn get(&self, group: &GroupName) -> Option<Room<S>> {
        let seat = self.0.find(group)?;
        Some(Room { registry: Arc::clone(&self.0), name: group.clone(), seat: Some(seat) })
    }

    /// A place in a room for code that is not a consumer. It makes the room if there is none, and keeps it alive.
    ///
    /// # Errors
    /// As [`Room::join`].
    pub async fn open(&self, group: GroupName, layer: &Layer) -> Result<Room<S>> {
        let mut room = self.room(group);
        loop {
            let seat = room.enter(layer, None)?;
            if seat.made().await? {
                room.seat = Some(seat);
                return Ok(room);
            }
        }
    }

    /// How many rooms there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings;
        set(&mut settings);
        let make = self
            .0
            .into_make()
            .expect("set the limit, the grace and the tick before the rooms are cloned or used");
        Self(Registry::new(make, settings))
    }
}

impl<S: RoomState> Room<S> {
    /// Changes the state. The closure returns what the hook needs, and queues what the group gets.
    ///
    /// Closures and ticks of a room run one at a time, whatever threads they come from. What they send arrives in the order
    /// of their changes. It is sent by the room: also if the hook ends or is cancelled,
    /// and perhaps only after this call has returned. A hook that waited would take no events meanwhile. If 1,024 events
    /// wait, the closure waits before it runs, for up to 5 s. If the hook is cancelled before the closure has run, the
    /// closure does not run.
    ///
    /// # Errors
    /// [`RoomError`] says why the closure did not run, or that it panicked.
    ///
    /// ```
    /// # use greenroom::{Room, RoomState, prelude::*};
    /// # #[derive(Clone, Serialize, Deserialize, Event)]
    /// # struct Drawn { stroke: String }
    /// # struct Board { strokes: Vec<String> }
    /// # impl RoomState for Board {}
    /// async fn draw(board: &Room<Board>, stroke: String) -> Result<usize> {
    ///     let count = board.update(|board, events| {
    ///         board.strokes.push(stroke.clone());
    ///         events.send(Drawn { stroke });
    ///         board.strokes.len()
    ///     });
    ///     Ok(count.await?)
    /// }
    /// ```
    pub async fn update<T>(&self, change: impl FnOnce(&mut S, &mut RoomEvents) -> T) -> Result<T, RoomError> {
        self.seat()?.core().update(change).await
    }

    /// Looks at the state. This needs no `await`.
    ///
    /// # Errors
    /// [`RoomError`] says why the closure did not run.
    pub fn read<T>(&self, look: impl FnOnce(&S) -> T) -> Result<T, RoomError> {
        self.seat()?.core().read(look)
    }

    /// The group of the room, which is its name too.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.name
    }

    /// Whether the room was joined, was not left, and has not ended.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| !seat.core().is_over())
    }

    pub(crate) fn enter(&self, layer: &Layer, drain: Option<Drain>) -> Result<Seat<S>, RoomError> {
        self.registry.enter(&self.name, layer, drain)
    }

    pub(crate) fn set_seat(&mut self, seat: Option<Seat<S>>) {
        self.seat = seat;
    }

    fn seat(&self) -> Result<&Seat<S>, RoomError> {
        self.seat.as_ref().ok_or_else(|| RoomError::NotJoined { room: self.name.clone() })
    }
}

impl<S: RoomState> Clone for Rooms<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: RoomState> fmt::Debug for Rooms<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("rooms", &self.len()).finish_non_exhaustive()
    }
}

impl<S: RoomState> fmt::Debug for Room<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("group", &self.name)
            .field("joined", &self.is_joined())
            .finish_non_exhaustive()
    }
}
