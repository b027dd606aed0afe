//! Groups: which connections are in them, and how one event reaches all members. This is the only hot path; nothing in
//! it is `async` but the waits at its bounds.
//!
//! Each thread has a [`hub`] with its connections, as [`Member`](member::Member)s, and its part of every group. The
//! process-wide [`directory`] knows only which threads have members of a group, and of which classes. [`publish`] looks
//! the group up, makes each class's bytes once ([`fan_out`]), and hands them to every thread concerned: to its own hub
//! at once, to the others through their bounded [`queue`]. If an inbox is full, the sender waits for [`room`]; a large
//! group is served in [`slices`], by a [`walk`]. What runs on a thread beside its connections is in [`thread`].

pub(crate) mod budget;
#[cfg(feature = "testing")]
pub(crate) mod census;
pub(crate) mod changes;
pub(crate) mod config;
pub(crate) mod directory;
pub(crate) mod drain;
pub(crate) mod error;
pub(crate) mod fan_out;
pub(crate) mod hub;
pub(crate) mod hubs;
pub(crate) mod inbox;
pub(crate) mod key;
pub(crate) mod later;
pub(crate) mod member;
#[cfg(all(test, shuttle))]
mod model;
pub(crate) mod outbox;
pub(crate) mod pace;
mod publish;
pub(crate) mod queue;
pub(crate) mod queues;
mod relief;
mod room;
mod slices;
pub(crate) mod thread;
mod walk;
pub(crate) mod wheel;

/// How far an event got: what [`Layer::group_send_counted`](crate::Layer::group_send_counted) returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Into how many inboxes, outboxes and queues the event went.
    pub delivered: u64,
    /// How many refused it, being full, or because its relay failed.
    pub dropped: u64,
    /// How many threads did not take it in time; their members are in neither number.
    pub threads_behind: u64,
}

impl Delivery {
    /// Counts one member, which took the event or refused it.
    pub(crate) fn note(&mut self, taken: bool) {
        if taken { self.delivered += 1 } else { self.dropped += 1 }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.threads_behind += other.threads_behind;
    }
}
