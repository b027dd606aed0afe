//! Groups: who is in which, and how one event reaches all of them. The only hot path; nothing in it is `async`
//! but the waits at its bounds.
//!
//! Each worker has a [`hub`] with its connections and its part of every group. The process-wide
//! [`directory`] knows only which workers have members of a group, and of which classes. A send looks
//! the group up, makes each class's bytes once ([`fan_out`]), and hands one job to every worker concerned:
//! the sender's own at once, the others through their bounded [`queue`]. Where an inbox is full the sender waits
//! for [`room`]; a large group is served in [`slices`]. What runs on a worker's thread beside its connections is in [`worker`].

pub(crate) mod budget;
pub(crate) mod changes;
pub(crate) mod directory;
pub(crate) mod fan_out;
pub(crate) mod hub;
pub(crate) mod inbox;
pub(crate) mod later;
#[cfg(all(test, shuttle))]
mod model;
pub(crate) mod outbox;
pub(crate) mod queue;
mod room;
mod slices;
pub(crate) mod wheel;
pub(crate) mod worker;

/// How far an event got: what [`Layer::group_send_counted`](crate::Layer::group_send_counted) returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Into how many inboxes, outboxes and queues the event went.
    pub delivered: u64,
    /// How many refused it, being full, or because its relay failed.
    pub dropped: u64,
    /// How many workers did not take it in time; their members are in neither number.
    pub workers_behind: u64,
}

impl Delivery {
    /// Counts one member, which took the event or refused it.
    pub(crate) fn note(&mut self, taken: bool) {
        if taken { self.delivered += 1 } else { self.dropped += 1 }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.workers_behind += other.workers_behind;
    }
}
