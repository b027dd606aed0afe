//! The errors of rooms.

use std::fmt;

use super::RoomEnd;
use crate::GroupName;

/// Why a room did not do what it was asked.
///
/// The [guide](crate::docs::guide#rooms-with-state) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomError {
    /// The room's events have waited for the layer for 5 s. The closure did not run.
    Behind {
        /// The room.
        room: GroupName,
    },
    /// The room has ended. [`Room::join`](super::Room::join) joins a new one.
    Ended {
        /// The room.
        room: GroupName,
        /// Why it ended.
        why: RoomEnd,
    },
    /// The call was awaited inside the closure or the hook of a room, which would wait for itself.
    InsideClosure {
        /// The room that was called.
        room: GroupName,
    },
    /// The state is being made by [`Rooms::load`](super::Rooms::load). [`Room::update`](super::Room::update) waits for it,
    /// and returns this error only if the load was given up.
    Loading {
        /// The room.
        room: GroupName,
    },
    /// The room was not joined, or was left.
    NotJoined {
        /// The room.
        room: GroupName,
    },
    /// The room sends its events on another layer than that of this consumer, which would get none of them.
    OtherLayer {
        /// The room.
        room: GroupName,
    },
    /// There are as many rooms as there may be. If `connect` returns this error, the client is answered 503.
    TooMany {
        /// [`Rooms::limit`](super::Rooms::limit).
        limit: usize,
    },
}

impl fmt::Display for RoomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { room } => {
                write!(f, "the events of the room {:?} wait for the layer: try again later", room.as_str())
            }
            Self::Ended { room, why } => write!(f, "the room {:?} has ended: {why}", room.as_str()),
            Self::InsideClosure { room } => write!(
                f,
                "a closure of a room waits for the room {:?}: return from the closure first",
                room.as_str()
            ),
            Self::Loading { room } => {
                write!(f, "the state of the room {:?} is still being loaded: try again later", room.as_str())
            }
            Self::NotJoined { room } => {
                write!(f, "the room {:?} is not joined: call room.join(ctx) first", room.as_str())
            }
            Self::OtherLayer { room } => write!(
                f,
                "the room {:?} sends on another layer: give its consumers the same LAYER",
                room.as_str()
            ),
            Self::TooMany { limit } => {
                write!(f, "there are {limit} rooms already: raise Rooms::limit, or try again later")
            }
        }
    }
}

impl std::error::Error for RoomError {}
