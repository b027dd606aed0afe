//! The rooms that a consumer has joined, as far as its connection has to know them.

use std::cell::RefCell;

use crate::{Envelope, GroupName, rooms::RoomEnded};

/// The rooms that a consumer has joined. There is one for each of its groups at most.
#[derive(Default)]
pub(super) struct JoinedRooms(RefCell<Vec<JoinedRoom>>);

/// A room that a consumer has joined.
struct JoinedRoom {
    group: GroupName,
    /// The number of the room. A later room has a greater one.
    number: u64,
    /// Whether the consumer is in the group only because of the room.
    for_room: bool,
}

impl JoinedRooms {
    /// Notes a room, and forgets those whose groups the consumer has left by itself: the notes must not add up.
    pub(super) fn note(
        &self,
        group: &GroupName,
        number: u64,
        for_room: bool,
        is_in: impl Fn(&GroupName) -> bool,
    ) {
        let mut rooms = self.0.borrow_mut();
        rooms.retain(|room| room.group != *group && is_in(&room.group));
        rooms.push(JoinedRoom { group: group.clone(), number, for_room });
    }

    pub(super) fn forget(&self, group: &GroupName) {
        self.0.borrow_mut().retain(|room| room.group != *group);
    }

    /// Whether the consumer is in this group only because of a room.
    pub(super) fn is_for_room(&self, group: &GroupName) -> bool {
        self.0.borrow().iter().any(|room| room.group == *group && room.for_room)
    }

    /// Whether an event tells of the end of a room, and the consumer has joined the next room of this name.
    pub(super) fn is_past(&self, envelope: &Envelope) -> bool {
        if !RoomEnded::is(envelope.name()) {
            return false;
        }
        let Ok(ended) = envelope.event::<RoomEnded>() else { return false };
        self.0.borrow().iter().any(|room| room.group == ended.room && room.number > ended.number())
    }
}
