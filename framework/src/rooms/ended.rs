//! The end of a room: why, and the event that tells its members.

use std::fmt;

use crate::{Event, GroupName};

/// Why a room ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoomEnd {
    /// Nobody was left, and the [grace](super::Rooms::grace) was over.
    Empty,
    /// A closure or a hook of the room panicked.
    Panicked,
    /// The server drains, and nobody was left.
    Shutdown,
}

impl fmt::Display for RoomEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nobody was left",
            Self::Panicked => "a closure or a hook of the room panicked",
            Self::Shutdown => "the server shuts down",
        })
    }
}

/// Tells the members of a room that it has ended because of a panic.
///
/// Every consumer of this process that is in the room's group gets it, unless it has joined the next room meanwhile. No
/// history keeps it, since whoever comes back is in another room. A consumer without a handler for this event is
/// closed with 1011, since it would wait for events that never come. A handler can
/// [join](super::Room::join) again, which makes a new room.
///
/// ```
/// use greenroom::{Room, RoomState, prelude::*, rooms::RoomEnded};
///
/// # struct World;
/// # impl RoomState for World {}
/// struct Player { room: Room<World> }
/// # impl Consumer for Player {}
///
/// #[event_handlers]
/// impl Player {
///     async fn room_ended(&mut self, _event: &RoomEnded, ctx: &mut Context) -> Result<()> {
///         self.room.join(ctx).await?;
///         ctx.send_text("the game starts again")
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, Event)]
#[event("room.ended", transient)]
#[non_exhaustive]
pub struct RoomEnded {
    /// The group of the room.
    pub room: GroupName,
    /// The number of the room that has ended.
    number: u64,
}

impl RoomEnded {
    pub(super) fn new(room: GroupName, number: u64) -> Self {
        Self { room, number }
    }

    /// The number of the room that has ended. A later room has a greater one.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether an event with this name says that a room has ended.
    pub(crate) fn is(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }
}
