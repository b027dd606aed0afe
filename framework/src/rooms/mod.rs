//! Rooms: groups with a state.
//!
//! A [`Room`] is a group of consumers that share a value: a game's world, a document, a board. The value is made when the
//! first consumer joins, and is dropped after the last one has left. Hooks reach it by closures, which take turns. What a
//! closure sends goes to the group in the order of the changes. [The guide](crate#rooms-with-state) has an example, a game.
//!
//! # Where it runs
//! A room lives in one process, and closures run on the thread of the hook that calls them. The room has a home, the thread of
//! its first member: there it ticks, and from there its events are sent. If that thread ends while others have members, one of
//! them becomes the home. A room without ticks has no timer. When the server drains, the last member leaves, and the room ends
//! with [`RoomEnd::Shutdown`], without a grace. A room in its grace ends then too. The drain waits for their hook
//! [`ended`](RoomState::ended). A place that [`Rooms::open`] gave keeps its room alive: drop it before the server has stopped.

mod core;
mod ended;
mod ending;
mod error;
mod events;
mod homes;
mod inside;
mod queue;
mod registry;
mod room;
mod ticker;

use std::time::Duration;

pub use self::{
    ended::{RoomEnd, RoomEnded},
    error::RoomError,
    events::RoomEvents,
    room::{Room, Rooms},
};

/// The state of a room, with its hooks. Every hook has a default, which does nothing.
///
/// Hooks and closures are not `async`, so nobody holds the state while it waits: only [`ended`](Self::ended) is, which owns
/// it. They run on a thread of the server: work
/// that takes longer than a few milliseconds belongs elsewhere.
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{RoomEnd, RoomEvents, RoomState, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Left { seconds: u64 }
///
/// /// Counts down, and tells everybody.
/// struct Countdown(Duration);
///
/// impl RoomState for Countdown {
///     const TICK: Option<Duration> = Some(Duration::from_secs(1));
///
///     fn tick(&mut self, elapsed: Duration, events: &mut RoomEvents) {
///         self.0 = self.0.saturating_sub(elapsed);
///         events.send(Left { seconds: self.0.as_secs() });
///     }
///
///     async fn ended(self, why: RoomEnd) {
///         println!("{why}, and {:?} were left", self.0);
///     }
/// }
/// ```
pub trait RoomState: Send + Sized + 'static {
    /// The time between two ticks, at least 1 ms. Default: no ticks. [`Rooms::tick`] sets another one.
    const TICK: Option<Duration> = None;

    /// Runs once, after the state was made and before any other closure.
    fn started(&mut self, events: &mut RoomEvents) {
        let _ = events;
    }

    /// Runs every [`TICK`](Self::TICK), as long as the room lives.
    ///
    /// Ticks are due at whole periods after the start, so they do not drift. One tick runs at a time, and only when the
    /// events of the one before have been sent. Ticks that are missed meanwhile are left out, and
    /// [counted](crate::Metrics::room_ticks_skipped). `elapsed` is the time by which the state should go on: one period, and
    /// one more for each tick that was left out. A tick is also left out if the room's events have waited for the layer for
    /// 5 s.
    fn tick(&mut self, elapsed: Duration, events: &mut RoomEvents) {
        let _ = (elapsed, events);
    }

    /// Runs at the end of the room, with the state. The room is then empty, or its code has panicked.
    ///
    /// It is usually written as an `async fn`, and can save the state. The next room of this name begins when it has
    /// returned, so [`Rooms::load`] finds what it has saved. At a shutdown the [drain](crate::Drain::drain) waits for it,
    /// up to the deadline of the drain. After 30 s it is cancelled, with a line in the log.
    ///
    /// After a panic the state may be changed by half.
    ///
    /// ```
    /// use greenroom::{RoomEnd, RoomState, prelude::*};
    ///
    /// # struct Database;
    /// # impl Database { async fn save(&self, _: &str) -> Result<()> { Ok(()) } }
    /// struct Document { database: Database, text: String }
    ///
    /// impl RoomState for Document {
    ///     async fn ended(self, why: RoomEnd) {
    ///         if let Err(error) = self.database.save(&self.text).await {
    ///             eprintln!("a document was not saved ({why}): {error}");
    ///         }
    ///     }
    /// }
    /// ```
    fn ended(self, why: RoomEnd) -> impl Future<Output = ()> + Send + 'static {
        let _ = why;
        async {}
    }
}
