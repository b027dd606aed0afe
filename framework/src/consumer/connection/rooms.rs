//! The rooms that a consumer has joined, as far as its connection has to know them.

use std::cell::RefCell;

use super::Connection;
use crate::{Envelope, GroupName, rooms::RoomEnded};

/// The rooms that a consumer has joined. There is one for each of its groups at most.
pub(super) type JoinedRooms = RefCell<Vec<JoinedRoom>>;

/// A room that a consumer has joined.
pub(super) struct JoinedRoom {
    group: GroupName,
    /// The number of the room. A later room has a greater one.
    number: u64,
    /// Whether the consumer is in the group only because of the room.
    for_room: bool,
}

impl Connection {
    /// Notes that the consumer has joined a room.
    pub(crate) fn note_joined_room(&self, group: &GroupName, number: u64, for_room: bool) {
        let mut rooms = self.rare().rooms.get_or_init(Box::default).borrow_mut();
        // The consumer may have left groups by itself. Their notes must not add up.
        rooms.retain(|room| room.group != *group && self.memberships.is_in(&room.group));
        rooms.push(JoinedRoom { group: group.clone(), number, for_room });
    }

    /// Notes that the consumer has left a room.
    pub(crate) fn forget_room(&self, group: &GroupName) {
        if let Some(rooms) = self.joined_rooms() {
            rooms.borrow_mut().retain(|room| room.group != *group);
        }
    }

    /// Whether the consumer is in a group, and not only because of a room.
    pub(crate) fn is_in_without_room(&self, group: &GroupName) -> bool {
        let noted = self.joined_rooms().and_then(|rooms| {
            rooms.borrow().iter().find(|room| room.group == *group).map(|room| room.for_room)
        });
        self.memberships.is_in(group) && !noted.unwrap_or(false)
    }

    /// Whether an event tells of the end of a room, and the consumer has joined the next room of this name.
    pub(crate) fn is_past(&self, envelope: &Envelope) -> bool {
        // Connections without rooms do not look at the name.
        let Some(rooms) = self.joined_rooms() else { return false };
        if !RoomEnded::is(envelope.name()) {
            return false;
        }
        let Ok(ended) = envelope.event::<RoomEnded>() else { return false };
        rooms.borrow().iter().any(|room| room.group == ended.room && room.number > ended.number())
    }

    fn joined_rooms(&self) -> Option<&JoinedRooms> {
        self.rare.get()?.rooms.get().map(|rooms| &**rooms)
    }
}
