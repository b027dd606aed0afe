//! What a closure sends.

use std::fmt;

use crate::{ChannelName, Envelope, GroupName, IntoEnvelope};

/// Takes the events that a closure or a hook of a room sends.
///
/// They are sent after the closure has returned, in the order of the changes of the state: what an earlier closure
/// queued goes out first, whichever thread it ran on.
///
/// The [guide](crate::docs::guide#rooms-with-state) has an example.
pub struct RoomEvents {
    room: GroupName,
    queued: Vec<RoomEvent>,
}

/// One event of a room on its way.
pub(super) enum RoomEvent {
    /// For the members of the group, in all processes.
    Group(Envelope),
    /// For the members of the group but one, in all processes.
    Others(ChannelName, Envelope),
    /// For one consumer or queue.
    Channel(ChannelName, Envelope),
    /// For the members in this process.
    Here(Envelope),
}

impl RoomEvents {
    pub(super) fn new(room: &GroupName) -> Self {
        Self { room: room.clone(), queued: Vec::new() }
    }

    /// Queues an event for every member of the room's group.
    pub fn send(&mut self, event: impl IntoEnvelope) {
        self.queued.push(RoomEvent::Group(event.into()));
    }

    /// Queues an event for every member of the room's group but one, for example for whom the change came from.
    ///
    /// The channel is a member's, as [`channel_name`](crate::ConnectionContext::channel_name) names it. The layer must
    /// support [`Layer::group_send_except`](crate::Layer::group_send_except), as all of this crate do.
    pub fn send_others(&mut self, except: &ChannelName, event: impl IntoEnvelope) {
        self.queued.push(RoomEvent::Others(except.clone(), event.into()));
    }

    /// Queues an event for one channel: a member's, as [`channel_name`](crate::ConnectionContext::channel_name) names it.
    ///
    /// If the member is gone or its inbox is full, it misses the event, as the members of a group do.
    pub fn send_to(&mut self, channel: &ChannelName, event: impl IntoEnvelope) {
        self.queued.push(RoomEvent::Channel(channel.clone(), event.into()));
    }

    /// The group of the room, which is its name too.
    #[must_use]
    pub fn room(&self) -> &GroupName {
        &self.room
    }

    pub(super) fn into_queued(self) -> Vec<RoomEvent> {
        self.queued
    }
}

impl fmt::Debug for RoomEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomEvents").field("room", &self.room).field("queued", &self.queued.len()).finish()
    }
}
