//! What a connection knows of the rooms that its consumer has joined.

use super::{Connection, rooms::JoinedRooms};
use crate::{Envelope, GroupName};

impl Connection {
    /// Notes that the consumer has joined a room. `for_room`: it would not be in the group without it.
    pub(crate) fn note_joined_room(&self, group: &GroupName, number: u64, for_room: bool) {
        let rooms = self.rare().rooms.get_or_init(Box::default);
        rooms.note(group, number, for_room, |group| self.memberships.is_in(group));
    }

    /// Notes that the consumer has left a room.
    pub(crate) fn forget_room(&self, group: &GroupName) {
        if let Some(rooms) = self.joined_rooms() {
            rooms.forget(group);
        }
    }

    /// Whether the consumer is in a group, and not only because of a room.
    pub(crate) fn is_in_without_room(&self, group: &GroupName) -> bool {
        self.memberships.is_in(group) && !self.joined_rooms().is_some_and(|rooms| rooms.is_for_room(group))
    }

    /// Whether an event tells of the end of a room, and the consumer has joined the next room of this name.
    pub(crate) fn is_past(&self, envelope: &Envelope) -> bool {
        // Connections without rooms do not look at the name.
        self.joined_rooms().is_some_and(|rooms| rooms.is_past(envelope))
    }

    fn joined_rooms(&self) -> Option<&JoinedRooms> {
        self.rare.get()?.rooms.get().map(|rooms| &**rooms)
    }
}
